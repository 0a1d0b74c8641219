"""Objectives are found by themselves, and say what they are."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

import ernie_paddle.objectives as package
from ernie_paddle.objectives.registry import make_objective, registry
from propeller.errors import UserError

ONE_FILE = '''"""A further objective."""
from ernie_paddle.objectives.base import Objective, ObjectiveSettings


class Further(Objective[ObjectiveSettings]):
    """Nothing in particular."""

    name = "further"
    summary = "found without any other change"
    settings_type = ObjectiveSettings
    inputs = ()
'''


def test_the_objectives_of_this_release() -> None:
    assert {"knowledge_masking", "mlm", "nsp", "sentence_reordering", "capitalization"} <= set(registry())
    assert list(registry()) == sorted(registry())
    for name, cls in registry().items():
        objective = make_objective(name)
        assert objective.settings == cls.settings_type()
        assert dataclasses.is_dataclass(cls.settings_type)
        assert "\n" not in cls.summary
        assert all(item.name.startswith((name, "mlm_")) for item in objective.inputs)
        module = sys.modules[cls.__module__].__doc__ or ""
        assert any(paper in module for paper in ("BERT", "ERNIE", "On Losses")), name


def test_a_new_objective_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "further.py").write_text(ONE_FILE)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry.cache_clear()
    try:
        assert registry()["further"].summary == "found without any other change"
        assert make_objective("further", {"weight": 2.0}).settings.weight == 2.0
    finally:
        registry.cache_clear()
        sys.modules.pop("ernie_paddle.objectives.further", None)
    monkeypatch.undo()
    assert "further" not in registry()


def test_settings_are_checked() -> None:
    assert make_objective("nsp", {"weight": 0.5, "random_rate": 0.25}).settings.random_rate == 0.25
    with pytest.raises(UserError, match=r"a task\.nsp: unknown key 'wieght'; did you mean 'weight'"):
        make_objective("nsp", {"wieght": 1.0}, "a task")
    for name, settings in [
        ("nsp", {"weight": 0.0}),
        ("nsp", {"random_rate": 1.0}),
        ("mlm", {"mask": 0.8, "random": 0.3}),
        ("mlm", {"random": -0.1}),
        ("knowledge_masking", {"basic": 0.0, "phrase": 0.0, "entity": 0.0}),
        ("knowledge_masking", {"basic": -1.0}),
        ("capitalization", {"of": "sentence"}),
        ("sentence_reordering", {"max_segments": 1}),
    ]:
        with pytest.raises(UserError):
            make_objective(name, settings)
