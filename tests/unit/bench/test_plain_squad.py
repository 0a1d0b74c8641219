"""The rows of real questions against a plain reading of them, in the manner of BERT's original script."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bench.plain_squad import PlainTokenizer, plain_rows
from ernie_paddle.finetune.data.question_data import encode_questions
from reader.batches.rows import BERT_LAYOUT
from reader.tables.questions import read_questions
from reader.tokenizers.load import load_tokenizer

INSIDE_OF_A_WORD = "56bfe66ea10cfb1400551380"
"""The answer is the second 50 of "50-50": the script takes the first, as it has the same text."""


@pytest.mark.parametrize(("max_length", "stride", "skip"), [(384, 128, 0), (96, 24, 950)])
def test_rows_of_real_questions(test_data: Path, max_length: int, stride: int, skip: int) -> None:
    """Pieces, segments, the window to trust for each piece, and where the answer begins and ends."""
    tokenizer = load_tokenizer(test_data / "vocab" / "bert_uncased_en_vocab.txt")
    plain = PlainTokenizer(tokenizer.vocab, lowercase=True)
    asked = read_questions(test_data / "squad" / "train-v1.1-44articles.json.gz", labelled=True)
    questions = list(itertools.islice(asked, skip, skip + 100))
    windows = {"max_length": max_length, "max_query_length": 64, "stride": stride}
    data = encode_questions("", questions, [], tokenizer, **windows, layout=BERT_LAYOUT, labelled=True)
    assert data.starts is not None
    assert data.ends is not None
    row = 0
    trusted: list[bool] = []
    answers = 0
    for question in questions:
        for wanted in plain_rows(question, plain, **windows):
            begin, end = data.encoded.offsets[row : row + 2]
            length = end - begin
            assert wanted.input_ids == data.encoded.ids[begin:end].tolist() + [0] * (max_length - length)
            assert wanted.segment_ids[:length] == data.encoded.segments[begin:end].tolist()
            assert wanted.attention_mask == [1] * length + [0] * (max_length - length)
            trusted += [wanted.trusted[place] for place in sorted(wanted.trusted)]
            if question.id != INSIDE_OF_A_WORD:
                assert (wanted.start, wanted.end) == (data.starts[row], data.ends[row]), question.id
                answers += wanted.start > 0
            row += 1
    assert row == len(data)
    assert trusted == data.trusted.tolist()
    assert answers >= 95
