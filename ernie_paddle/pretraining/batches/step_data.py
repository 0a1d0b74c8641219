"""The settings from which a run's readers are opened, small enough to be sent to worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakValueDictionary

from ernie_paddle.objectives.base import AnyObjective
from ernie_paddle.objectives.registry import make_objectives
from ernie_paddle.objectives.rows import Data
from ernie_paddle.pretraining.batches.step_reader import StepBatch, StepReader, arranger
from ernie_paddle.pretraining.schedule.schedule import Schedule
from propeller.errors import UserError
from reader.batches.plan import BatchPlan
from reader.batches.rows import BERT_LAYOUT, RowLayout
from reader.corpora.corpus import read_corpus_info
from reader.corpora.kinds import SampleSource
from reader.errors import DataError
from reader.random import key
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.vocab import Vocab


@dataclass(frozen=True)
class TaskData:
    """The settings from which a :class:`StepReader` is opened, small enough to be sent to worker processes.

    Attributes:
        task: Name of the task.
        objectives: Settings of each objective by name.
        corpora: (directory, weight) of each prepared corpus.
        max_length: Tokens of the longest row, including [CLS] and [SEP].
        batch_tokens, batch_rows: Size of the global batch of one step; exactly one is given. Where a sample makes two
            rows, an odd number of rows is rounded down.
        micro_batch_tokens: Maximum of padded tokens in one micro-batch; None never splits a batch.
        min_tokens: Samples with fewer tokens are skipped.
        bin_width: Width in tokens of the length bins; a batch holds rows of about the same length.
        task_id: Task id for the task embedding; None feeds no task ids.
        split: Name of the split of the corpora.
        seed: Seed of the order and of all random numbers.
        layout: How the model joins the texts of a row.
        target_segment: Segment id of a text that the model generates.
    """

    task: str
    objectives: Mapping[str, Mapping[str, Any]]
    corpora: Sequence[tuple[str, float]]
    max_length: int
    batch_tokens: int | None = None
    batch_rows: int | None = None
    micro_batch_tokens: int | None = None
    min_tokens: int = 8
    bin_width: int = 32
    task_id: int | None = None
    split: str = "train"
    seed: int = 0
    layout: RowLayout = BERT_LAYOUT
    target_segment: int = 1

    def open(self) -> StepReader:
        """Open the reader of these settings; equal settings return the same reader while it is in use in this process.

        Raises:
            DataError, UserError: A corpus or a setting is unusable.
        """
        reader = _in_use.get(self)
        if reader is None:
            reader = _open(self)
            _in_use[self] = reader
        return reader

    def __hash__(self) -> int:
        # A generated hash would fail on the mappings; these fields are enough to distinguish most settings.
        return hash((self.task, self.max_length, self.split, self.seed))


_in_use: WeakValueDictionary[TaskData, StepReader] = WeakValueDictionary()


def _open(settings: TaskData) -> StepReader:
    """Open the corpora and build the plan of a task.

    Raises:
        DataError: A corpus is missing or unusable, or has a different vocabulary from the first.
        UserError: An objective or setting is unknown, or the objectives cannot share a task.
    """
    where = f"task {settings.task!r}"
    objectives = make_objectives(settings.objectives, where)
    arranging = arranger(objectives, where)
    _check_sizes(settings, arranging, where)
    paths = [path for path, _ in settings.corpora]
    overhead, copies = settings.layout.specials(arranging.max_parts), arranging.rows_per_sample
    sources: list[SampleSource] = [
        arranging.open(path, settings.split, settings.max_length - overhead, settings.min_tokens) for path in paths
    ]
    plan = BatchPlan(
        sources,
        [weight for _, weight in settings.corpora],
        batch_tokens=settings.batch_tokens,
        batch_rows=settings.batch_rows and max(1, settings.batch_rows // copies),
        bin_width=settings.bin_width * copies,
        seed=int(key(settings.seed, "plan", settings.task)),
        overhead=overhead * copies,
    )
    return StepReader(
        settings.task,
        objectives,
        plan,
        Data(common_vocab(paths), sources, paths, settings.max_length, settings.layout, settings.target_segment),
        seed=settings.seed,
        task_id=settings.task_id,
        micro_batch_tokens=settings.micro_batch_tokens,
    )


def _check_sizes(settings: TaskData, arranging: AnyObjective, where: str) -> None:
    """Refuse batches that hold too few of the longest rows for an objective that compares samples."""
    samples, rows, length = arranging.min_samples, arranging.rows_per_sample, settings.max_length
    sizes = {
        "batch_rows": (settings.batch_rows, rows),
        "batch_tokens": (settings.batch_tokens, length * rows),
        "micro_batch_tokens": (settings.micro_batch_tokens, length * rows),
    }
    for name, (size, each) in sizes.items():
        if samples > 1 and size is not None and size < samples * each:
            raise UserError(
                f"{where}: {arranging.name} compares the samples of a micro-batch, each of {rows} rows of up to "
                f"{length} tokens, but {name}: {size} leaves only {size // each}; set it to {samples * each} or more"
            )


def common_vocab(paths: Sequence[str]) -> Vocab:
    """Return the common vocabulary of the corpora.

    Raises:
        DataError: A corpus is unusable, or was prepared with a different vocabulary from the first.
    """
    hashes = {path: read_corpus_info(path)["vocab_sha256"] for path in paths}
    for path, found in hashes.items():
        if found != hashes[paths[0]]:
            raise DataError(
                f"{path} was prepared with another vocabulary than {paths[0]}; prepare both with the same one"
            )
    return load_tokenizer(paths[0]).vocab


class StepMaker(Protocol):
    """Makes the batches of one training Program: a :class:`StepReader`, or a reader that joins several of them."""

    def step(self, number: int, rank: int, world: int) -> StepBatch:
        """The batch of ``rank`` at step ``number`` (from 0)."""


class StepData(Protocol):
    """The settings from which a :class:`StepMaker` is opened: one :class:`TaskData`, or several of them."""

    def open(self) -> StepMaker:
        """Open the maker of the batches."""


@dataclass(frozen=True)
class RunReader:
    """Makes the batch of any step of a run with several tasks; ``reader.workers.prefetch`` calls it in its workers.

    Attributes:
        schedule: Which task is trained at which step.
        tasks: The data of each task by name.
        rank, world: Rank of this process and number of ranks.
        opened: Readers opened so far, by name; not sent to worker processes.
    """

    schedule: Schedule
    tasks: Mapping[str, StepData]
    rank: int = 0
    world: int = 1
    opened: dict[str, StepMaker] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return RunReader, (self.schedule, self.tasks, self.rank, self.world)

    def __call__(self, step: int) -> StepBatch:
        """Make the batch of ``step`` (from 0) of the run."""
        place = self.schedule.at(step)
        if place.task not in self.opened:
            self.opened[place.task] = self.tasks[place.task].open()
        return self.opened[place.task].step(place.task_step, self.rank, self.world)
