"""Files of arrays, and JSON files, are on disk before they have their names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.disk_order import DiskOrder
from reader.files.tensorfile import map_arrays, write_arrays, write_json_atomically


def test_arrays_are_on_disk_before_they_have_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train-00000.safetensors"
    order = DiskOrder().watch(monkeypatch)
    # The second array is too small to leave the file's buffer by itself.
    arrays = {"tokens": np.arange(30_000, dtype=np.uint16), "flags": np.ones(3, np.uint8)}
    write_arrays(path, arrays, {"split": "train"})
    order.require_synced_before_renamed(path)
    found, metadata = map_arrays(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert metadata["split"] == "train"


def test_json_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is forced to disk at last: corpus.json is what makes a folder a finished corpus."""
    path = tmp_path / "corpus.json"
    path.write_text("before")
    order = DiskOrder().watch(monkeypatch)
    write_json_atomically(path, {"languages": ["en", "zh"]})
    assert order.told(tmp_path) == ["sync corpus.json", "rename corpus.json", "sync ."]
    order.require_synced_before_renamed(path)
    assert json.loads(path.read_text()) == {"languages": ["en", "zh"]}
