"""Settings that the readers of a run are opened from, small enough to be sent to worker processes."""

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
    """Settings that a :class:`StepReader` is opened from, small enough to be sent to worker processes.

    Attributes:
        task: name of the task.
        objectives: settings of each objective by name.
        corpora: (directory, weight) of each prepared corpus.
        max_length: tokens of the longest row, [CLS] and [SEP] included.
        batch_tokens, batch_rows: size of the global batch of one step; exactly one is given. Where a sample makes two
            rows, an odd number of rows is rounded down.
        micro_batch_tokens: most padded tokens of one micro-batch; None never cuts.
        min_tokens: samples with fewer tokens are left out.
        bin_width: rows are put together with others of about their length; width of the bins in tokens.
        task_id: id of the task for the task embedding; None feeds none.
        split: of the corpora.
        seed: of the order and of all random numbers.
        layout: how the model joins the texts of a row.
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

    def open(self) -> StepReader:
        """The reader of these settings; the same one for equal settings, while somebody in the process uses it.

        Raises:
            DataError, UserError: a corpus or a setting is unusable.
        """
        reader = _in_use.get(self)
        if reader is None:
            reader = _open(self)
            _in_use[self] = reader
        return reader

    def __hash__(self) -> int:
        # The generated one would fail on the mappings; these fields are enough to tell most settings apart.
        return hash((self.task, self.max_length, self.split, self.seed))


_in_use: WeakValueDictionary[TaskData, StepReader] = WeakValueDictionary()


def _open(settings: TaskData) -> StepReader:
    """Open the corpora and build the plan of a task.

    Raises:
        DataError: a corpus is missing or unusable, or has another vocabulary than the first.
        UserError: an unknown objective or setting, or objectives that cannot share a task.
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
        Data(common_vocab(paths), sources, paths, settings.max_length, settings.layout),
        seed=settings.seed,
        task_id=settings.task_id,
        micro_batch_tokens=settings.micro_batch_tokens,
    )


def _check_sizes(settings: TaskData, arranging: AnyObjective, where: str) -> None:
    """Refuse batches whose longest rows are too few for an objective that compares samples."""
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
    """The vocabulary of all these corpora.

    Raises:
        DataError: a corpus is unusable, or was prepared with another vocabulary than the first.
    """
    hashes = {path: read_corpus_info(path)["vocab_sha256"] for path in paths}
    for path, found in hashes.items():
        if found != hashes[paths[0]]:
            raise DataError(
                f"{path} was prepared with another vocabulary than {paths[0]}; prepare both with the same one"
            )
    return load_tokenizer(paths[0]).vocab


class StepMaker(Protocol):
    """Makes the batches of what is trained: :class:`StepReader`, or one over several of them."""

    def step(self, number: int, rank: int, world: int) -> StepBatch:
        """What ``rank`` is fed at step ``number`` (from 0)."""


class StepData(Protocol):
    """Settings that a :class:`StepMaker` is opened from: :class:`TaskData`, or several of them."""

    def open(self) -> StepMaker:
        """The maker of the batches."""


@dataclass(frozen=True)
class RunReader:
    """Makes the batch of any step of a run with several tasks; ``reader.workers.prefetch`` calls it in its workers.

    Attributes:
        schedule: what is trained at which step.
        tasks: its data by name.
        rank, world: of the process that is fed.
        opened: what was opened so far, by name; not sent to worker processes.
    """

    schedule: Schedule
    tasks: Mapping[str, StepData]
    rank: int = 0
    world: int = 1
    opened: dict[str, StepMaker] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return RunReader, (self.schedule, self.tasks, self.rank, self.world)

    def __call__(self, step: int) -> StepBatch:
        """The batch of ``step`` (from 0) of the run."""
        place = self.schedule.at(step)
        if place.task not in self.opened:
            self.opened[place.task] = self.tasks[place.task].open()
        return self.opened[place.task].step(place.task_step, self.rank, self.world)
