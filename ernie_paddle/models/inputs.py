"""The inputs of the encoder, declared once for the reader and the graph.

Shape suffixes: B rows of a batch, T tokens of its longest row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from propeller.graph.inputs import Input

_V = TypeVar("_V")


def tokens_input(name: str) -> Input:
    """An input with one whole number for each token, int64 [B, T]."""
    return Input(name, (None, None), "int64")


INPUT_IDS, SEGMENT_IDS, POSITION_IDS, TASK_IDS, ATTENTION_MASK = (
    tokens_input(name) for name in ("input_ids", "segment_ids", "position_ids", "task_ids", "attention_mask")
)

ENCODER_INPUTS = (INPUT_IDS, SEGMENT_IDS, POSITION_IDS, TASK_IDS, ATTENTION_MASK)
"""All inputs of ``Encoder``, int64 [B, T] each, by the names of its arguments."""

TEXT_INPUTS = (INPUT_IDS, SEGMENT_IDS, ATTENTION_MASK)
"""The inputs that every row of text has; the encoder computes the others if they are missing."""


def text_inputs(use_task_id: bool) -> list[Input]:
    """The inputs of rows of text, including task ids if the model has a task embedding."""
    return [*TEXT_INPUTS, *([TASK_IDS] if use_task_id else [])]


def encoder_feeds(values: Mapping[str, _V]) -> dict[str, _V]:
    """The values by name that are inputs of the encoder."""
    return {item.name: values[item.name] for item in ENCODER_INPUTS if item.name in values}
