"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data samples and golden outputs; tests that need it skip, saying so, where it is absent."""
    path = Path(os.environ.get("ERNIE_SHARED_DATA", _DEFAULT))
    if not path.is_dir():
        pytest.skip(f"data samples are not at {path}; set ERNIE_SHARED_DATA to their folder")
    return path
