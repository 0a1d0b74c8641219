"""Small corpora whose tokens are all different, so that a test can tell where each token of an example came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ernie_paddle.objectives.registry import make_objectives
from ernie_paddle.objectives.rows import Data, Example, Row
from ernie_paddle.pretraining.batches.step_reader import StepReader
from reader.batches.plan import BatchPlan
from reader.corpora.corpus import Corpus, Shard, write_corpus
from reader.corpora.samples import SampleIndex
from reader.flags import CAPITAL, ENTITY_CONT, PHRASE_CONT, UPPER, WORD_START
from reader.random import key
from reader.report import SkipReport
from reader.tokenizers.vocab import SPECIALS, Vocab
from reader.tokenizers.wordpiece import WordPieceTokenizer

FIRST = len(SPECIALS)
"""Id of the first token of the first document; the others count up."""


def make_vocab(size: int) -> Vocab:
    return Vocab([*SPECIALS, *(f"w{i}" for i in range(size - FIRST))], "test vocabulary")


@dataclass(frozen=True)
class Documents:
    """Sentence lengths of each document, and a seed for the flags."""

    lengths: list[list[int]]
    seed: int

    @property
    def n_tokens(self) -> int:
        return sum(map(sum, self.lengths))

    def shard(self, tokens: Sequence[int] | None = None) -> Shard:
        rng = np.random.default_rng(self.seed)
        flags = np.zeros(self.n_tokens, np.uint8)
        flags |= np.where(rng.random(self.n_tokens) < 0.6, WORD_START, 0).astype(np.uint8)
        for bit in (PHRASE_CONT, ENTITY_CONT, UPPER, CAPITAL):
            flags |= np.where(rng.random(self.n_tokens) < 0.3, bit, 0).astype(np.uint8)
        offsets = np.cumsum([0, *(n for document in self.lengths for n in document)])
        flags[offsets[:-1]] = (flags[offsets[:-1]] | WORD_START) & ~np.uint8(PHRASE_CONT | ENTITY_CONT)
        return Shard(
            np.arange(FIRST, FIRST + self.n_tokens, dtype=np.uint16) if tokens is None else np.array(tokens, np.uint16),
            flags,
            offsets.astype(np.int64),
            np.cumsum([0, *map(len, self.lengths)]).astype(np.int64),
            np.full(len(self.lengths), -1, np.int16),
        )

    def sentences(self) -> list[list[tuple[int, ...]]]:
        """Token ids of each sentence of each document."""
        shard, at = self.shard(), 0
        found = []
        for document in self.lengths:
            found.append([])
            for n in document:
                found[-1].append(tuple(shard.tokens[at : at + n].tolist()))
                at += n
        return found


def documents(max_documents: int = 6, max_sentences: int = 9, max_length: int = 9) -> st.SearchStrategy[Documents]:
    lengths = st.lists(
        st.lists(st.integers(1, max_length), min_size=1, max_size=max_sentences), min_size=1, max_size=max_documents
    )
    return st.builds(Documents, lengths, st.integers(0, 2**32 - 1))


def in_memory(docs: Documents, max_length: int, overhead: int) -> Data:
    corpus = Corpus(Path("in-memory"), "train", {"languages": []}, [docs.shard()])
    source = SampleIndex(corpus, max_length - overhead)
    return Data(make_vocab(FIRST + docs.n_tokens), [source], ["in-memory"], max_length)


def write(
    path: Path, docs: Documents, vocab: Vocab, tokens: Sequence[int] | None = None, flags: Sequence[int] | None = None
) -> str:
    """A corpus on disk, with its tokenizer."""
    shard = docs.shard(tokens)
    if flags is not None:
        shard.flags[:] = flags
    write_corpus(path, {"train": [shard], "heldout": [shard]}, vocab_sha256=vocab.sha256, vocab_size=vocab.size)
    WordPieceTokenizer(vocab, lowercase=True).save(path)
    return str(path)


def rows(data: Data, room: int, *, seed: int = 0, epochs: int = 1) -> list[Row]:
    """Every sample once per epoch."""
    report = SkipReport()
    return [
        Row(data.sources[0].sample(k), epoch, 0, k, room, data, int(key(seed, epoch, k)), report)
        for epoch in range(epochs)
        for k in range(len(data.sources[0]))
    ]


def parts_of(example: Example, vocab: Vocab) -> list[tuple[int, ...]]:
    """Tokens between [CLS] and the [SEP]s; checks the frame and the segment ids on the way."""
    ids = example.ids.tolist()
    assert ids[0] == vocab.cls
    assert ids[-1] == vocab.sep
    parts: list[tuple[int, ...]] = []
    start = 1
    for i, token in enumerate(ids):
        assert example.special[i] == (token in (vocab.cls, vocab.sep))
        if token == vocab.sep:
            parts.append(tuple(ids[start:i]))
            assert set(example.segments[start : i + 1].tolist()) == {len(parts) - 1}
            start = i + 1
    assert example.segments[0] == 0
    return parts


def step_reader(
    data: Data, settings: dict[str, dict[str, Any]], *, overhead: int = 2, seed: int = 0, **plan: Any
) -> StepReader:
    """A reader over in-memory data; ``micro_batch_tokens`` and ``task_id`` go to it, the rest to the plan."""
    own = {name: plan.pop(name) for name in ("micro_batch_tokens", "task_id") if name in plan}
    batches = BatchPlan([*data.sources], seed=seed, overhead=overhead, **({"batch_rows": 8} | plan))  # type: ignore[list-item]
    return StepReader("test", make_objectives(settings, "test"), batches, data, seed=seed, **own)
