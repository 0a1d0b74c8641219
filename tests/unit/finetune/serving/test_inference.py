"""Outputs of a whole dataset come back in the order of the rows, on any number of ranks, with and without positions."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ernie_paddle.finetune.serving.inference import run_dataset
from propeller.device import distributed


class GatheredError(Exception):
    """Carries what a rank would send to the others."""


def model(batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What depends on nothing but the row itself, and junk in the padding."""
    ids, real = batch["ids"], batch["ids"] > 0
    return {
        "pooled": (ids * real).sum(axis=1).astype(np.float32),
        "start": np.where(real, ids, -7).astype(np.float32),
        "logits": np.where(real[:, :, None], np.stack([ids, -ids], axis=2), 99),
    }


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40), batch_rows=st.integers(1, 9), world=st.integers(1, 4)
)
def test_rows_and_positions_come_back_in_order(lengths: list[int], batch_rows: int, world: int) -> None:
    rng = np.random.default_rng(len(lengths))
    rows = [rng.integers(1, 1000, length) for length in lengths]

    def batch(_: Any, chosen: NDArray[np.int64], labelled: bool) -> dict[str, NDArray[Any]]:
        ids = np.zeros((len(chosen), max(lengths[row] for row in chosen)), np.int64)
        for place, row in enumerate(chosen):
            ids[place, : lengths[row]] = rows[row]
        return {"ids": ids}

    task: Any = SimpleNamespace(position_outputs=("start", "logits"), batch=batch)

    class Data(SimpleNamespace):
        def __len__(self) -> int:
            return len(rows)

    data: Any = Data(lengths=np.array(lengths, np.int32))
    messages: list[bytes] = []

    def send(message: bytes) -> list[bytes]:
        messages.append(message)
        if len(messages) < world:
            raise GatheredError
        return messages[-world:]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "all_gather_bytes", send)
        for rank in range(world - 1):
            with pytest.raises(GatheredError):
                run_dataset(model, task, data, batch_rows, rank=rank, world=world)
        found = run_dataset(model, task, data, batch_rows, rank=world - 1, world=world)
    flat = np.concatenate(rows)
    assert found["pooled"].tolist() == [row.sum() for row in rows]
    assert found["start"].tolist() == flat.tolist()
    assert found["logits"].tolist() == np.stack([flat, -flat], axis=1).tolist()
