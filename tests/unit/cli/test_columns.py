"""Which format a table has for a model that was tuned on nested JSON lines."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ernie_paddle.finetune.run import format_for


@pytest.mark.parametrize(
    ("nested", "given", "path", "wanted"),
    [
        ("copa", "auto", "val.jsonl", "copa"),
        ("copa", "auto", "val.jsonl.gz", "copa"),
        ("copa", "auto", "-", "copa"),
        ("copa", "jsonl", "val.jsonl", "jsonl"),
        ("copa", "auto", "own.tsv", "auto"),
        ("copa", "auto", "own.CSV.gz", "auto"),
        (None, "auto", "val.jsonl", "auto"),
        (None, "record", "val.jsonl", "record"),
    ],
)
def test_format_for(nested: str | None, given: str, path: str, wanted: str) -> None:
    assert format_for(SimpleNamespace(nested=nested), given, path) == wanted
    assert format_for(SimpleNamespace(), given, path) == given, "a task that knows of no nesting"
