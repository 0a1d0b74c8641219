"""The registry of objectives by name; it searches every module of this package, so a new objective is one new file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import ernie_paddle.objectives as package
from ernie_paddle.objectives.base import AnyObjective, Objective
from propeller.settings import from_mapping, unknown_name


@cache
def registry() -> Mapping[str, type[AnyObjective]]:
    """All objectives: the classes of this package's modules that have a ``name``, sorted by name."""
    found: dict[str, type[AnyObjective]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for value in vars(module).values():
            if inspect.isclass(value) and value.__module__ == module.__name__ and "name" in vars(value):
                assert issubclass(value, Objective), f"{value} has a name but is not an Objective"
                assert value.name not in found, f"two objectives are named {value.name!r}"
                found[value.name] = value
    return MappingProxyType(dict(sorted(found.items())))


def make_objective(name: str, settings: Mapping[str, Any] | None = None, where: str = "objectives") -> AnyObjective:
    """The objective called ``name`` with the given settings, and defaults for all others.

    Args:
        name: A key of :func:`registry`.
        settings: Settings by key, as in a recipe.
        where: The beginning of error messages.

    Raises:
        UserError: The objective or a setting is unknown (the message suggests the closest one), or a value is
            unusable.
    """
    known = registry()
    if name not in known:
        raise unknown_name("objective", name, known, where)
    cls = known[name]
    return cls(from_mapping(cls.settings_type, settings or {}, f"{where}.{name}"))


def make_objectives(settings: Mapping[str, Mapping[str, Any]], where: str) -> list[AnyObjective]:
    """The objectives of a task, in the order of ``settings``; see :func:`make_objective`."""
    return [make_objective(name, values, where) for name, values in settings.items()]
