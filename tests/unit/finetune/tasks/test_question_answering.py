"""Extractive question answering: rows, answers and spans against slow searches; character-exact Chinese answers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_paddle.finetune.data.question_data import encode_questions
from ernie_paddle.finetune.metrics.spans import best_pairs, find_spans
from ernie_paddle.finetune.task_type import task_from_dict
from ernie_paddle.finetune.tasks.question_answering import QuestionAnswering
from helpers.question_tables import WORDS, answering, options, pointing, row, write
from propeller.errors import UserError
from reader.batches.rows import BERT_LAYOUT, RowLayout
from reader.errors import DataError
from reader.tables.questions import Answer, Question
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "cafe", "##x", "é"]) + "\n")
    return load_tokenizer(path, strip_accents=True, lowercase=True)


CONTEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=40), min_size=1, max_size=3)


@settings(deadline=None)
@given(
    contexts=CONTEXTS,
    asked=st.integers(1, 9),
    room=st.integers(8, 20),
    stride=st.integers(1, 9),
    separators=st.integers(1, 2),
    data=st.data(),
)
def test_rows_and_labels_are_those_of_a_loop(
    tokenizer: Tokenizer,
    contexts: list[list[str]],
    asked: int,
    room: int,
    stride: int,
    separators: int,
    data: st.DataObject,
) -> None:
    vocab = tokenizer.vocab
    questions, slices = [], []
    for words in contexts:
        first = data.draw(st.integers(0, len(words) - 1))
        last = data.draw(st.integers(first, len(words) - 1))
        begins = [3 * place for place in range(len(words) + 1)]
        # Half of a word is as good as the word: pieces cannot be cut.
        text = " ".join(words)[begins[first] + 1 : begins[last] + 2]
        kind = data.draw(st.sampled_from(["right", "none", "wrong"]))
        answers = {"right": (Answer(text, begins[first] + 1),), "none": (), "wrong": (Answer("nowhere", 0),)}[kind]
        questions.append(Question(len(questions) + 1, "", " ".join(WORDS[:asked]), " ".join(words), answers))
        slices.append((kind, first, last))
    query = [vocab.id(word) for word in WORDS[:asked]][:6]
    layout = RowLayout(separators)
    longest = room + len(query) + layout.specials(2)
    found = encode_questions(
        "x",
        questions,
        [],
        tokenizer,
        max_length=longest,
        max_query_length=6,
        stride=stride,
        layout=layout,
        labelled=True,
    )
    assert found.starts is not None
    assert found.ends is not None
    number = 0
    kept = []
    for text, (words, (kind, first, last)) in enumerate(zip(contexts, slices, strict=True)):
        for start in itertools.count(0, min(stride, room)):
            shown = words[start : start + room]
            begin, end = found.encoded.offsets[number : number + 2]
            between = [vocab.sep] * separators
            ids = [vocab.cls, *query, *between, *(vocab.id(word) for word in shown), vocab.sep]
            at = 1 + len(query) + separators
            assert found.encoded.ids[begin:end].tolist() == ids
            assert found.encoded.segments[begin:end].tolist() == [0] * at + [1] * (len(shown) + 1)
            wanted = (0, 0)
            if kind == "wrong":
                wanted = (-100, -100)
            elif kind == "right" and start <= first and last < start + room:
                wanted = (at + first - start, at + last - start)
            assert (found.starts[number], found.ends[number]) == wanted
            assert found.windows.texts[number] == text
            if kind != "wrong":
                kept.append(ids)
            number += 1
            if start + room >= len(words):
                break
    assert number == len(found)
    training = found.for_training()
    pieces = [training.encoded.ids[slice(*training.encoded.offsets[i : i + 2])].tolist() for i in range(len(training))]
    assert pieces == kept
    assert training.starts is not None
    assert (training.starts >= 0).all()
    assert len(training.trusted) == training.windows.lengths.sum()


@given(
    pairs=st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), max_size=14),
    n_best=st.integers(1, 30),
    longest=st.integers(1, 16),
)
def test_best_pairs_are_the_largest_sums(pairs: list[tuple[int, int]], n_best: int, longest: int) -> None:
    starts = np.array([-np.inf if start == -9 else start for start, _ in pairs], np.float64)
    ends = np.array([end for _, end in pairs], np.float64)
    all_sums = sorted(
        (
            starts[i] + ends[j]
            for i in range(len(pairs))
            for j in range(i, min(len(pairs), i + longest))
            if starts[i] > -np.inf
        ),
        reverse=True,
    )
    scores, first, last = best_pairs(starts, ends, n_best, longest)
    assert sorted(scores.tolist(), reverse=True) == all_sums[:n_best]
    assert all(starts[i] + ends[j] == score for score, i, j in zip(scores, first, last, strict=True))
    assert len({*zip(first.tolist(), last.tolist(), strict=True)}) == len(scores)
    assert all(i <= j < i + longest for i, j in zip(first, last, strict=True))


@settings(deadline=None)
@given(contexts=CONTEXTS, seed=st.integers(0, 99), room=st.integers(8, 20), stride=st.integers(2, 9))
def test_spans_are_the_best_of_all_windows(
    tokenizer: Tokenizer, contexts: list[list[str]], seed: int, room: int, stride: int
) -> None:
    """Against all pairs of all windows, where a span begins in the window with most context and may not end later."""
    questions = [Question(i, "", "w0", " ".join(words)) for i, words in enumerate(contexts)]
    data = encode_questions(
        "x",
        questions,
        [],
        tokenizer,
        max_length=room + 4,
        max_query_length=6,
        stride=stride,
        layout=BERT_LAYOUT,
        labelled=False,
    )
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, len(data.encoded.ids))).astype(np.float32)
    longest = int(rng.integers(1, 12))
    every = find_spans(start, end, data, 1000, longest)
    best = find_spans(start, end, data, 1, longest)
    number = 0
    for text, words in enumerate(contexts):
        spans = []
        while len(spans) == 0 or spans[-1][0] + room < len(words):
            spans.append((len(spans) * min(stride, room), number))
            number += 1
        sums: dict[str, float] = {}
        for begin, line in spans:
            at = int(data.encoded.offsets[line]) + 3
            shown = len(words[begin : begin + room])
            for i, j in itertools.product(range(shown), repeat=2):
                context = {}
                for other, _ in spans:
                    size = len(words[other : other + room])
                    if other <= begin + i < other + size:
                        context[other] = min(begin + i - other, other + size - 1 - begin - i) + 0.01 * size
                if i <= j < i + longest and max(context, key=lambda key: context[key]) == begin:
                    found = " ".join(words[begin + i : begin + j + 1])
                    sums[found] = max(sums.get(found, -np.inf), float(start[at + i]) + float(end[at + j]))
        wanted = sorted(sums.items(), key=lambda item: -item[1])
        assert [(span.text, span.score) for span in every.spans[text]] == wanted
        assert [(span.text, span.score) for span in best.spans[text]] == wanted[:1]
        assert all(" ".join(words)[span.begin : span.end] == span.text for span in every.spans[text])
        at_cls = [
            float(start[data.encoded.offsets[line]]) + float(end[data.encoded.offsets[line]]) for _, line in spans
        ]
        assert every.no_answer[text] == min(at_cls)
        assert best.margins[text] == pytest.approx(min(at_cls) - wanted[0][1])


def test_answers_are_cut_from_the_text_itself(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Capitals, accents, odd spaces and combining marks are those of the context, not of the pieces."""
    context = "  W1\u00a0 CAFÉX,  w2 cafe\u0301x"
    answers = [
        ("CAFÉX", 6),
        ("CAFÉX,  w2", 6),
        ("CAFÉ", 6),
        ("X", 10),
        ("cafe\u0301x", 17),
        ("cafe\u0301", 17),
        ("W1", 2),
    ]
    rows = [row("w0", context, answer) for answer in answers]
    task = answering()
    data = task.read(write(tmp_path / "q.jsonl", rows), tokenizer, labelled=True, strict=True)
    assert context[17:23] == "cafe\u0301x"
    found = task.answers(pointing(data), data)
    assert [(found[i + 1]["prediction"], found[i + 1]["start"]) for i in range(len(answers))] == answers
    assert task.score(pointing(data), data) == {"exact_match": 100.0, "f1": 100.0}


@pytest.mark.parametrize("name", ["zh/drcd/dev_part.json.gz", "mlqa/dev-context-zh-question-zh.json.gz"])
def test_chinese_answers_are_exact_to_the_character(test_data: Path, name: str) -> None:
    """All but a few answers of published sets, which are very long, or end inside of a word of Latin letters."""
    tokens = load_tokenizer(test_data / "vocab" / "bert_base_zh_vocab.txt")
    task = answering(max_length=384, max_query_length=64, max_answer_length=60, n_best=1)
    data = task.read(test_data / name, tokens, labelled=True, strict=True)
    found = task.answers(pointing(data), data)
    inexact = 0
    for question in data.questions:
        answer, text = question.usable_answer(), found[question.number]["prediction"]
        assert answer is not None
        begin = found[question.number]["start"]
        assert question.context[begin : begin + len(text)] == text
        if text != answer.text:
            inexact += 1
            assert answer.text.strip() in text or text in answer.text, (text, answer.text)
    assert inexact <= 0.01 * len(data.questions)


def test_answers_at_wrong_places_are_counted_and_kept_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    context = "w1 w2 w3"
    rows = [
        row("w0", context, ("w2", 3)),
        row("w0", context, ("w2", 4)),
        row("w0", context, ("w9", 0), ("w3", 6)),
        row("w0", context, ("W3", 6)),
        row("w0", "w1 \u200b", ("\u200b", 3)),
    ]
    task = answering()
    data = task.read(write(tmp_path / "q.jsonl", rows), tokenizer, labelled=True, strict=True)
    assert data.starts is not None
    assert data.starts.tolist() == [4, -100, 5, -100, -100]
    for each in (data, data.for_training()):
        assert "5 questions" in each.describe()
        assert (
            "(3 have no answer at the stated place and are not trained on; the first: question 2, 2: "
            in each.describe()
        )
        assert "the answer 'w2' is not at character 4 of the context, but at 3)" in each.describe()
    assert data.for_training().lines == [1, 3]
    # In evaluation they count like all others: only the text of the answer matters there.
    data_scores = task.score(pointing(data), data)
    assert data.examples == 5
    assert data_scores["exact_match"] <= 100 * 4 / 5
    right = task.read(write(tmp_path / "r.jsonl", rows[:1]), tokenizer, labelled=True, strict=True)
    assert "not trained on" not in right.describe()
    assert right.for_training() is right


def test_the_threshold_decides_between_an_answer_and_none(tmp_path: Path, tokenizer: Tokenizer) -> None:
    context = "w1 w2 w3"
    rows = [row("w0", context, ("w2", 3)), row("w0", context), row("w0", context, ("w1", 0)), row("w0", context)]
    path = write(tmp_path / "q.jsonl", rows)
    task = QuestionAnswering.from_options(options(path))
    assert (task.scoring, task.unanswerable, task.threshold) == ("squad2", True, 0.0)
    data = task.read(path, tokenizer, labelled=True, strict=True)
    outputs = pointing(data)
    # By how much the model prefers no answer: answerable questions 3 and -5, the others 8 and 4.
    for number, margin in enumerate([3.0, 8.0, -5.0, 4.0]):
        begin, end = data.encoded.offsets[number : number + 2]
        for name in outputs:
            at = 4 if number == 0 else 3
            outputs[name][begin:end] = -50
            outputs[name][begin + at] = 0
            outputs[name][begin] = margin / 2
    assert task.score(outputs, data)["exact_match"] == 75
    tuned = task.tuned(outputs, data)
    assert tuned.threshold == 3.5  # midway between the answered question at 3 and the withheld one at 4
    assert tuned.score(outputs, data) == {
        f"{group}{name}": 100 for group in ("", "answerable_", "unanswerable_") for name in ("exact_match", "f1")
    }
    assert task.baseline(data)["exact_match"] == 50
    found = tuned.answers(outputs, data)
    assert [found[i]["prediction"] for i in (1, 2, 3, 4)] == ["w2", "", "w1", ""]
    assert [found[i]["start"] for i in (1, 2, 3, 4)] == [3, -1, 0, -1]
    assert [found[i]["no_answer_score"] for i in (1, 2, 3, 4)] == [3, 8, -5, 4]
    for answer in found.values():
        assert sum(each["probability"] for each in answer["n_best"]) == pytest.approx(1)
    assert found[3]["probability"] == pytest.approx(1 / (1 + np.exp(-5)), rel=1e-6)
    assert task_from_dict(json.loads(json.dumps(tuned.to_dict())), "task.json") == tuned
    # Where all questions have answers there is nothing to fit.
    assert answering().tuned(outputs, data) == answering()


def test_a_context_without_pieces_has_no_answer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write(tmp_path / "q.jsonl", [row("w0", "\u200b"), row("w0", "w1")])
    for task in (answering(), answering(unanswerable=True)):
        data = task.read(path, tokenizer, labelled=False, strict=True)
        scores = {name: np.zeros(len(data.encoded.ids), np.float32) for name in task.position_outputs}
        found = task.answers(scores, data)
        assert (found[1]["prediction"], found[1]["start"], found[2]["prediction"]) == ("", -1, "w1")


def test_a_repeated_id_is_counted_and_learnt_and_scored(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [{**row("w0", "w1 w2", ("w1", 0)), "id": "a"}, {**row("w0", "w2 w1", ("w1", 3)), "id": "a"}]
    data = answering().read(write(tmp_path / "q.jsonl", rows), tokenizer, labelled=True, strict=True)
    assert (data.examples, data.problems, len(data.for_training())) == (2, [], 2)
    said = "2 questions in 2 windows, 1 with the id of an earlier one (the first: question 2, a)"
    assert data.describe() == data.for_training().describe() == said


def test_unusable_data_and_settings(tmp_path: Path, tokenizer: Tokenizer) -> None:
    good = write(tmp_path / "good.jsonl", [row("w0", "w1", ("w1", 0))])
    unlabelled = {"question": "w0", "context": "w1"}
    bad = write(tmp_path / "bad.jsonl", [row("w0", "w1", ("w1", 0)), {"question": "w0"}, row("", "w1"), unlabelled])
    said = r"bad.jsonl: question 2: \(2\) 'context' is missing .and 1 more question.; .*skip .* with --skip_unusable$"
    with pytest.raises(DataError, match=said):
        answering().read(bad, tokenizer, labelled=True, strict=True)
    data = answering().read(bad, tokenizer, labelled=True, strict=False)
    # The blank question counts as wrong.
    assert (len(data.questions), data.examples, [number for number, _ in data.problems]) == (1, 2, [2, 3, 4])
    named = write(tmp_path / "named.jsonl", [{**row("w0", "w1"), "id": "a"}, {**row("", "w1"), "id": "b"}])
    data = next(answering().stream(named, tokenizer, chunk_rows=9))
    scores = {name: np.zeros(len(data.encoded.ids), np.float32) for name in answering().position_outputs}
    assert answering().answers(scores, data)[2] == {"id": "b", "problem": "(b) the question is empty"}
    none = tmp_path / "none.json"
    none.write_text('{"data": []}')
    with pytest.raises(DataError, match=r"none.json: no questions"):
        answering().read(none, tokenizer, labelled=True, strict=True)
    assert [len(chunk) for chunk in answering().stream(bad, tokenizer, chunk_rows=1)] == [1, 0, 0, 1]
    for changes, message in [
        ({"max_length": 18}, "max_length 18 leaves no room .* question of 8 tokens; give at least 19"),
        ({"metric": "accuracy"}, "metric 'accuracy' is not a metric of question_answering: f1, exact_match"),
        ({"scoring": "rouge"}, "scoring 'rouge' is not known"),
    ]:
        with pytest.raises(UserError, match=message):
            QuestionAnswering.from_options(options(good, **changes))
    task = QuestionAnswering.from_options(options(good))
    assert (task.scoring, task.unanswerable, task.doc_stride) == ("squad", False, 128)
