"""Sets of questions as they are published: blank questions, long Chinese answers, and the definition that fits."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.benchmarks.suite import SIZES, load_suite
from ernie_paddle.finetune.data.question_data import QuestionDataset
from ernie_paddle.finetune.metrics.answer_metrics import fitting_scoring
from ernie_paddle.finetune.tasks.question_answering import QuestionAnswering
from helpers.question_tables import answering, options, pointing, row, write
from reader.errors import DataError
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

CONTEXT = "w1 w2 w3"
ASKED = [row("w0", CONTEXT, ("w2", 3)), row("w0", CONTEXT, ("w1", 0)), row("w0", CONTEXT)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "w0", "w1", "w2", "w3"]) + "\n")
    return load_tokenizer(path)


def unsure(data: QuestionDataset) -> dict[str, Any]:
    return {name: np.zeros(len(data.encoded.ids), np.float32) for name in ("start_logits", "end_logits")}


def test_blank_questions_count_as_wrong_and_are_reported(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Scores are those of the questions that can be asked, times their share: of the kind they are of."""
    blank = [row(" ", CONTEXT, ("w3", 6)), row("w0", "", ("w3", 6)), row("", CONTEXT)]
    path = write(tmp_path / "q.jsonl", [blank[0], *ASKED, *blank[1:]])
    task = answering(scoring="squad2", unanswerable=True)
    data = task.read(path, tokenizer, labelled=True, strict=True)
    assert (data.examples, len(data)) == (6, 3)
    assert data.lines == [2, 3, 4]
    assert data.problems == [
        (n, f"({n}) the {what} is empty") for n, what in ((1, "question"), (5, "context"), (6, "question"))
    ]
    said = "3 questions in 3 windows, and 3 that cannot be asked and count as wrong (the first: question 1, 1: the "
    assert data.describe() == f"{said}question is empty)"
    outputs = pointing(data)
    assert task.score(outputs, data) == pytest.approx(
        {
            "exact_match": 100 * 3 / 6,
            "f1": 100 * 3 / 6,
            "answerable_exact_match": 100 * 2 / 4,
            "answerable_f1": 100 * 2 / 4,
            "unanswerable_exact_match": 100 * 1 / 2,
            "unanswerable_f1": 100 * 1 / 2,
        }
    )
    # No answer at all is as wrong for a blank question as any other.
    assert task.baseline(data)["exact_match"] == pytest.approx(100 / 6)
    clean = task.read(write(tmp_path / "clean.jsonl", ASKED), tokenizer, labelled=True, strict=True)
    assert task.score(outputs, clean)["exact_match"] == 100
    assert task.tuned(outputs, data) == task.tuned(outputs, clean)


def test_blank_questions_are_not_trained_on_and_answered_by_the_reason(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write(tmp_path / "q.jsonl", [*ASKED, row(" ", CONTEXT, ("w3", 6)), row("w0", CONTEXT, ("w3", 0))])
    data = answering().read(path, tokenizer, labelled=True, strict=True)
    for training in (data.for_training(), data.for_training().for_training()):
        assert training.lines == [1, 2, 3]
        assert "cannot be asked" not in training.describe()
    without = answering().read(
        write(tmp_path / "w.jsonl", [*ASKED, row(" ", CONTEXT)]), tokenizer, labelled=True, strict=True
    )
    assert without.unasked
    assert not without.for_training().unasked
    (chunk,) = answering().stream(path, tokenizer, chunk_rows=9)
    assert chunk.problems == [(4, "(4) the question is empty")]
    assert "cannot be asked" not in chunk.describe()
    only = write(tmp_path / "only.jsonl", [row("", CONTEXT)])
    with pytest.raises(DataError, match=r"only.jsonl: no questions that can be asked$"):
        answering().read(only, tokenizer, labelled=True, strict=True)


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        (["北京", "约2008年", "1999"], "cmrc2018"),
        (["Beijing", "北京", "1999"], "squad"),
        (["北京", "1999"], "squad"),
        (["臺灣大學"], "cmrc2018"),
        (["とうきょう", "서울"], "squad"),
        ([], "squad"),
    ],
)
def test_the_definition_that_fits_the_answers(answers: list[str], wanted: str) -> None:
    assert fitting_scoring(answers) == wanted


def test_auto_goes_by_the_first_answers_of_the_training_data(tmp_path: Path) -> None:
    chinese = row("谁?", "北京 x", ("北京", 0), ("x", 3))
    path = write(tmp_path / "zh.jsonl", [chinese, chinese, row("w0", CONTEXT, ("w1", 0)), {"question": ""}])
    assert QuestionAnswering.from_options(options(path)).scoring == "cmrc2018"
    assert QuestionAnswering.from_options(options(path, scoring="squad")).scoring == "squad"
    # Only SQuAD 2.0's definition gives points for a question that is rightly left without an answer.
    path = write(tmp_path / "none.jsonl", [chinese, row("w0", CONTEXT)])
    assert QuestionAnswering.from_options(options(path)).scoring == "squad2"


def test_the_real_set_of_cmrc_is_scored_whole_and_its_answers_have_room(test_data: Path) -> None:
    """A model that knows all answers, against a count by hand over all 1,002 questions, of which two are empty.

    The usual limit of 30 pieces could not say the answers that are whole sentences; that of the suite can.
    """
    told = load_suite("chinese").benchmarks["CMRC2018"].options
    path = test_data / "zh" / "cmrc2018" / "trial.json.gz"
    document = json.loads(gzip.decompress(path.read_bytes()))
    asked = [q for article in document["data"] for paragraph in article["paragraphs"] for q in paragraph["qas"]]
    tokens = load_tokenizer(test_data / "vocab" / "bert_base_zh_vocab.txt")
    room = {"max_length": 512, "max_query_length": 64, "n_best": 1, "scoring": told["scoring"]}
    task = answering(**room, max_answer_length=told["max_answer_length"])
    data = task.read(path, tokens, labelled=True, strict=True)
    assert (data.examples, len(asked)) == (1002, 1002)
    assert [q.id for q in data.unasked] == [q["id"] for q in asked if not q["question"]]
    assert (
        "and 2 that cannot be asked and count as wrong (the first: question 748, TRIAL_776_QUERY_4" in data.describe()
    )
    outputs = pointing(data)
    answers = task.answers(outputs, data).values()
    given = {found["id"]: found["prediction"] for found in answers if "prediction" in found}

    def plain(text: str) -> str:
        return "".join(character for character in text.lower() if character.isalnum())

    right = [plain(given[q["id"]]) in {plain(a["text"]) for a in q["answers"]} for q in asked if q["id"] in given]
    scores = task.score(outputs, data)
    assert scores["exact_match"] == pytest.approx(100 * sum(right) / 1002, abs=0.3)
    assert scores["exact_match"] > 95
    assert scores["f1"] > 96.5
    assert answering(**room).score(outputs, data)["exact_match"] < 67


@pytest.mark.parametrize("task", ["CMRC2018", "DRCD", "DuReader"])
@pytest.mark.parametrize("size", SIZES)
def test_every_recipe_for_chinese_questions_leaves_room_for_long_answers(task: str, size: str) -> None:
    suite = load_suite("chinese")
    options = {**suite.benchmarks[task].options, **suite.settings(task, size)[1]}
    assert options["max_answer_length"] == 100


def test_dureader_scores_all_references_and_trains_on_parts_of_the_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """One question to learn, one whose answer is no part of the text, one that nobody knows the answer of."""
    document = {"segmented_paragraphs": [["w1", " ", "w2", " ", "w3"]], "most_related_para": 0}
    asked = {"question": "w0", "documents": [document], "answers": ["w3 w3", "w2"], "answer_docs": [0]}
    records = [
        {**asked, "question_id": 1, "answer_spans": [[0, 2]], "fake_answers": ["w1 w2"]},
        {**asked, "question_id": 2, "answer_spans": [[0, 2]], "fake_answers": ["w1"]},
        {**asked, "question_id": 3, "answers": [], "answer_spans": [], "answer_docs": []},
    ]
    path = tmp_path / "search.train.json"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    task = QuestionAnswering.from_options(options(path))
    assert (task.unanswerable, task.scoring) == (False, "squad")
    data = task.read(path, tokenizer, labelled=True, strict=True)
    said = "2 questions in 2 windows, 1 without a reference answer skipped (1 have no answer at the stated place"
    assert data.describe().startswith(said)
    train = data.for_training()
    assert train.lines == [1]
    assert train.starts is not None
    assert train.ends is not None
    assert (train.starts.tolist(), train.ends.tolist()) == ([3], [4])
    answered = pointing(data)
    # The first question is answered by "w1 w2", which shares one word with "w2"; the second by "w2", a reference.
    for logits in answered.values():
        logits[data.encoded.offsets[1] + 4] = 20
    assert task.score(answered, data) == pytest.approx({"exact_match": 50, "f1": (200 / 3 + 100) / 2})
    assert len(next(iter(task.stream(path, tokenizer, chunk_rows=9))).questions) == 3
