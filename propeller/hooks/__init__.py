"""What watches a run: progress, logs, curves, early stop, the guard against non-finite steps, and stop signals."""

from propeller.hooks.early_stop import EarlyStop
from propeller.hooks.guard import NonFiniteGuard
from propeller.hooks.jsonl import JsonlLog
from propeller.hooks.progress import Progress
from propeller.hooks.rate import Rate
from propeller.hooks.record import EvalRecord, Hook, StepRecord
from propeller.hooks.signals import StopSignals
from propeller.hooks.visualdl import VisualDl

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
