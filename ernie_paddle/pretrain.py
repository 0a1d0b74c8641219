"""Pre-training: a recipe and prepared corpora become checkpoints (ERNIE 2.0, "Continual Multi-task Learning")."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import resource
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ernie_paddle.combinations import Combination, Member, combine
from ernie_paddle.composite import CompositeData, CompositeReader
from ernie_paddle.continuing import LABELS, ORIGIN, RECIPE, Origin, class_labels, open_origin
from ernie_paddle.examples import RunReader, StepBatch, StepReader, TaskData, common_vocab
from ernie_paddle.label_check import require_evaluation, require_labels
from ernie_paddle.model_dir import CONFIG, tokenizer_files
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.pretraining_model import build_composite, build_task
from ernie_paddle.recipe import Recipe
from ernie_paddle.training_plan import TrainingPlan, make_plan
from propeller.device import distributed
from propeller.errors import UserError
from propeller.learner import Learner
from propeller.run.hooks import EarlyStop, Hook
from propeller.run.lr import LrConfig, lr_at
from propeller.run.trainer import Outcome, StepInput, Trainer, TrainerOptions
from reader.corpora.corpus import CORPUS_FILE, DOCUMENTS, Corpus, kind_of, read_corpus_info
from reader.errors import DataError
from reader.prepare.statistics import entropy, unigram_counts
from reader.report import SkipReport
from reader.tokenizers.load import load_tokenizer
from reader.workers.prefetch import prefetch

EVALUATION_SEED = 20190729
"""Seed of the masks and pairs that held-out text is evaluated with: the same in every run, so that runs compare."""

ALL_TASKS = "all_tasks"
"""Name of the evaluation that averages the losses of all tasks, where there are several."""


def member_data(
    recipe: Recipe, member: Member, split: str, config: ErnieConfig, *, share: int = 1, task_id: int | None = None
) -> TaskData:
    """What tasks that share rows read from one split of the corpora.

    Args:
        recipe: their recipe.
        member: the tasks.
        split: of the corpora.
        config: the architecture.
        share: the step's tokens are divided by it.
        task_id: with which the rows are fed; None for the member's.

    Raises:
        UserError: the batch cannot be divided.
    """
    train, data = recipe.train, recipe.data
    sizes = {"batch_tokens": train.batch_tokens, "batch_rows": train.batch_rows}
    sizes["micro_batch_tokens"] = train.micro_batch_tokens
    for key, size in sizes.items():
        if size is not None and size < share:
            raise UserError(f"{recipe.name}: train.{key}: {size} cannot be divided among {share} sets of rows")
    own = member.task_id if task_id is None else task_id
    return TaskData(
        task=member.name,
        objectives=member.objectives,
        corpora=[(corpus.path, corpus.weight) for corpus in member.corpora],
        max_length=data.max_length,
        min_tokens=data.min_tokens,
        bin_width=data.bin_width,
        task_id=own if config.use_task_id else None,
        split=split,
        seed=train.seed if split == "train" else EVALUATION_SEED,
        **{key: size and size // share for key, size in sizes.items()},
    )


def training_data(recipe: Recipe, combination: Combination, config: ErnieConfig) -> TaskData | CompositeData:
    """What a combination of tasks is trained on; several sets of rows have an even share of the step's tokens each."""
    share = len(combination.members)
    parts = [member_data(recipe, member, "train", config, share=share) for member in combination.members]
    return parts[0] if share == 1 else CompositeData(combination.name, tuple(parts))


def learning_rates(plan: TrainingPlan) -> dict[str, LrConfig]:
    """The learning rate of all that is trained: over the run's steps, or over its own (with a warm-up of its own).

    Raises:
        UserError: a warm-up longer than the steps.
    """
    recipe, schedule = plan.recipe, plan.schedule
    settings = recipe.train.learning_rate
    rates = {}
    for name, combination in plan.trained.items():
        per_task = settings.per == "task"
        steps = schedule.count_before(schedule.total_steps, name) if per_task else schedule.total_steps
        total = settings.total_steps or steps
        if total < steps:
            raise UserError(
                f"{recipe.name}: train.learning_rate.total_steps ({total}) is less than the {steps} steps of training"
            )
        own = [recipe.tasks[task].warmup_steps for task in combination.tasks]
        warmup = next((steps for steps in reversed(own) if steps is not None), settings.warmup_steps)
        if settings.kind in ("linear", "cosine") and warmup > total:
            whose = f"of task {name!r}" if per_task else "of the run"
            raise UserError(
                f"{recipe.name}: train.learning_rate.warmup_steps ({warmup}) is more than the {total} "
                f"steps {whose}; lower it or raise schedule.steps_per_task"
            )
        rates[name] = LrConfig(settings.kind, settings.peak, warmup, total)
    return rates


@dataclass
class SkippedData(Hook):
    """Counts over a whole run what the objectives could not do with the samples; a resumed run goes on counting.

    Attributes:
        before: of all ranks, before the run was resumed.
        report: of this rank, since then.
    """

    before: SkipReport = dataclasses.field(default_factory=SkipReport)
    report: SkipReport = dataclasses.field(default_factory=SkipReport)

    def total(self) -> SkipReport:
        """The counts of all ranks, each of which must call this."""
        total = SkipReport()
        total.merge(self.before)
        for part in distributed.all_gather_bytes(json.dumps(self.report.to_dict()).encode()):
            total.merge(SkipReport.from_dict(json.loads(part)))
        return total

    def state(self) -> dict[str, Any]:
        """The counts so far."""
        return self.total().to_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the counts of the run that is resumed."""
        self.before, self.report = SkipReport.from_dict(state), SkipReport()


class Pretraining:
    """One pre-training run: the Programs of its tasks, its data, and its folder."""

    def __init__(self, recipe: Recipe, folder: Path, continue_from: Path | None = None) -> None:
        """Open the corpora and declare the Programs.

        Args:
            recipe: what to train.
            folder: of the run.
            continue_from: a checkpoint, or the folder of a run, that this one goes on from.

        Raises:
            DataError: a corpus is missing, unusable or too small.
            UserError: the recipe cannot be carried out (see the message).
        """
        distributed.init()
        self.recipe, self.folder = recipe, folder
        self.rank, self.world = distributed.rank(), distributed.world_size()
        paths = recipe.corpus_paths
        _require_corpora(recipe.name, paths)
        for path in paths:
            read_corpus_info(path)
        self.tokenizer = load_tokenizer(Path(paths[0]))
        self.config = architecture(recipe, paths[0], self.tokenizer.vocab.size, self.tokenizer.vocab.pad)
        self.origin = open_origin(continue_from) if continue_from else None
        if self.origin:
            self.origin.check(recipe, self.config, self.tokenizer.vocab)
        self.plan = make_plan(recipe, self.origin.history if self.origin else None)
        self.schedule = self.plan.schedule
        self.rates = learning_rates(self.plan)
        self.train_data = {name: training_data(recipe, each, self.config) for name, each in self.plan.trained.items()}
        self.readers = {name: data.open() for name, data in self.train_data.items()}
        common_vocab(paths)
        self.heldout = _open_heldout(self.plan, self.config)
        for member in (member for reader in self.readers.values() for member in _members(reader)):
            require_labels(member)
        for data in self.heldout.values():
            require_evaluation(data.open(), self._evaluated_batches(data.open()))
        self.labels = class_labels(recipe)
        self.learner = Learner(recipe.train.optimizer, recipe.train.precision, seed=recipe.train.seed)
        # Tasks that are trained in sums only have a Program of their own for their evaluation.
        alone = {
            task: training_data(recipe, combine(recipe, [task]), self.config).open()
            for task in recipe.tasks
            if task not in self.readers
        }
        length = recipe.data.max_length
        for name, reader in {**self.readers, **alone}.items():
            if isinstance(reader, CompositeReader):
                members = {member.task: member.objectives for member in reader.members}
                self.learner.add(build_composite(name, members, self.config, max_length=length))
            else:
                self.learner.add(build_task(name, reader.objectives, self.config, max_length=length))
        self.skipped = SkippedData()

    # -------------------------------------------------------------------------------------------------------- whole run

    def run(self) -> Outcome:
        """Train to the end of the schedule, from the newest checkpoint of the folder if there is one.

        Raises:
            UserError: the folder holds another run; or training failed in a way that the message explains.
        """
        if (self.folder / CORPUS_FILE).exists():
            raise UserError(f"{self.folder} holds a prepared corpus; name another folder for the run with --output")
        train, evaluated = self.recipe.train, list(self.heldout) or list(self.recipe.tasks)
        watched = ALL_TASKS if len(evaluated) > 1 else evaluated[0]
        trainer = Trainer(
            learner=self.learner,
            folder=self.folder,
            total_steps=self.schedule.total_steps,
            identity=identity(self.recipe, self.origin),
            documents={
                CONFIG: self.config.to_dict(),
                RECIPE: self.recipe.to_dict(),
                LABELS: self.labels,
                **({ORIGIN: self.origin.document()} if self.origin else {}),
            },
            files=lambda: tokenizer_files(self.tokenizer),
            options=TrainerOptions(
                checkpoint_every=train.checkpoint_every,
                eval_every=train.eval_every,
                stage_ends=self.schedule.stage_ends,
                keep_last=train.keep_last,
                log_every=train.log_every,
                non_finite_limit=train.non_finite_limit,
                unit="tok",
            ),
            watch=EarlyStop("loss", "min", train.early_stop_patience, name=watched),
            memory={"skipped_data": self.skipped},
        )
        if not trainer.resume() and self.origin:
            for line in self._take_up(self.origin):
                trainer.say(line)
        with contextlib.closing(self._inputs(self.learner.step)) as inputs:
            outcome = trainer.run(inputs, self.evaluate)
        for line in self.skipped.total().lines():
            trainer.say(line)
        return outcome

    def _take_up(self, origin: Origin) -> list[str]:
        """Begin with what another run has learnt; says in lines what is new and what is left out."""
        report = self.learner.adopt(origin.tensors(), origin.precision())
        lines = [f"{len(report.matched)} parameters and their moments taken from {origin.checkpoint.path}"]
        if report.missing:
            lines.append(f"newly initialised: {', '.join(report.missing)}")
        if report.unexpected:
            lines.append(f"of tasks that the recipe does not name, left out: {', '.join(report.unexpected)}")
        return lines

    def _inputs(self, start: int) -> Generator[StepInput, None, None]:
        steps = range(start, self.schedule.total_steps)
        make = RunReader(self.schedule, self.train_data, self.rank, self.world)
        batches = prefetch(make, steps, self.recipe.train.workers, ahead=4 * max(1, self.recipe.train.workers))
        with contextlib.closing(batches):
            for step, batch in zip(steps, batches, strict=True):
                yield self.step_input(step, batch)

    def step_input(self, step: int, batch: StepBatch) -> StepInput:
        """What the Trainer is told about one step."""
        self.skipped.report.merge(batch.skipped)
        place = self.schedule.at(step)
        per_task = self.recipe.train.learning_rate.per == "task"
        rate = lr_at((place.task_step if per_task else place.step) + 1, self.rates[batch.task])
        return StepInput(batch.task, batch.micro_batches, rate, batch.real_tokens, batch.padded_tokens, batch.samples)

    def evaluate(self) -> list[tuple[str, dict[str, float]]]:
        """Losses and accuracies of every task that was introduced, on the first batches of the held-out text.

        A task goes by its own name and has rows of its own, however it is trained: so runs compare.
        Once all of several tasks are, there is one more evaluation, with the mean of their losses: only checkpoints
        that have learnt every task are compared for the best.
        """
        results = []
        introduced = self.plan.introduced(self.learner.step)
        for name, data in self.heldout.items():
            if name not in introduced:
                continue
            reader = data.open()
            batches = (
                micro
                for number in range(self._evaluated_batches(reader))
                for micro in reader.step(number, self.rank, self.world).micro_batches
            )
            results.append((name, self.learner.evaluate(name, batches)))
        if len(results) == len(self.heldout) > 1:
            results.append((ALL_TASKS, {"loss": sum(figures["loss"] for _, figures in results) / len(results)}))
        return results

    def _evaluated_batches(self, reader: StepReader) -> int:
        """How many batches of the held-out text a task is evaluated on."""
        return min(self.recipe.train.eval_batches, reader.plan.batches_per_epoch)

    # ------------------------------------------------------------------------------------------------------ information

    def describe(self) -> list[str]:
        """What will be trained on what, in lines."""
        lines = [f"{self.recipe.name}: {self.recipe.description}"]
        config = self.config
        lines.append(
            f"model: {config.num_hidden_layers} layers, hidden {config.hidden_size}, "
            f"{config.num_attention_heads} heads, vocabulary {config.vocab_size:,}"
        )
        if self.origin:
            done = ", ".join(f"{name} {count}" for name, count in self.origin.history.steps.items())
            lines.append(f"continues {self.origin.checkpoint.path}, steps done there: {done}")
        for name, reader in self.readers.items():
            steps = " / ".join(str(stage.get(name, 0)) for stage in self.schedule.table())
            lines.append(f"{name}: steps per stage {steps}")
            for member in _members(reader):
                objectives = " + ".join(objective.name for objective in member.objectives)
                lines.append(
                    f"  task {member.task} ({objectives}): {member.plan.samples_per_epoch:,} samples in "
                    f"{member.plan.batches_per_epoch:,} batches an epoch, padding {member.plan.padding_ratio(8):.1%}"
                )
        members = [member for reader in self.readers.values() for member in _members(reader)]
        left_out = [line for member in members for line in member.skipped.lines()]
        return lines + list(dict.fromkeys(left_out))

    def heldout_entropy(self) -> float | None:
        """Unigram entropy of the held-out text in nats; None where there is none."""
        counts = np.zeros(self.tokenizer.vocab.size, dtype=np.int64)
        for corpus in self.recipe.data.corpora:
            if _has_heldout(corpus.path) and kind_of(read_corpus_info(corpus.path)) == DOCUMENTS:
                counts += unigram_counts(Corpus.open(corpus.path, "heldout"), len(counts))
        return entropy(counts) if counts.any() else None

    def dry_run(self) -> list[str]:
        """Build everything, take two steps of all that is trained, and tell the time of the second one and the memory.

        Nothing is written.
        """
        lines = []
        for name in self.plan.trained:
            reader = RunReader(self.schedule, self.train_data, self.rank, self.world)
            start = (0, *self.schedule.stage_ends)[self.schedule.introduced_at(name)]
            step = next(step for step in itertools.count(start) if self.schedule.task_at(step) == name)
            given = self.step_input(step, reader(step))
            began = time.perf_counter()
            self.learner.train_step(name, given.micro_batches, given.lr)
            first = time.perf_counter() - began
            began = time.perf_counter()
            result = self.learner.train_step(name, given.micro_batches, given.lr)
            second = time.perf_counter() - began
            losses = " ".join(f"{term} {value:.3f}" for term, value in result.losses.items())
            tokens = given.units * self.world
            lines.append(
                f"task {name}: {len(given.micro_batches)} micro-batches, {tokens:,} tokens; first step {first:.2f} s "
                f"(with building), second {second:.2f} s, {tokens / second:,.0f} tok/s; {losses}"
            )
        count = sum(array.size for array in self.learner.parameters().values())
        lines.append(f"{count:,} parameters; peak memory of the process {peak_memory_mib():,.0f} MiB{gpu_memory()}")
        return lines


def architecture(recipe: Recipe, corpus: str, vocab_size: int, pad: int) -> ErnieConfig:
    """The recipe's architecture; a ``vocab_size`` of null takes that of the corpus.

    Raises:
        UserError: an unknown or impossible setting.
        DataError: the corpus was prepared with a larger vocabulary than the model has ids.
    """
    settings = {"vocab_size": vocab_size, "pad_token_id": pad} | {k: v for k, v in recipe.arch.items() if v is not None}
    config = ErnieConfig.from_dict(settings, f"{recipe.name}: arch")
    if vocab_size > config.vocab_size:
        raise DataError(
            f"{corpus} was prepared with a vocabulary of {vocab_size:,} pieces, but arch.vocab_size is "
            f"{config.vocab_size:,}; set it to {vocab_size} or more"
        )
    if config.use_task_id:
        for name, task in recipe.tasks.items():
            if task.task_id >= config.task_type_vocab_size:
                raise UserError(
                    f"{recipe.name}: tasks.{name}.task_id is {task.task_id}, but the model has only "
                    f"arch.task_type_vocab_size: {config.task_type_vocab_size} task ids, counted from 0"
                )
    return config


def identity(recipe: Recipe, origin: Origin | None = None) -> dict[str, Any]:
    """What decides the result of a run: the recipe but for its name and how it is watched and fed, and the corpora.

    A run that goes on from a checkpoint is another one than from any other checkpoint.
    A corpus counts by its content, so it may be moved, but not be prepared anew from other text.
    """
    plain = recipe.to_dict()
    for key in ("name", "description"):
        plain.pop(key)
    for key in ("checkpoint_every", "keep_last", "log_every", "eval_every", "eval_batches", "workers"):
        plain["train"].pop(key)
    for section in (plain["data"], *plain["tasks"].values()):
        section["corpora"] = [
            {"weight": corpus["weight"], "content": content_of(corpus["path"])} for corpus in section["corpora"]
        ]
    if origin is not None:
        plain["continued_from"] = origin.sha256
    return plain


def content_of(corpus: str) -> str:
    """A short hash of what a prepared corpus holds."""
    info = read_corpus_info(corpus)
    return key_of({key: info.get(key) for key in ("fingerprint", "vocab_sha256", "splits")})


def key_of(content: dict[str, Any]) -> str:
    """A short hash of JSON-able content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def peak_memory_mib() -> float:
    """Largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def gpu_memory() -> str:
    """Largest memory held on the GPU so far, as words; empty on a CPU."""
    import paddle

    if not paddle.device.is_compiled_with_cuda() or paddle.device.cuda.device_count() == 0:
        return ""
    return f", of the GPU {paddle.device.cuda.max_memory_reserved() / 2**20:,.0f} MiB"


def _require_corpora(recipe: str, paths: list[str]) -> None:
    """Say everything that is needed at once where a corpus is not there at all."""
    for path in paths:
        if Path(path).is_file():
            raise DataError(
                f"{path} is a file, not a prepared corpus; prepare it with `ernie prepare {path} --vocab VOCAB "
                "--output FOLDER` and name the folder"
            )
    missing = [path for path in paths if not Path(path).is_dir()]
    if missing:
        raise DataError(
            f"recipe {recipe} reads the prepared corpora {', '.join(paths)}; not there: {', '.join(missing)}. Make "
            f"them with `ernie prepare TEXT --vocab VOCAB --heldout 0.01 --output {missing[0]}`, or name others with "
            "--data; those of a single task (tasks.NAME.corpora) hold labelled pairs, made with `ernie prepare-pairs`"
        )


def _has_heldout(path: str) -> bool:
    return bool(read_corpus_info(path)["splits"].get("heldout", {}).get("n_documents"))


def _open_heldout(plan: TrainingPlan, config: ErnieConfig) -> dict[str, TaskData]:
    """The tasks on the held-out split, but for those one of whose corpora has none (these are not evaluated)."""
    data = {}
    for name in plan.recipe.tasks:
        (member,) = combine(plan.recipe, [name]).members
        if all(_has_heldout(corpus.path) for corpus in member.corpora):
            data[name] = member_data(plan.recipe, member, "heldout", config, task_id=plan.task_id(name))
            data[name].open()
    return data


def _members(reader: StepReader | CompositeReader) -> list[StepReader]:
    """The sets of rows that a reader makes."""
    return reader.members if isinstance(reader, CompositeReader) else [reader]
