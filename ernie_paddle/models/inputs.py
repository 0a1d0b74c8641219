"""What the encoder is fed, declared once for reader and graph."""

from __future__ import annotations

from propeller.graph.inputs import Input


def model_inputs(use_task_id: bool) -> list[Input]:
    """The arrays that the encoder is fed, int64 [B, T] each."""
    names = ["input_ids", "segment_ids", "attention_mask", *(["task_ids"] if use_task_id else [])]
    return [Input(name, (None, None), "int64") for name in names]
