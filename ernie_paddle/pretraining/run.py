"""Pre-training: a recipe and prepared corpora become checkpoints (ERNIE 2.0, "Continual Multi-task Learning")."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ernie_paddle.checkpoints.model_dir import CONFIG, tokenizer_files
from ernie_paddle.pretraining.architecture import architecture
from ernie_paddle.pretraining.batches.joint_steps import JointStepReader
from ernie_paddle.pretraining.batches.label_check import require_evaluation, require_labels
from ernie_paddle.pretraining.batches.run_data import (
    has_heldout,
    open_heldout,
    require_corpora,
    row_readers,
    training_data,
)
from ernie_paddle.pretraining.batches.step_data import RunReader, common_vocab
from ernie_paddle.pretraining.batches.step_reader import StepBatch, StepReader
from ernie_paddle.pretraining.completion import BatchCompletion
from ernie_paddle.pretraining.continuation import LABELS, ORIGIN, RECIPE, Origin, class_labels, open_origin
from ernie_paddle.pretraining.identity import identity
from ernie_paddle.pretraining.learning_rates import learning_rates
from ernie_paddle.pretraining.model import build_joint, build_task
from ernie_paddle.pretraining.recipe import Recipe
from ernie_paddle.pretraining.schedule.plan import make_plan
from ernie_paddle.pretraining.schedule.task_sums import sum_tasks
from propeller.device import distributed
from propeller.errors import UserError
from propeller.learner import Learner
from propeller.run.hooks import EarlyStop, Hook
from propeller.run.lr import lr_at
from propeller.run.trainer import Outcome, StepInput, Trainer, TrainerOptions
from reader.corpora.corpus import CORPUS_FILE, DOCUMENTS, Corpus, kind_of, read_corpus_info
from reader.prepare.statistics import entropy, unigram_counts
from reader.report import SkipReport
from reader.tokenizers.load import load_tokenizer
from reader.workers.prefetch import prefetch

ALL_TASKS = "all_tasks"
"""Name of the evaluation that averages the losses of all tasks of a run with several tasks."""


@dataclass
class SkippedData(Hook):
    """Counts, over a whole run, the samples that the objectives skipped; the counts survive a resume.

    Attributes:
        before: Counts of all ranks before the run was resumed.
        report: Counts of this rank since then.
    """

    before: SkipReport = dataclasses.field(default_factory=SkipReport)
    report: SkipReport = dataclasses.field(default_factory=SkipReport)

    def total(self) -> SkipReport:
        """The counts of all ranks; every rank must call this method."""
        total = SkipReport()
        total.merge(self.before)
        for part in distributed.all_gather_bytes(json.dumps(self.report.to_dict()).encode()):
            total.merge(SkipReport.from_dict(json.loads(part)))
        return total

    def state(self) -> dict[str, Any]:
        """The counts so far, to be stored in checkpoints."""
        return self.total().to_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Load the counts of the run that is resumed."""
        self.before, self.report = SkipReport.from_dict(state), SkipReport()


class Pretraining:
    """One pre-training run: the Programs of its tasks, its data, and its folder."""

    def __init__(self, recipe: Recipe, folder: Path, continue_from: Path | None = None) -> None:
        """Open the corpora and declare the Programs.

        Args:
            recipe: The recipe to train.
            folder: Folder of the run.
            continue_from: A checkpoint, or the folder of a run, from which this run continues pre-training.

        Raises:
            DataError: A corpus is missing, unusable or too small.
            UserError: The recipe cannot be trained (see the message).
        """
        distributed.init()
        self.recipe, self.folder = recipe, folder
        self.rank, self.world = distributed.rank(), distributed.world_size()
        paths = recipe.corpus_paths
        require_corpora(recipe.name, paths)
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
        self.heldout = open_heldout(self.plan, self.config)
        for group in (group for reader in self.readers.values() for group in row_readers(reader)):
            require_labels(group)
        for heldout in self.heldout.values():
            require_evaluation(heldout, self._evaluated_batches(heldout))
        self.labels = class_labels(recipe)
        self.learner = Learner(recipe.train.optimizer, recipe.train.precision, seed=recipe.train.seed)
        self.complete = BatchCompletion(self.learner, self.config)
        # Tasks that are only trained in sums have a separate Program for evaluation.
        alone = {
            task: training_data(recipe, sum_tasks(recipe, [task]), self.config).open()
            for task in recipe.tasks
            if task not in self.readers
        }
        length = recipe.data.max_length
        for name, reader in {**self.readers, **alone}.items():
            if isinstance(reader, JointStepReader):
                groups = {group.task: group.objectives for group in reader.groups}
                self.learner.add(build_joint(name, groups, self.config, max_length=length))
            else:
                groups = {"": reader.objectives}
                self.learner.add(build_task(name, reader.objectives, self.config, max_length=length))
            self.complete.add(name, groups)
        self.skipped = SkippedData()

    # -------------------------------------------------------------------------------------------------------- whole run

    def run(self) -> Outcome:
        """Train to the end of the schedule, resuming from the newest checkpoint of the folder if there is one.

        Raises:
            UserError: The folder holds another run, or training failed (see the message).
        """
        if (self.folder / CORPUS_FILE).exists():
            raise UserError(f"{self.folder} holds a prepared corpus; give the run another folder with --output")
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
        """Load the parameters of another run; returns lines that name the new and the dropped parameters."""
        report = self.learner.adopt(origin.tensors(), origin.precision())
        lines = [f"{len(report.matched)} parameters and their moments taken from {origin.checkpoint.path}"]
        if report.missing:
            lines.append(f"newly initialised: {', '.join(report.missing)}")
        if report.unexpected:
            lines.append(f"dropped, as their tasks are not in the recipe: {', '.join(report.unexpected)}")
        return lines

    def _inputs(self, start: int) -> Generator[StepInput, None, None]:
        steps = range(start, self.schedule.total_steps)
        make = RunReader(self.schedule, self.train_data, self.rank, self.world)
        batches = prefetch(make, steps, self.recipe.train.workers, ahead=4 * max(1, self.recipe.train.workers))
        with contextlib.closing(batches):
            for step, batch in zip(steps, batches, strict=True):
                yield self.step_input(step, batch)

    def step_input(self, step: int, batch: StepBatch) -> StepInput:
        """The Trainer's input for one step; the batch is completed with the current parameters."""
        self.skipped.report.merge(batch.skipped)
        place = self.schedule.at(step)
        per_task = self.recipe.train.learning_rate.per == "task"
        rate = lr_at((place.task_step if per_task else place.step) + 1, self.rates[batch.task])
        completed = [self.complete(batch.task, arrays, number) for number, arrays in enumerate(batch.micro_batches)]
        return StepInput(batch.task, completed, rate, batch.real_tokens, batch.padded_tokens, batch.samples)

    def evaluate(self) -> list[tuple[str, dict[str, float]]]:
        """Losses and accuracies of every task introduced so far, on the first batches of the held-out text.

        A task is evaluated under its own name and on its own rows, however it is trained, so that runs can be compared.
        Once all of several tasks are introduced, one more evaluation has the mean of their losses, so that only
        checkpoints that have learnt every task compete for the best.
        """
        results = []
        introduced = self.plan.introduced(self.learner.step)
        for name, reader in self.heldout.items():
            if name not in introduced:
                continue
            batches = (
                micro
                for number in range(self._evaluated_batches(reader))
                for micro in reader.step(number, self.rank, self.world).micro_batches
            )
            completed = (self.complete(name, arrays, number) for number, arrays in enumerate(batches))
            results.append((name, self.learner.evaluate(name, completed)))
        if len(results) == len(self.heldout) > 1:
            results.append((ALL_TASKS, {"loss": sum(figures["loss"] for _, figures in results) / len(results)}))
        return results

    def _evaluated_batches(self, reader: StepReader) -> int:
        """Number of batches of held-out text on which a task is evaluated."""
        return min(self.recipe.train.eval_batches, reader.plan.batches_per_epoch)

    # ------------------------------------------------------------------------------------------------------ information

    def describe(self) -> list[str]:
        """Lines that describe the model, the tasks and their data."""
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
            for group in row_readers(reader):
                objectives = " + ".join(objective.name for objective in group.objectives)
                lines.append(
                    f"  task {group.task} ({objectives}): {group.plan.samples_per_epoch:,} samples in "
                    f"{group.plan.batches_per_epoch:,} batches per epoch, padding {group.plan.padding_ratio(8):.1%}"
                )
        groups = [group for reader in self.readers.values() for group in row_readers(reader)]
        left_out = [line for group in groups for line in group.skipped.lines()]
        return lines + list(dict.fromkeys(left_out))

    def heldout_entropy(self) -> float | None:
        """Unigram entropy of the held-out text in nats; None without held-out text."""
        counts = np.zeros(self.tokenizer.vocab.size, dtype=np.int64)
        for corpus in self.recipe.data.corpora:
            if has_heldout(corpus.path) and kind_of(read_corpus_info(corpus.path)) == DOCUMENTS:
                counts += unigram_counts(Corpus.open(corpus.path, "heldout"), len(counts))
        return entropy(counts) if counts.any() else None
