"""From plan to feeds: pure, the same rows on any number of ranks, equal Programs everywhere, and free of Paddle."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ernie_paddle.objectives.base import Objective, ObjectiveSettings
from ernie_paddle.objectives.registry import make_objectives
from ernie_paddle.objectives.rows import Batch, Example, Part, Row, assemble, sentences
from ernie_paddle.pretraining.batches.step_data import RunReader, TaskData
from ernie_paddle.pretraining.batches.step_reader import StepBatch, task_inputs
from ernie_paddle.pretraining.schedule.stage_tables import cmtl
from helpers.objective_corpora import FIRST, Documents, in_memory, make_vocab, step_reader, write
from propeller.errors import UserError
from propeller.graph.inputs import IGNORE, Input
from propeller.values import Arrays
from reader.corpora.kinds import SampleSource
from reader.errors import DataError
from reader.workers.prefetch import prefetch

DOCS = Documents([[3, 5, 2, 7], [4] * 9, [1, 2, 3, 4, 5, 6], [8, 8], [5], [2, 9, 4, 1, 1, 1, 6]] * 4, 3)
ALL = {"knowledge_masking": {}, "capitalization": {}, "sentence_reordering": {}}


def _tasks(path: str, **more: Any) -> dict[str, TaskData]:
    common: dict[str, Any] = {
        "corpora": [(path, 1.0)], "max_length": 40, "batch_tokens": 240, "min_tokens": 1, "bin_width": 8, "seed": 5,
    } | more  # fmt: skip
    return {
        "reorder": TaskData("reorder", ALL, task_id=2, **common),
        "bert": TaskData("bert", {"mlm": {}, "nsp": {}}, task_id=0, **common),
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("corpus") / "a", DOCS, make_vocab(FIRST + DOCS.n_tokens))


def _same(a: StepBatch, b: StepBatch) -> bool:
    return (
        (a.number, a.task, a.rows, a.real_tokens, a.padded_tokens, a.samples, a.skipped.to_dict())
        == (b.number, b.task, b.rows, b.real_tokens, b.padded_tokens, b.samples, b.skipped.to_dict())
        and len(a.micro_batches) == len(b.micro_batches)
        and all(
            x.keys() == y.keys()
            and all(np.array_equal(x[name], y[name]) and x[name].dtype == y[name].dtype for name in x)
            for x, y in zip(a.micro_batches, b.micro_batches, strict=True)
        )
    )


def _rows(batches: Sequence[StepBatch]) -> Counter[tuple[Any, ...]]:
    """Each row with everything that belongs to it, padding removed, but blank rows left out."""
    found: Counter[tuple[Any, ...]] = Counter()
    for feeds in (feeds for batch in batches for feeds in batch.micro_batches):
        length = feeds["input_ids"].shape[1]
        for b, mask in enumerate(feeds["attention_mask"]):
            n = int(mask.sum())
            mine = (feeds["mlm_positions"] // length == b) & (feeds["mlm_labels"] != IGNORE)
            row: list[Any] = [tuple(feeds[name][b, :n].tolist()) for name in ("input_ids", "segment_ids", "task_ids")]
            row += [
                tuple((feeds["mlm_positions"][mine] - b * length).tolist()),
                tuple(feeds["mlm_labels"][mine].tolist()),
            ]
            for name in ("capitalization_labels", "sentence_reordering_labels", "nsp_labels"):
                if name in feeds:
                    row.append(tuple(np.atleast_1d(feeds[name][b])[:n].tolist()))
            if mine.any():
                found[tuple(row)] += 1
    return found


@pytest.mark.parametrize("task", ["reorder", "bert"])
def test_ranks_share_the_global_batch(corpus: str, task: str) -> None:
    """The rows of 2, 4 and 40 ranks are those of one, and all ranks run the same number of micro-batches."""
    data = _tasks(corpus)[task]
    reader = data.open()
    cut = TaskData(**{**data.__dict__, "micro_batch_tokens": 80}).open()
    several = 0
    for number in (0, 1, 2, reader.plan.batches_per_epoch + 1, 1_000_000):
        whole = reader.step(number)
        expected = _rows([whole])
        assert expected.total() == whole.rows == whole.global_rows
        assert len(whole.micro_batches) == 1
        for world in (1, 2, 3, 4, 7, 20):
            for source in (reader, cut):
                parts = [source.step(number, rank, world) for rank in range(world)]
                assert _rows(parts) == expected
                assert sum(part.rows for part in parts) == whole.rows
                assert sum(part.real_tokens for part in parts) == whole.real_tokens
                assert len({len(part.micro_batches) for part in parts}) == 1
                if source is cut:
                    several = max(several, len(parts[0].micro_batches))
                    sizes = [feeds["input_ids"].size for part in parts for feeds in part.micro_batches]
                    assert max(sizes) <= 80
    assert several > 2


def test_blank_micro_batches_have_arrays_but_no_labels(corpus: str) -> None:
    for data in _tasks(corpus, batch_rows=3, batch_tokens=None).values():
        reader = data.open()
        idle = reader.step(0, rank=5, world=6)
        assert (idle.rows, idle.real_tokens, idle.samples, len(idle.micro_batches)) == (0, 0, "", 1)
        (feeds,) = idle.micro_batches
        assert set(feeds) == {item.name for item in reader.inputs}
        for item in reader.inputs:
            array = item.check(feeds, "blank")
            assert array.size > 0
            if item.ignore is not None:
                assert item.count(array) == 0


def test_every_array_is_declared_and_there(corpus: str) -> None:
    for data in _tasks(corpus, micro_batch_tokens=100).values():
        reader = data.open()
        names = [item.name for item in task_inputs(reader.objectives, use_task_id=True)]
        for feeds in reader.step(3).micro_batches:
            assert sorted(feeds) == sorted(names)
            for item in reader.inputs:
                item.check(feeds, "step 3")
            assert set(feeds["task_ids"].ravel()) == {data.task_id}
    without = TaskData(**{**data.__dict__, "task_id": None}).open()
    assert "task_ids" not in without.step(0).micro_batches[0]


def test_a_step_is_a_pure_function(corpus: str) -> None:
    """Asked again, in another order, by another reader or in worker processes: the same bits. Other seeds: others."""
    tasks = _tasks(corpus)
    schedule = cmtl(list(tasks), steps_per_task=6, seed=1)
    run = RunReader(schedule, tasks, rank=1, world=2)
    forward = [run(step) for step in range(schedule.total_steps)]
    again = pickle.loads(pickle.dumps(run))
    assert all(_same(again(step), forward[step]) for step in reversed(range(schedule.total_steps)))
    with closing(prefetch(run, range(4, schedule.total_steps), workers=1)) as ahead:
        assert all(_same(batch, forward[4 + i]) for i, batch in enumerate(ahead))
    for step, batch in enumerate(forward):
        assert batch.task == schedule.task_at(step)
        assert batch.number == schedule.count_before(step, batch.task)
    other = RunReader(schedule, _tasks(corpus, seed=6), rank=1, world=2)
    assert not _same(other(0), forward[0])


def test_passes_over_the_corpus_are_masked_anew(corpus: str) -> None:
    """Each of two epochs has every sample once, and hardly any row twice with the same masks."""
    reader = _tasks(corpus)["reorder"].open()
    per_epoch = reader.plan.batches_per_epoch
    epochs = [_rows([reader.step(e * per_epoch + i) for i in range(per_epoch)]) for e in range(2)]
    for rows in epochs:
        assert rows.total() == len(reader.data.sources[0])
    # A short row is often masked the same way twice; a long one that is shuffled and masked hardly ever.
    long = [Counter({row: n for row, n in rows.items() if len(row[0]) > 15}) for rows in epochs]
    assert long[0].total() > 10
    assert (long[0] & long[1]).total() <= 1


def test_importing_and_making_examples_needs_no_paddle(corpus: str) -> None:
    code = (
        "import sys\n"
        "from ernie_paddle.pretraining.batches.step_data import TaskData\n"
        "from ernie_paddle.objectives.registry import registry\n"
        "assert len(registry()) >= 5\n"
        f"task = TaskData('t', {{n: {{}} for n in {list(ALL)}}}, [({corpus!r}, 1.0)], 40, batch_rows=4, min_tokens=1)\n"
        "rows = task.open().step(0).rows\n"
        "print(rows, sorted(m for m in sys.modules if m.split('.')[0] == 'paddle'))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "4 []\n"


def test_mistakes_are_named(corpus: str, tmp_path: Path) -> None:
    def opened(objectives: dict[str, dict[str, Any]]) -> None:
        TaskData("t", objectives, [(corpus, 1.0)], 40, batch_rows=4).open()

    with pytest.raises(UserError, match=r"unknown objective 'capitalisation'; did you mean 'capitalization'"):
        opened({"capitalisation": {}})
    with pytest.raises(UserError, match=r"knowledge_masking: unknown key 'phrases'; did you mean 'phrase'"):
        opened({"knowledge_masking": {"phrases": 1.0}})
    with pytest.raises(UserError, match=r"max_segments must lie between 2 and 6.*found 9"):
        opened({"sentence_reordering": {"max_segments": 9}})
    with pytest.raises(UserError, match=r"rate must lie between 0 and 1, found 1\.5"):
        opened({"mlm": {"rate": 1.5}})
    with pytest.raises(UserError, match="nsp and sentence_reordering each arrange"):
        opened({"nsp": {}, "sentence_reordering": {}})
    with pytest.raises(UserError, match="'mlm' and 'knowledge_masking' both define 'mlm_positions'"):
        opened({"mlm": {}, "knowledge_masking": {}})
    with pytest.raises(UserError, match="at least one objective"):
        opened({})
    other = write(tmp_path / "b", DOCS, make_vocab(FIRST + DOCS.n_tokens + 1))
    with pytest.raises(DataError, match="another vocabulary"):
        TaskData("t", {"mlm": {}}, [(corpus, 1.0), (other, 1.0)], 40, batch_rows=4).open()
    with pytest.raises(DataError, match=r"not a finished corpus|does not exist"):
        TaskData("t", {"mlm": {}}, [(str(tmp_path / "none"), 1.0)], 40, batch_rows=4).open()


class _Halves(Objective[ObjectiveSettings]):
    """Two rows per sample (as Quick-Thoughts needs), a float label for some rows, and arrays that may be empty."""

    name: ClassVar[str] = "halves"
    summary: ClassVar[str] = "for this test"
    settings_type = ObjectiveSettings
    arranges = True
    rows_per_sample = 2

    @property
    def inputs(self) -> Sequence[Input]:
        return [
            Input("halves_share", (None,), "float32", ignore=float("nan")),
            Input("halves_never", (None, 3), "int64", ignore=IGNORE),
        ]

    def arrange(self, row: Row) -> Sequence[Example]:
        count = len(row.sample.sentence_offsets) - 1
        cut = -(-count // 2)
        first, second = sentences(row.sample, 0, cut), sentences(row.sample, cut, count)
        labels = {"halves_share": len(first) / (len(first) + len(second))} if len(second) else {}
        empty = Part(row.sample.tokens[:0], row.sample.flags[:0], row.sample.document)
        return [assemble([first], row.data, labels), assemble([second if len(second) else empty], row.data)]

    def label(self, batch: Batch) -> Arrays:
        (share, _) = self.inputs
        values = [example.labels.get(share.name, np.nan) for example in batch.examples]
        return {share.name: np.array(values, np.float32), "halves_never": np.zeros((0, 3), np.int64)}


class _Doubled:
    """Samples that are arranged into two rows, none of which is longer than the sample."""

    def __init__(self, source: SampleSource) -> None:
        self.lengths, self.max_tokens = 2 * source.lengths, 2 * source.max_tokens
        self.name, self.skipped = source.name, source.skipped
        self.sample, self.document = source.sample, source.document

    def __len__(self) -> int:
        return len(self.lengths)


def test_an_objective_over_two_halves_of_the_batch_needs_no_other_change() -> None:
    data = in_memory(DOCS, max_length=40, overhead=2)
    data = replace(data, sources=[_Doubled(data.sources[0])])
    reader = step_reader(data, {"mlm": {}}, overhead=4, batch_rows=5, micro_batch_tokens=400)
    reader = type(reader)(
        "halves", [_Halves(ObjectiveSettings()), *make_objectives({"mlm": {}}, "t")], reader.plan, data, seed=0
    )
    step = reader.step(0)
    (feeds,) = step.micro_batches
    for item in reader.inputs:
        item.check(feeds, "halves")
    rows = len(feeds["input_ids"])
    assert rows == step.rows == 10
    assert feeds["halves_never"].tolist() == [[IGNORE] * 3]
    ids = feeds["input_ids"].copy()
    ids.reshape(-1)[feeds["mlm_positions"]] = feeds["mlm_labels"]
    for i in range(rows // 2):
        first, second = ([t for t in row.tolist() if t >= FIRST] for row in (ids[i], ids[i + rows // 2]))
        assert np.isnan(feeds["halves_share"][i + rows // 2])
        if second:
            assert first + second == list(range(first[0], first[0] + len(first) + len(second)))
            assert feeds["halves_share"][i] == np.float32(len(first) / (len(first) + len(second)))
        else:
            assert np.isnan(feeds["halves_share"][i])


def test_the_rank_with_most_rows_decides_how_often_all_cut() -> None:
    """Five rows of 40 on two ranks, 80 tokens at a time: three rows need two micro-batches, so two rows get two too."""
    data = in_memory(Documents([[38]] * 5, 0), max_length=40, overhead=2)
    reader = step_reader(data, {"mlm": {}}, batch_rows=5, micro_batch_tokens=80)
    shapes = [[feeds["input_ids"].shape for feeds in reader.step(0, rank, 2).micro_batches] for rank in range(2)]
    assert shapes == [[(2, 40), (1, 40)], [(1, 40), (1, 40)]]
    # A row longer than the limit is a micro-batch of its own.
    tight = step_reader(data, {"mlm": {}}, batch_rows=5, micro_batch_tokens=10)
    assert [feeds["input_ids"].shape for feeds in tight.step(0).micro_batches] == [(1, 40)] * 5
