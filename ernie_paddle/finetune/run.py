"""Fine-tuning, evaluation and prediction as functions, which the verbs, suites and tables call.

Each function works in one process and under fleetrun, where every process calls it.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ernie_paddle.checkpoints.model_dir import ModelDir, open_model_dir
from ernie_paddle.finetune.options import read_finetune_options
from ernie_paddle.finetune.task_type import TaskType, require_some, require_task, task_class, task_of
from ernie_paddle.finetune.training.results import RESULTS, left_out_line
from propeller.errors import UserError
from reader.tables.nested import NESTED
from reader.tables.table import STDIN

PART = "part"
"""Column with the number of an answer's row within its line, from 0, for lines that hold several rows."""
_CHUNK_ROWS = 4096


def say(text: str) -> None:
    """Print a message for the user to stderr."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class FinetuneOutcome:
    """The outcome of a fine-tuning run.

    Attributes:
        exit_code: 0, also if the run was stopped and can be resumed.
        finished: Whether it was completed. The further attributes are only set then, and only in the first process.
        step: Number of completed updates.
        best: The best checkpoint.
        report: Content of results.json.
        rows: Metrics by row name, for a table: the majority-class baseline (or mean), then every epoch.
    """

    exit_code: int
    finished: bool
    step: int
    best: Path | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, dict[str, float]] = field(default_factory=dict)


def finetune(*, tell: Callable[[str], None] = say, **options: Any) -> FinetuneOutcome:
    """Train a model for a task on a labelled table, and keep the best checkpoint.

    Args:
        tell: Takes a line for the user, on rank 0.
        options: The options of `ernie finetune` by name (`train`, `dev`, `output`, `type`, `model`, …); values as
            on the command line, or as Python numbers, lists, True and False.

    Raises:
        UserError: The task type does not have an option, an option has an invalid value, there is no model, or the
            folder holds another run.
        DataError: A table is unusable.
    """
    given = read_finetune_options(options)
    from ernie_paddle.finetune.training.class_weights import class_weights
    from ernie_paddle.finetune.training.start import start_at_random, start_from_model, with_dropout
    from ernie_paddle.finetune.training.task_id import with_task_id
    from ernie_paddle.finetune.training.trainer import FinetuneConfig, Finetuner, RunOptions
    from propeller.device import distributed
    from propeller.graph.precision import PrecisionConfig

    if given.train == STDIN:
        raise UserError("--train cannot be standard input, because it is read twice; give a file")
    chief = distributed.rank() == 0
    start = start_at_random(given.size, given.vocab) if given.model is None else start_from_model(given.model)
    chosen = task_class(given.type)
    if given.task_id is not None:
        start = replace(start, config=with_task_id(start.config, given.task_id, given.model))
    if given.dropout is not None:
        start = replace(start, config=with_dropout(start.config, given.dropout))
    if given.max_length is None:
        given.max_length = min(chosen.usual_length, start.config.max_length)
    if given.max_length > start.config.max_length:
        raise UserError(f"--max_length {given.max_length} is more than the model's {start.config.max_length}")
    task = chosen.from_options(given).with_layout(start.config.layout)
    strict = not given.skip_unusable
    train = task.read(given.train, start.tokenizer, labelled=True, strict=strict, format=given.format)
    require_some(train, task.counted)
    said, described = left_out_line(train.source, train.problems, task.counted), train.describe()
    train = train.for_training()
    left_out_of_training = train.uncounted  # skipped in training only: a blank question counts in a score
    if not len(train):
        raise UserError(f"{given.train}: no row can be trained on: {described}")
    dev = task.read(given.dev, start.tokenizer, labelled=True, strict=strict, format=given.format)
    require_some(dev, task.counted)
    if chief:
        lines = (said, left_out_line(dev.source, dev.mistakes, task.counted))
        for line in filter(None, lines):
            tell(line)
        tell(f"to train on: {train.describe()}; to evaluate on: {dev.describe()}")
        for line in task.remarks(given):
            tell(line)
        tell(start.description)
        if given.overwrite:
            discard_run(given.output)
        given.output.mkdir(parents=True, exist_ok=True)
    distributed.init()
    distributed.barrier()

    asked_weights = getattr(given, "class_weights", None)
    config = FinetuneConfig(
        epochs=given.epochs,
        batch_size=given.batch_size,
        lr=given.lr,
        schedule=given.schedule,
        warmup=given.warmup,
        layer_decay=given.layer_decay,
        weight_decay=given.weight_decay,
        adam_epsilon=given.adam_epsilon,
        rdrop=getattr(given, "rdrop", 0.0),
        fgm=given.fgm,
        class_weights=class_weights(asked_weights, getattr(task, "labels", ()), train) if asked_weights else None,
        clip_norm=given.clip_norm,
        seed=given.seed,
        patience=given.patience,
        precision=PrecisionConfig(dtype=given.precision),
    )
    run = RunOptions(given.output, given.micro_batch, given.eval_batch, given.save_steps, given.log_every)
    tuner = Finetuner(task, start, train, dev, config, run)
    tuner.prepare()
    outcome = tuner.run()
    if not (chief and outcome.finished):
        if chief:
            tell(f"stopped after step {outcome.step}; run the same command again to resume")
        return FinetuneOutcome(outcome.exit_code, outcome.finished, outcome.step)
    baseline = task.baseline(dev)
    best_step = int(outcome.best.name.partition("-")[2])
    rows = {"baseline": baseline}
    for found in outcome.evaluations:
        rows[f"epoch {tuner.epoch_of(found.step):g}" + (" (best)" if found.step == best_step else "")] = found.metrics
    best = next((found.metrics for found in outcome.evaluations if found.step == best_step), {})
    report = {"step": best_step, "best": best, "baseline": baseline, "rows": dev.examples}
    report |= {"left_out": dev.uncounted, "left_out_of_training": left_out_of_training, "steps": outcome.step}
    (given.output / RESULTS).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return FinetuneOutcome(outcome.exit_code, True, outcome.step, outcome.best, report, rows)


def discard_run(folder: Path) -> None:
    """Remove the files of an earlier run from its folder, and nothing else."""
    from propeller.run import run_folder

    run_folder.discard(folder)
    (folder / RESULTS).unlink(missing_ok=True)


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        model: The model.
        scores: Metrics of the model.
        baseline: Metrics of the baseline that gives every row the same prediction.
        described: Description of the scored data.
        left_out: A line about skipped rows; None if there are none.
        examples: Number of scored examples.
        uncounted: Number of examples that are not scored.
    """

    model: ModelDir
    scores: dict[str, float]
    baseline: dict[str, float]
    described: str
    left_out: str | None
    examples: int
    uncounted: int

    def document(self) -> dict[str, Any]:
        """The result as plain data."""
        return {
            "model": self.scores,
            "baseline": self.baseline,
            "rows": self.examples,
            "left_out": self.uncounted,
        }


def evaluate(
    model: str | Path,
    data: str,
    *,
    format: str = "auto",
    skip_unusable: bool = False,
    batch: int = 64,
    tell: Callable[[str], None] = say,
    **elsewhere: Any,
) -> Evaluation:
    """Score a fine-tuned checkpoint or an exported model on a labelled table; every process gets the same result.

    Args:
        model: A checkpoint, the folder of a run, or an exported model.
        data: Labelled table.
        format: Format of the table; "auto" chooses by the task and the extension.
        skip_unusable: Whether to skip unusable rows.
        batch: Rows per batch.
        tell: Takes a line for the user.
        elsewhere: Settings that differ from the training table (`text_a`, `label`, `scoring`, …); None: no
            difference.

    Raises:
        UserError: The model is not a fine-tuned one, or has no such settings.
        DataError: The table is unusable.
    """
    from ernie_paddle.finetune.serving.answering import model_runner
    from ernie_paddle.finetune.serving.inference import run_dataset
    from propeller.device import distributed

    opened, task = _open(model, elsewhere, tell)
    form = format_for(task, format, data)
    rows = task.read(data, opened.tokenizer, labelled=True, strict=not skip_unusable, format=form)
    require_some(rows, task.counted)
    distributed.init()
    rank, world = distributed.rank(), distributed.world_size()
    outputs = run_dataset(model_runner(opened, task), task, rows, batch, rank=rank, world=world)
    return Evaluation(
        model=opened,
        scores=task.score(outputs, rows),
        baseline=task.baseline(rows),
        described=rows.describe(),
        left_out=left_out_line(rows.source, rows.mistakes, task.counted),
        examples=rows.examples,
        uncounted=rows.uncounted,
    )


@dataclass(frozen=True)
class Prediction:
    """Predictions for the rows of a table, made while the table is read.

    Attributes:
        columns: Columns of every prediction, in order: its line (or other unit), those of the task, `problem`.
        counted: The unit that the first column counts.
        chunks: Predictions in chunks, in the order of the rows; an unusable row only has its reason.
        problems: (number, reason) of unusable rows in the chunks read so far.
    """

    columns: list[str]
    counted: str
    chunks: Iterator[list[dict[str, Any]]]
    problems: list[tuple[int, str]]


def predict(
    model: str | Path,
    input: str,
    *,
    format: str = "auto",
    batch: int = 64,
    tell: Callable[[str], None] = say,
    **elsewhere: Any,
) -> Prediction:
    """Make predictions for the rows of a table with a fine-tuned checkpoint or an exported model.

    Args:
        model: A checkpoint, the folder of a run, or an exported model.
        input: The table; "-" is standard input.
        format: Format of the table; "auto" chooses by the task and the extension.
        batch: Rows per batch.
        tell: Takes a line for the user.
        elsewhere: Settings that differ from the training table (`text_a`, `choices`, …); None: no difference.

    Raises:
        UserError: The model is not a fine-tuned one, or has no such settings.
        DataError: The table is unusable (raised while chunks are read).
    """
    from ernie_paddle.finetune.serving.answering import model_runner
    from ernie_paddle.finetune.serving.inference import run_dataset

    opened, task = _open(model, elsewhere, tell)
    form = format_for(task, format, input)
    several = form in NESTED
    problems: list[tuple[int, str]] = []

    def chunks() -> Iterator[list[dict[str, Any]]]:
        runner = None
        for data in task.stream(input, opened.tokenizer, chunk_rows=_CHUNK_ROWS, format=form):
            answers: Mapping[Any, dict[str, Any]] = {}
            if len(data):
                runner = runner or model_runner(opened, task)
                answers = task.answers(run_dataset(runner, task, data, batch), data)
            parts = getattr(data, "problem_parts", itertools.repeat(0))
            by_place = {
                **{(line, part): {"problem": why} for (line, why), part in zip(data.problems, parts, strict=False)},
                **{place if isinstance(place, tuple) else (place, 0): answer for place, answer in answers.items()},
            }
            problems.extend(data.problems)
            yield [
                {task.counted: line, **({PART: part} if several else {}), **by_place[line, part]}
                for line, part in sorted(by_place)
            ]

    columns = [task.counted, *((PART,) if several else ()), *task.answer_columns(), "problem"]
    return Prediction(columns, task.counted, chunks(), problems)


def _open(path: str | Path, elsewhere: Mapping[str, Any], tell: Callable[[str], None]) -> tuple[ModelDir, TaskType]:
    """Open a model and its task, for tables whose columns may have other names."""
    from ernie_paddle.finetune.serving.converted_task import rebuilt_task

    opened = open_model_dir(path)
    given = {name: value for name, value in elsewhere.items() if value is not None}
    task = task_of(opened) or rebuilt_task(opened, given, tell) or require_task(opened)
    return opened, with_settings(task, given)


def with_settings(task: TaskType, given: Mapping[str, Any]) -> TaskType:
    """The task with the columns, labels and other settings of another table.

    Raises:
        UserError: The task has no such setting, or the number of values differs.
    """
    for name in given:
        if not hasattr(task, name):
            raise UserError(f"--{name} has no meaning here: the model's task, {task.type}, has no such setting")
        if name == "text_b" and getattr(task, name) is None:
            raise UserError(f"--{name} has no meaning here: the model was trained without it")
    values = {name: task.setting_of(name, value) for name, value in given.items()}
    for name, value in values.items():
        trained = getattr(task, name)
        if name in ("choices", "spans") and len(value) != len(trained):
            raise UserError(f"--{name} gives {len(value)} values, but the model was trained with {len(trained)}")
    return replace(task, **values) if values else task  # type: ignore[type-var]


def format_for(task: TaskType, given: str, path: str) -> str:
    """The format of a table: as given, or for "auto" the task's own, except for the extensions of TSV and CSV."""
    nested: str | None = getattr(task, "nested", None)
    flat = Path(path.removesuffix(".gz")).suffix.lower() in (".tsv", ".csv", ".txt")
    return given if given != "auto" or nested is None or flat else nested
