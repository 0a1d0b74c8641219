"""A finished run goes on with one more task: what was learnt is kept to the bit, what is new begins as new."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.cli.main import main
from ernie_paddle.pretraining.batches.step_reader import StepBatch
from ernie_paddle.pretraining.continuation import open_origin
from ernie_paddle.pretraining.recipe import Recipe
from ernie_paddle.pretraining.recipe_files import load_recipe
from ernie_paddle.pretraining.run import Pretraining
from helpers.pretrain_runs import log
from propeller.errors import UserError
from propeller.learner import Learner
from propeller.run import checkpoint

STEPS = 6
SETTINGS = [
    "arch.hidden_size=16", "arch.num_attention_heads=2", "arch.intermediate_size=32", "arch.num_hidden_layers=1",
    "train.batch_tokens=512", "train.micro_batch_tokens=256", "train.checkpoint_every=2", "train.keep_last=10",
    "train.eval_batches=1", "train.log_every=1", "train.workers=0",
    "train.learning_rate={kind: noam, peak: 1.0e-3, warmup_steps: 4, per: task}",
]  # fmt: skip
NEW = "tasks.sentence_reordering={task_id: 3, objectives: {sentence_reordering: {}}, warmup_steps: 2}"
OLD = ["knowledge_masking", "capitalization"]


def _recipe(corpus: Path, *settings: str) -> Recipe:
    return load_recipe("quickstart", [*SETTINGS, f"schedule.steps_per_task={STEPS}", *settings], [str(corpus)])


@pytest.fixture(scope="module")
def first(manual_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    assert Pretraining(_recipe(manual_corpus), folder).run().finished
    return folder


@pytest.fixture(scope="module")
def second(manual_corpus: Path, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("second")
    assert Pretraining(_recipe(manual_corpus, NEW), folder, first).run().finished
    return folder


def _arrays(folder: Path, step: int) -> dict[str, Any]:
    opened = checkpoint.verify(checkpoint.step_path(folder / "checkpoints", step))
    return {**opened.tensors("model.safetensors"), **opened.tensors("training.safetensors")}


def test_old_parameters_and_moments_are_kept_and_new_ones_begin(
    manual_corpus: Path, first: Path, tmp_path: Path
) -> None:
    training = Pretraining(_recipe(manual_corpus, NEW), tmp_path, first)
    assert training.origin is not None
    lines = training._take_up(training.origin)
    before, now = _arrays(first, 2 * STEPS), training.learner.state()[0]
    assert all(np.array_equal(now[name], array) for name, array in before.items())
    fresh = set(now) - set(before)
    assert fresh == {name for name in fresh if "@" not in name and ("sentence_reordering" in name or "pooler" in name)}
    assert len(fresh) == 4
    assert all(name in lines[1] for name in fresh)
    alone = Learner(training.recipe.train.optimizer, seed=training.recipe.train.seed)
    alone.add(training.learner.spec("sentence_reordering"))
    initial = alone.parameters()
    assert all(np.array_equal(now[name], initial[name]) for name in fresh)


def test_the_new_stage_goes_on_with_the_data_and_the_rates(
    manual_corpus: Path, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stage 3 of three tasks of 6 steps: 1, 1 (quarters, rounded) and 6; every old task sees its next batches."""
    steps = [line for line in log(second) if line["kind"] == "step"]
    trained = [line["task"] for line in steps]
    assert {task: trained.count(task) for task in (*OLD, "sentence_reordering")} == {
        "knowledge_masking": 1, "capitalization": 1, "sentence_reordering": 6,
    }  # fmt: skip
    peak = 1e-3
    for line in steps:
        number = trained[: line["step"]].count(line["task"])
        if line["task"] == "sentence_reordering":
            expected = peak * min(number / 2, (2 / number) ** 0.5)
        else:
            expected = peak * (4 / (STEPS + number)) ** 0.5
        assert line["lr"] == pytest.approx(expected, rel=1e-6)

    numbers: dict[str, list[int]] = {}
    taken = Pretraining.step_input

    def noted(self: Pretraining, step: int, batch: StepBatch) -> Any:
        numbers.setdefault(batch.task, []).append(batch.number)
        return taken(self, step, batch)

    monkeypatch.setattr(Pretraining, "step_input", noted)
    Pretraining(_recipe(manual_corpus, NEW), tmp_path, first).run()
    assert numbers["sentence_reordering"] == list(range(6))
    for task in OLD:
        assert numbers[task] == list(range(STEPS, STEPS + trained.count(task)))
    assert log(tmp_path) == log(second)

    evaluations = [(line["step"], line["name"]) for line in log(second) if line["kind"] == "eval"]
    assert evaluations == [(len(steps), name) for name in (*OLD, "sentence_reordering", "all_tasks")]


def test_adam_counts_the_updates_of_every_parameter(first: Path, second: Path) -> None:
    """The power of beta 1 is that of its updates and one more: of the encoder all steps, of the new head its own."""
    steps = [line["task"] for line in log(second) if line["kind"] == "step"]
    arrays = _arrays(second, len(steps))
    word = "ernie.embeddings.word_embeddings.weight@beta1_power"
    assert arrays[word] == pytest.approx(0.9 ** (2 * STEPS + len(steps) + 1), rel=1e-4)
    (head,) = (name for name in arrays if "sentence_reordering" in name and name.endswith("weight@beta1_power"))
    assert arrays[head] == pytest.approx(0.9 ** (steps.count("sentence_reordering") + 1), rel=1e-4)


def test_an_interrupted_continuation_resumes(
    manual_corpus: Path, first: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Learner.train_step

    def failing(self: Learner, *arguments: Any) -> Any:
        if self.step == 5:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Learner, "train_step", failing)
    with pytest.raises(KeyboardInterrupt):
        Pretraining(_recipe(manual_corpus, NEW), tmp_path, first).run()
    monkeypatch.undo()
    outcome = Pretraining(_recipe(manual_corpus, NEW), tmp_path, first).run()
    assert outcome.finished
    assert log(tmp_path) == log(second)
    expected, found = _arrays(second, outcome.step), _arrays(tmp_path, outcome.step)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(found[name], array) for name, array in expected.items())
    earlier = checkpoint.step_path(first / "checkpoints", STEPS)
    with pytest.raises(UserError, match="continued_from was"):
        Pretraining(_recipe(manual_corpus, NEW), tmp_path, earlier).run()
    with pytest.raises(UserError, match="continued_from was"):
        Pretraining(_recipe(manual_corpus, NEW), tmp_path).run()


def test_a_chain_of_runs_and_a_task_that_is_left_out(
    manual_corpus: Path, second: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = open_origin(second).history
    assert done.introduced == [*OLD, "sentence_reordering"]
    assert sum(done.steps.values()) == 2 * STEPS + len([line for line in log(second) if line["kind"] == "step"])
    recipe = _recipe(
        manual_corpus,
        NEW,
        "tasks.capitalization={task_id: 5, objectives: {nsp: {}}}",
        "schedule={kind: table, stages: [{sentence_reordering: 2}]}",
    )
    with pytest.raises(UserError, match=r"tasks\.capitalization\.task_id is 5, but in .* the task was trained with 1"):
        Pretraining(recipe, tmp_path, second)
    # Knowledge masking is not trained any more, but evaluated; capitalization is forgotten with its head.
    third = Recipe(**{**vars(recipe), "tasks": {k: v for k, v in recipe.tasks.items() if k != "capitalization"}})
    outcome = Pretraining(third, tmp_path, second).run()
    assert outcome.step == 2
    assert {record.name for record in outcome.evaluations} == {"knowledge_masking", "sentence_reordering", "all_tasks"}
    assert "dropped, as their tasks are not in the recipe: cls.capitalization" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["arch.hidden_size=32"], "hidden_size was 16 and is 32"),
        (["tasks={nsp: {objectives: {mlm: {}, nsp: {}}}, knowledge_masking: {objectives: {knowledge_masking: {}}}}"],
         "list the new tasks last"),
    ],
)  # fmt: skip
def test_what_cannot_be_continued(
    settings: list[str], words: str, manual_corpus: Path, first: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        Pretraining(_recipe(manual_corpus, *settings), tmp_path, first)


def _pairs(corpus: Path, folder: Path, labels: list[str]) -> Path:
    """A corpus of pairs whose classes are these labels in this order."""
    table = folder.with_suffix(".tsv")
    rows = [f"the name {i}\tthe value {folder.name} {i * i}\t{labels[i % len(labels)]}" for i in range(60)]
    table.write_text("\n".join(["a\tb\tlabel", *rows]) + "\n")
    words = ["--text_a", "a", "--text_b", "b", "--label", "label", "--labels", ",".join(labels), "--heldout", "0.1"]
    assert main(["prepare-pairs", str(table), "--vocab", str(corpus), "--output", str(folder), *words]) == 0
    return folder


def test_the_classes_of_a_head_keep_their_labels(manual_corpus: Path, tmp_path: Path) -> None:
    def recipe(pairs: Path, name: str = "discourse_relation") -> Recipe:
        task = f"{{{name}: {{objectives: {{discourse_relation: {{}}}}, corpora: [{{path: {pairs}}}]}}}}"
        return _recipe(manual_corpus, f"tasks={task}", "schedule={kind: cmtl, steps_per_task: 2}")

    def prepared(name: str, *labels: str) -> Path:
        return _pairs(manual_corpus, tmp_path / name, list(labels))

    run, new = tmp_path / "run", tmp_path / "new"
    first = prepared("first", "but", "because")
    Pretraining(recipe(first), run).run()
    shutil.rmtree(first)  # what the classes were is known without the corpus
    assert Pretraining(recipe(prepared("more", "but", "because")), new, run).origin is not None
    for name, labels, words in (
        ("other", ["but", "although"], "class 1 of task 'discourse_relation' is 'although' in .*, but was 'because'"),
        ("order", ["because", "but"], "class 0 of task 'discourse_relation' is 'because' in .*, but was 'but'"),
        ("longer", ["but", "because", "so"], "class 2 of task 'discourse_relation' is 'so' in .*, but was not there"),
    ):
        with pytest.raises(UserError, match=words):
            Pretraining(recipe(prepared(name, *labels)), new, run)
    # A task of another name has the same head.
    with pytest.raises(UserError, match="class 0 of task 'mined' is 'because'"):
        Pretraining(recipe(tmp_path / "order", "mined"), new, run)


def test_what_is_no_run_is_named(manual_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint in it; give a checkpoint or the folder"):
        Pretraining(_recipe(manual_corpus), tmp_path / "run", tmp_path)


def test_two_tasks_of_one_head_have_the_same_labels(manual_corpus: Path, tmp_path: Path) -> None:
    tasks = []
    for name, labels in (("mined", ["but", "because"]), ("labelled", ["contrast", "cause"])):
        pairs = _pairs(manual_corpus, tmp_path / name, labels)
        tasks.append(f"{name}: {{objectives: {{discourse_relation: {{}}}}, corpora: [{{path: {pairs}}}]}}")
    recipe = _recipe(manual_corpus, f"tasks={{{', '.join(tasks)}}}", "schedule={kind: cmtl, steps_per_task: 2}")
    with pytest.raises(
        UserError, match=r"task 'labelled'. differ from those of .*mined .task 'mined'., but both tasks share the head"
    ):
        Pretraining(recipe, tmp_path / "run")
