"""Ids of other implementations, exactly: WordPiece and SentencePiece on real and on awkward strings."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.wordpiece import WordPieceTokenizer


@pytest.mark.parametrize(
    ("golden", "vocabulary"),
    [
        ("wordpiece_bert_uncased_en", "bert_uncased_en_vocab.txt"),
        ("wordpiece_bert_base_zh", "bert_base_zh_vocab.txt"),
        ("spm_multilingual_local_32k", "multilingual_local_32k.model"),
        ("spm_spiece_en_30k", "spm_fixtures/spiece_en_30k.model"),
        ("spm_test_sentencepiece_bpe", "spm_fixtures/test_sentencepiece_bpe.model"),
    ],
)
def test_golden_ids(test_data: Path, golden: str, vocabulary: str) -> None:
    rows = [json.loads(line) for line in (test_data / "golden" / f"{golden}.jsonl").open(encoding="utf-8")]
    tokenizer = load_tokenizer(test_data / "vocab" / vocabulary)
    batch = tokenizer.encode_batch([row["text"] for row in rows])
    for number, row in enumerate(rows):
        ids = batch.ids[batch.offsets[number] : batch.offsets[number + 1]].tolist()
        assert ids == row["ids"], row["text"]
        expected = row.get("tokens", row.get("pieces"))
        known = [(piece, i) for piece, i in zip(expected, ids, strict=True) if i != tokenizer.vocab.unk]
        assert [piece for piece, _ in known] == [tokenizer.vocab.pieces[i] for _, i in known]


@pytest.mark.parametrize(
    ("vocabulary", "file", "overrides"),
    [
        ("bert_uncased_en_vocab.txt", "pretrain_en/wiki_train.jsonl.gz", {}),
        ("bert_cased_en_vocab.txt.gz", "pretrain_en/wiki_train.jsonl.gz", {}),
        ("ernie_zh_vocab.txt", "zh/mono/cluecorpussmall_sample.txt.gz", {}),
        ("bert_base_zh_vocab.txt", "mono/ja.txt.gz", {"tokenize_chinese_chars": False, "strip_accents": False}),
        ("bert_uncased_en_vocab.txt", "mono/vi.txt.gz", {"strip_accents": False}),
    ],
)
def test_cache_gives_the_ids_and_words_of_the_library(
    test_data: Path, vocabulary: str, file: str, overrides: dict[str, bool]
) -> None:
    with gzip.open(test_data / file, "rt", encoding="utf-8") as stream:
        lines = [line.rstrip("\n") for _, line in zip(range(4000), stream, strict=False)]
    if file.endswith(".jsonl.gz"):
        lines = [sentence for line in lines[:12] for par in json.loads(line)["paragraphs"] for sentence in par]
    tokenizer = load_tokenizer(test_data / "vocab" / vocabulary, **overrides)
    assert isinstance(tokenizer, WordPieceTokenizer)
    batch = tokenizer.encode_batch(lines)
    encodings = tokenizer.library.encode_batch(lines, add_special_tokens=False)
    np.testing.assert_array_equal(batch.ids, np.array([i for e in encodings for i in e.ids]))
    np.testing.assert_array_equal(np.diff(batch.offsets), [len(e.ids) for e in encodings])
    starts = [a != b for e in encodings for a, b in zip(e.word_ids, [None, *e.word_ids], strict=False)]
    np.testing.assert_array_equal(batch.flags & 1, np.array(starts, dtype=np.uint8))
