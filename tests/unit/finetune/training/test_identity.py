"""What a person is told whose command does not continue the run of the folder."""

from __future__ import annotations

from typing import Any

import pytest

from ernie_paddle.finetune.training.identity import run_changes

BEFORE = {
    "task.type": "classification",
    "task.max_length": 32,
    "vocab": "87cd",
    "config.lr": 0.1,
    "micro_batch": 8,
    "train": "14bc",
    "dev": "dde9",
}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"dev": "0"}, ["the development table changed"]),
        ({"train": "0"}, ["the training table changed"]),
        ({"train": "0", "dev": "0"}, ["the training table changed", "the development table changed"]),
        # A setting that the tables are not encoded by hides nothing.
        (
            {"dev": "0", "config.lr": 0.2, "micro_batch": 4},
            ["the development table changed", "config.lr was 0.1 and is 0.2", "micro_batch was 8 and is 4"],
        ),
        # The hashes follow from these.
        ({"train": "0", "dev": "0", "task.max_length": 16}, ["task.max_length was 32 and is 16"]),
        ({"train": "0", "dev": "0", "vocab": "99"}, ["vocab was 87cd and is 99"]),
        ({"dev": "0", "task.where": "a=b"}, ["task.where was None and is a=b"]),
    ],
)
def test_tables_are_named_unless_a_setting_changed_their_encoding(changed: dict[str, Any], told: list[str]) -> None:
    assert run_changes(BEFORE, {**BEFORE, **changed}) == told
    assert len(run_changes({**BEFORE, **changed}, BEFORE)) == len(told)
