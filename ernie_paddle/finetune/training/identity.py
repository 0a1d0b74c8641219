"""In which respect a fine-tuning run is another one than that of its folder: a setting changed, or a table did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propeller.run.trainer import setting_changes

TABLES = {"train": "the training table", "dev": "the development table"}
"""What a run's identity holds hashes of, encoded as the model reads it, by key."""
_ENCODING = ("task.", "vocab")


def run_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between the identities of two fine-tuning runs, a phrase each; empty if nothing does.

    A setting that decides how tables are encoded (``--max_length``, say) changes their hashes too. Then only the
    setting is named: whether the tables also changed cannot be told.

    Args:
        before: identity of the run in the folder, flat, by dotted keys.
        now: identity of the run that shall continue it.
    """
    tables = [f"{name} changed" for key, name in TABLES.items() if before.get(key) != now.get(key)]
    before, now = ({key: value for key, value in each.items() if key not in TABLES} for each in (before, now))
    encoded = ({key: value for key, value in each.items() if key.startswith(_ENCODING)} for each in (before, now))
    return [*([] if setting_changes(*encoded) else tables), *setting_changes(before, now)]
