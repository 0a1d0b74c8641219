"""Hooks that watch a run: progress, logs, curves, early stop, guard against non-finite steps, and stop signals."""

from propeller.run.hooks.early_stop import EarlyStop
from propeller.run.hooks.guard import NonFiniteGuard
from propeller.run.hooks.jsonl import JsonlLog
from propeller.run.hooks.progress import Progress
from propeller.run.hooks.rate import Rate
from propeller.run.hooks.record import EvalRecord, Hook, StepRecord
from propeller.run.hooks.signals import StopSignals
from propeller.run.hooks.visualdl import VisualDl

__all__ = [
    "EarlyStop",
    "EvalRecord",
    "Hook",
    "JsonlLog",
    "NonFiniteGuard",
    "Progress",
    "Rate",
    "StepRecord",
    "StopSignals",
    "VisualDl",
]
