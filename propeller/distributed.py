"""Data parallelism over the processes that a launcher started: roles, collectives in the graph, and a host store."""

from __future__ import annotations

import os

import numpy as np


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("PADDLE_TRAINER_ID", "0"))


def world_size() -> int:
    """Number of processes."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def init() -> None:
    """Join the other processes (once; nothing to do for a single one). Call it before a Learner is made."""
    raise NotImplementedError


def barrier() -> None:
    """Return when all processes have come here."""
    raise NotImplementedError


def all_gather_bytes(data: bytes) -> list[bytes]:
    """Small messages of all ranks, in order of rank."""
    raise NotImplementedError


def broadcast_bytes(data: bytes | None) -> bytes:
    """Rank 0's message, on all ranks."""
    raise NotImplementedError


def sum_over_ranks(values: np.ndarray) -> np.ndarray:
    """Element-wise sum over all ranks of a float64 vector of the same length on each."""
    raise NotImplementedError
