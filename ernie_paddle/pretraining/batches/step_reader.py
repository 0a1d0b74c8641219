"""Makes the arrays of one step from a batch plan: rows are drawn, split into micro-batches, arranged, padded, labelled.

Everything is a pure function of (settings, step number, rank, number of ranks) and needs no Paddle, so worker processes
can make steps ahead of time, and a resumed run only asks for another step number.

Shapes: B rows of a micro-batch, T tokens of its longest row rounded up to a multiple of 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.models.inputs import text_inputs
from ernie_paddle.objectives.base import AnyObjective, Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch, Data, Example, Row
from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.values import Arrays
from reader.batches.plan import BatchPlan, BatchRows, shard_rows
from reader.lengths import padded_length
from reader.random import fold, key
from reader.report import SkipReport

_MULTIPLE = 8


@dataclass(frozen=True)
class StepBatch:
    """The batch of one rank at one step.

    Attributes:
        number: The step, counted from 0 in the task's own data.
        task: Name of the task.
        micro_batches: Arrays by Input name; every rank has the same number of micro-batches.
        rows: Rows of this rank, excluding those of a blank micro-batch.
        global_rows: Rows of all ranks.
        real_tokens: Tokens of this rank, including [CLS] and [SEP] but not padding.
        padded_tokens: Tokens of this rank, including padding.
        samples: The samples from which the rows were made, for messages.
        skipped: Samples that the objectives could not use.
    """

    number: int
    task: str
    micro_batches: list[Arrays]
    rows: int
    global_rows: int
    real_tokens: int
    padded_tokens: int
    samples: str
    skipped: SkipReport


def task_inputs(objectives: Sequence[AnyObjective], use_task_id: bool) -> list[Input]:
    """All arrays that a task's Program takes: the model's inputs, those of every token, then those of the objectives.

    Raises:
        UserError: Two objectives need an array of the same name, so they cannot share a batch.
    """
    of_tokens = [item for objective in objectives if objective.arranges for item in objective.token_inputs]
    inputs = {item.name: item for item in [*text_inputs(use_task_id), *of_tokens]}
    owner: dict[str, str] = {}
    for objective in objectives:
        for item in objective.inputs:
            if item.name in owner:
                raise UserError(
                    f"objectives {owner[item.name]!r} and {objective.name!r} both define {item.name!r}, "
                    "so they cannot share a task; put them into two tasks"
                )
            owner[item.name] = objective.name
            inputs[item.name] = item
    return list(inputs.values())


def arranger(objectives: Sequence[AnyObjective], where: str) -> AnyObjective:
    """Return the objective that arranges the rows, or a plain one (``[CLS] sample [SEP]``) if none of them does.

    Raises:
        UserError: There is no objective, one is named twice, one is exclusive, or more than one arranges. ``where``
            begins the message.
    """
    names = [objective.name for objective in objectives]
    if not names or len(set(names)) != len(names):
        raise UserError(f"{where}: give at least one objective, and each only once; found {names}")
    exclusive = [objective.name for objective in objectives if objective.exclusive]
    if exclusive and len(objectives) > 1:
        others = ", ".join(name for name in names if name != exclusive[0])
        raise UserError(
            f"{where}: {exclusive[0]} shares its rows with no other objective; put {others} into another task (with "
            "schedule.kind: sum, both can be trained in every step)"
        )
    arranging = [objective for objective in objectives if objective.arranges]
    if len(arranging) > 1:
        raise UserError(
            f"{where}: {' and '.join(o.name for o in arranging)} each arrange the input in their own way; "
            "put them into separate tasks"
        )
    return arranging[0] if arranging else Objective(ObjectiveSettings())


class StepReader:
    """Makes the batches of one task.

    Args:
        task: Name of the task; every task goes through the data in an order of its own.
        objectives: The objectives that share the task's rows.
        plan: Which samples make step n. The length of a sample is that of all rows that the arranging objective makes
            of it, each counted as long as the longest, including the special symbols.
        data: Corpora and vocabulary.
        seed: Seed of the random numbers for arranging, masking etc.
        task_id: Value of ``task_ids``; None feeds no task ids.
        micro_batch_tokens: Maximum of padded tokens in a micro-batch (at least one row); None never splits a batch.
    """

    def __init__(
        self,
        task: str,
        objectives: Sequence[AnyObjective],
        plan: BatchPlan,
        data: Data,
        *,
        seed: int,
        task_id: int | None = None,
        micro_batch_tokens: int | None = None,
    ) -> None:
        self.task = task
        self.objectives = [objective.with_data(data) for objective in objectives]
        self.plan = plan
        self.data = data
        self.inputs = task_inputs(self.objectives, task_id is not None)
        # The inputs that complete a batch are made together with those of the task's Program.
        further = [item for objective in self.objectives for item in objective.completion_inputs]
        self._made = list({item.name: item for item in [*further, *self.inputs]}.values())
        self._arranger = arranger(self.objectives, f"task {task!r}")
        self._seed = seed
        self._task_id = task_id
        self._micro_batch_tokens = micro_batch_tokens

    @property
    def skipped(self) -> SkipReport:
        """What was skipped or truncated when the corpora were packed into samples."""
        report = SkipReport()
        for source in self.data.sources:
            report.merge(source.skipped)
        return report

    def step(self, number: int, rank: int = 0, world: int = 1, parts: int | None = None) -> StepBatch:
        """The batch of ``rank`` at step ``number`` (from 0). All ranks together get the same rows for any ``world``.

        ``parts`` is the number of micro-batches; the default is :meth:`micro_batches`.
        """
        everyone = self.plan.batch(number)
        mine = shard_rows(everyone, rank, world)
        parts = parts or self.micro_batches(number, world)
        skipped = SkipReport()
        micro_batches: list[Arrays] = []
        real = padded = 0
        for part in range(parts):
            rows = shard_rows(mine, part, parts)
            blank = len(rows) == 0
            # Every rank must run the same Programs: a rank without rows takes the first row of all and erases its
            # labels.
            if blank:
                batch = self._batch(shard_rows(everyone, 0, len(everyone)), SkipReport())
            else:
                batch = self._batch(rows, skipped)
            micro_batches.append(self._feeds(batch, blank))
            padded += batch.ids.size
            real += 0 if blank else int(batch.real.sum())
        return StepBatch(
            number=number,
            task=self.task,
            micro_batches=micro_batches,
            rows=len(mine) * self._arranger.rows_per_sample,
            global_rows=len(everyone) * self._arranger.rows_per_sample,
            real_tokens=real,
            padded_tokens=padded,
            samples=_describe(mine, self.data.paths),
            skipped=skipped,
        )

    def micro_batches(self, number: int, world: int) -> int:
        """Number of micro-batches of a step on every rank, determined by the rank with the most tokens."""
        if self._micro_batch_tokens is None:
            return 1
        everyone = self.plan.batch(number)
        most = -(-len(everyone) // world)
        fitting = self._micro_batch_tokens // everyone.max_tokens
        return -(-most // max(fitting, 1))

    def _batch(self, rows: BatchRows, skipped: SkipReport) -> Batch:
        """Draw, arrange and pad the rows."""
        keys = key(self._seed, self.task, rows.epoch, rows.corpus, rows.sample)
        copies = self._arranger.rows_per_sample
        room = rows.max_tokens // copies
        drawn = []
        numbers = zip(rows.epoch.tolist(), rows.corpus.tolist(), rows.sample.tolist(), keys.tolist(), strict=True)
        for epoch, corpus, sample, row_key in numbers:
            source = self.data.sources[corpus]
            drawn.append(Row(source.sample(sample), epoch, corpus, sample, room, self.data, row_key, skipped))
        arranged = [self._arranger.arrange(row) for row in drawn]
        # The first rows of all samples, then all second rows.
        examples = list(chain.from_iterable(zip(*arranged, strict=True)))
        keys = np.concatenate([keys] + [fold(keys, copy) for copy in range(1, copies)])
        return _pad(examples, drawn * copies, self.data, keys, room, copies, self._arranger.token_inputs)

    def _feeds(self, batch: Batch, blank: bool) -> Arrays:
        """Let the objectives label and corrupt the batch, and collect the arrays for the Program."""
        feeds: Arrays = {}
        for objective in self.objectives:
            objective.corrupt(batch)
        for objective in sorted(self.objectives, key=lambda each: each.reads_masks):
            feeds.update(objective.label(batch))
        ours: Arrays = {
            "input_ids": batch.ids,
            "segment_ids": batch.segments,
            "attention_mask": batch.real.astype(np.int64),
            **batch.inputs,
        }
        if self._task_id is not None:
            ours["task_ids"] = np.full(batch.ids.shape, self._task_id, dtype=np.int64)
        feeds = ours | feeds
        for item in self._made:
            array = feeds[item.name]
            empty = len(array) == 0
            if empty or (blank and item.ignore is not None):
                # A Program never takes an empty array: one entry that does not count is fed instead.
                shape = (1, *array.shape[1:]) if empty else array.shape
                feeds[item.name] = np.full(shape, item.pad if item.ignore is None else item.ignore, dtype=item.dtype)
        return feeds


def _pad(
    examples: Sequence[Example],
    rows: Sequence[Row],
    data: Data,
    keys: Any,
    limit: int,
    rows_per_sample: int,
    token_inputs: Sequence[Input],
) -> Batch:
    """Pad rows of different lengths to arrays [B, T]."""
    lengths = np.array([len(example.ids) for example in examples])
    longest = int(lengths.max())
    assert longest <= limit, f"an arranged row has {longest} tokens; the limit is {limit}"
    real = np.arange(padded_length(longest, _MULTIPLE, limit)) < lengths[:, None]

    def stacked(parts: list[Any], pad: float, dtype: type | str) -> Any:
        array: NDArray[Any] = np.full(real.shape, pad, dtype=dtype)
        array[real] = np.concatenate(parts)
        return array

    ids = stacked([example.ids for example in examples], data.vocab.pad, np.int64)
    return Batch(
        ids=ids,
        original=ids.copy(),
        segments=stacked([example.segments for example in examples], 0, np.int64),
        flags=stacked([example.flags for example in examples], 0, np.uint8),
        documents=stacked([example.documents for example in examples], -1, np.int32),
        real=real,
        special=stacked([example.special for example in examples], False, np.bool_),
        corrupted=np.zeros(real.shape, np.bool_),
        rows=rows,
        examples=examples,
        data=data,
        keys=keys,
        rows_per_sample=rows_per_sample,
        inputs={
            item.name: stacked([example.inputs[item.name] for example in examples], item.pad, item.dtype)
            for item in token_inputs
        },
    )


def _describe(rows: BatchRows, paths: Sequence[str]) -> str:
    """ "corpora/en: 17 (epoch 0), 204 (epoch 0); ..." """
    texts = []
    for corpus in np.unique(rows.corpus).tolist():
        where = rows.corpus == corpus
        uses = zip(rows.sample[where].tolist(), rows.epoch[where].tolist(), strict=True)
        texts.append(f"{paths[corpus]}: " + ", ".join(f"{sample} (epoch {epoch})" for sample, epoch in uses))
    return "; ".join(texts)
