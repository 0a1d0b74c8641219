"""Differences between a fine-tuning run and the run in its folder: a changed setting or table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propeller.run.trainer import setting_changes

TABLES = {"train": "the training table", "dev": "the development table"}
"""Names of the tables whose encoded content is hashed in a run's identity, by key."""
_ENCODING = ("task.", "vocab")


def run_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences between the identities of two fine-tuning runs, one phrase each; empty without differences.

    A setting that affects how tables are encoded (such as ``--max_length``) changes their hashes too. Then only the
    setting is named, because it cannot be determined whether the tables also changed.

    Args:
        before: Identity of the run in the folder, flat, by dotted keys.
        now: Identity of the run that would resume it.
    """
    tables = [f"{name} changed" for key, name in TABLES.items() if before.get(key) != now.get(key)]
    before, now = ({key: value for key, value in each.items() if key not in TABLES} for each in (before, now))
    encoded = ({key: value for key, value in each.items() if key.startswith(_ENCODING)} for each in (before, now))
    return [*([] if setting_changes(*encoded) else tables), *setting_changes(before, now)]
