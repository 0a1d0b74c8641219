"""What multi-flow pre-training feeds, against the laws of ERNIE-GEN (sections 3.1 to 3.4)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any
from unittest import mock

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.objectives.multi_flow import ATTN_PIECE
from ernie_paddle.objectives.registry import make_objective
from ernie_paddle.objectives.rows import Data
from helpers.objective_corpora import Documents, documents, in_memory, step_reader
from propeller.errors import UserError
from propeller.values import Arrays
from reader.batches.fragments import sample_fragments
from reader.flags import PHRASE_CONT, WORD_START
from reader.tokenizers.vocab import SPECIALS, Vocab

DOCUMENTS = Documents([[9, 9, 9, 9]] * 30, seed=1)


def _feeds(data: Data, **objective: Any) -> list[Arrays]:
    reader = step_reader(data, {"multi_flow": objective}, overhead=3, seed=5)
    return [feeds for n in range(reader.plan.batches_per_epoch) for feeds in reader.step(n).micro_batches]


def _begins_unit(flag: int) -> bool:
    return bool(flag & WORD_START) and not flag & PHRASE_CONT


@settings(max_examples=40, deadline=None)
@given(documents(), st.sampled_from([0.1, 0.25, 0.8]), st.integers(0, 3))
def test_source_and_target_are_the_text(docs: Documents, budget: float, segment: int) -> None:
    """Every token of the corpus has an id of its own, and ids ascend: order and completeness can be read off them."""
    data = dataclasses.replace(in_memory(docs, max_length=24, overhead=3), target_segment=segment)
    vocab, flags = data.vocab, docs.shard().flags
    seen: list[int] = []
    fragments_of: list[Any] = []

    def sample(*arguments: Any) -> Any:
        fragments_of.append(sample_fragments(*arguments))
        return fragments_of[-1]

    with mock.patch("ernie_paddle.objectives.multi_flow.sample_fragments", sample):
        batches = _feeds(data, budget=budget, noise=0.0)
    drawn = iter(fragments_of)
    for feeds in batches:
        ends = np.cumsum(feeds["multi_flow_target_mask"].sum(axis=1))
        labels, places = (iter(np.split(feeds[f"multi_flow_{name}"], ends)) for name in ("labels", "target_tokens"))
        width = feeds["multi_flow_target_ids"].shape[1]
        for row in range(len(feeds["input_ids"])):
            real = feeds["attention_mask"][row] == 1
            text = feeds["input_ids"][row][real][1:-1]
            n_source, n_target = (int(feeds[f"multi_flow_{side}_mask"][row].sum()) for side in ("source", "target"))
            source = feeds["multi_flow_source_ids"][row, :n_source]
            target = feeds["multi_flow_target_ids"][row, :n_target]
            assert (source[0], source[-1], target[-1]) == (vocab.cls, vocab.sep, vocab.sep)
            kept, taken = source[1:-1], target[:-1]
            assert np.sort(np.concatenate([kept, taken])).tolist() == text.tolist()
            assert (np.diff(kept) > 0).all()
            assert (np.diff(taken) > 0).all()
            assert len(taken) == min(max(1, round(budget * len(text))), len(text) - 1)
            assert next(labels).tolist() == target.tolist()
            assert next(places).tolist() == list(range(row * width, row * width + n_target))
            # Positions continue after the source; padding comes last and is masked.
            for side, n, first, own in (("source", n_source, 0, 0), ("target", n_target, n_source, segment)):
                get = {
                    name: feeds[f"multi_flow_{side}_{name}"][row] for name in ("ids", "segments", "positions", "mask")
                }
                assert get["positions"][:n].tolist() == list(range(first, first + n))
                assert set(get["segments"].tolist()) == {own}
                assert get["mask"].tolist() == [1] * n + [0] * (len(get["mask"]) - n)
                assert set(get["ids"][n:].tolist()) <= {vocab.pad}
            assert n_source + n_target <= data.max_length
            # A span begins with a unit of the corpus, with a fragment, and at the closing [SEP].
            fragments = set(text[next(drawn)[0]].tolist())
            begins = [token in fragments or _begins_unit(int(flags[token - len(SPECIALS)])) for token in taken.tolist()]
            expected = np.maximum.accumulate(np.where([*begins, True], np.arange(n_target), 0))
            assert feeds["multi_flow_span_starts"][row, :n_target].tolist() == expected.tolist()
            seen += text.tolist()
    assert len(seen) == len(set(seen))


def test_noise_replaces_what_is_read_and_not_what_is_predicted() -> None:
    changed = total = 0
    put: Counter[int] = Counter()
    for feeds in _feeds(in_memory(DOCUMENTS, max_length=64, overhead=3), noise=0.3, budget=0.5):
        real = feeds["multi_flow_target_mask"] == 1
        read, labels = feeds["multi_flow_target_ids"][real], feeds["multi_flow_labels"]
        closing = labels == SPECIALS.index("[SEP]")
        assert (read == labels)[closing].all()
        assert (read >= len(SPECIALS))[~closing].all()
        changed += int((read != labels)[~closing].sum())
        total += int((~closing).sum())
        put.update(read[(read != labels)].tolist())
    assert total > 400
    # About 150 pieces out of 1,080 are drawn; few of them twice.
    assert len(put) > 0.8 * sum(put.values())
    assert changed / total == pytest.approx(0.3, abs=4 * (0.21 / total) ** 0.5)


def test_a_row_is_divided_in_one_way_whatever_the_ranks_and_micro_batches() -> None:
    data = in_memory(DOCUMENTS, max_length=32, overhead=3)

    def divided(seed: int, epoch: int = 0, **split: int) -> dict[int, tuple[list[int], list[int]]]:
        """The source and what is read of the target of every row, by the first token of its text."""
        reader = step_reader(data, {"multi_flow": {"noise": 0.3}}, overhead=3, seed=seed)
        found = {}
        for n in range(reader.plan.batches_per_epoch):
            for rank in range(split.get("world", 1)):
                step = reader.step(epoch * reader.plan.batches_per_epoch + n, rank, **split)
                for feeds in step.micro_batches:
                    for row, ids in enumerate(feeds["input_ids"].tolist()):
                        source, target = (
                            feeds[f"multi_flow_{side}_ids"][row][feeds[f"multi_flow_{side}_mask"][row] == 1].tolist()
                            for side in ("source", "target")
                        )
                        found[ids[1]] = (source, target)
        return found

    once = divided(0)
    assert divided(0) == once
    assert divided(0, world=2) == once
    assert divided(0, parts=3) == once
    assert divided(1) != once
    assert divided(0, epoch=1) != once
    # Rows do not share their draws: the places of the fragments differ from row to row.
    kept = {tuple(token - first for token in source[1:-1]) for first, (source, _) in once.items()}
    assert len(kept) > len(once) / 2


def test_the_loss_has_a_weighted_term_for_each_flow() -> None:
    paddle.disable_static()
    data = in_memory(DOCUMENTS, max_length=32, overhead=3)
    config = ErnieConfig(
        vocab_size=data.vocab.size, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=32, layer_norm_eps=1e-5,
    )  # fmt: skip
    for word_by_word, expected in (
        (0.25, {"multi_flow_word": 0.5, "multi_flow_span": 1.5}),
        (1.0, {"multi_flow_word": 2.0}),
        (0.0, {"multi_flow_span": 2.0}),
    ):
        reader = step_reader(data, {"multi_flow": {"word_by_word": word_by_word, "weight": 2.0}}, overhead=3)
        (objective,) = reader.objectives
        with paddle.utils.unique_name.guard():
            encoder = Encoder(config)
            heads = objective.heads(config, encoder)
        feeds = {name: paddle.to_tensor(array) for name, array in reader.step(0).micro_batches[0].items()}
        terms = objective.loss(heads, objective.encode(encoder, feeds), feeds)
        assert {term.name: term.weight for term in terms} == expected


def test_the_piece_attn_is_used_where_the_vocabulary_has_it() -> None:
    data = in_memory(DOCUMENTS, max_length=32, overhead=3)
    assert {int(i) for feeds in _feeds(data) for i in feeds["multi_flow_attn_ids"].flat} == {data.vocab.mask}
    extended = Vocab([*data.vocab.pieces, ATTN_PIECE], "test vocabulary")
    with_piece = _feeds(dataclasses.replace(data, vocab=extended), noise=1.0)
    attn = extended.id(ATTN_PIECE)
    assert {int(i) for feeds in with_piece for i in feeds["multi_flow_attn_ids"].flat} == {attn}
    assert all(attn not in feeds["multi_flow_target_ids"] for feeds in with_piece)
    named = _feeds(data, attn_token="w3")
    assert {int(i) for feeds in named for i in feeds["multi_flow_attn_ids"].flat} == {data.vocab.id("w3")}
    with pytest.raises(UserError, match=r"attn_token is '\[ATN\]', which is no piece of the vocabulary"):
        _feeds(data, attn_token="[ATN]")


def test_other_objectives_do_not_share_its_rows() -> None:
    data = in_memory(DOCUMENTS, max_length=32, overhead=3)
    with pytest.raises(
        UserError, match="multi_flow shares its rows with no other objective; put mlm into another task"
    ):
        step_reader(data, {"mlm": {}, "multi_flow": {}}, overhead=3)


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({"budget": 1.0}, "budget must lie between 0 and 1, found 1.0"),
        ({"noise": 1.5}, "noise must lie between 0 and 1"),
        ({"word_by_word": -0.1}, "word_by_word must lie between 0 and 1"),
    ],
)
def test_settings_out_of_range(given_settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_objective("multi_flow", given_settings)


@pytest.mark.parametrize(("segments", "expected"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 3), (16, 3)])
def test_the_segment_of_generated_text(segments: int, expected: int) -> None:
    config = ErnieConfig(vocab_size=10, type_vocab_size=segments, layer_norm_eps=1e-5)
    assert config.target_segment == expected
