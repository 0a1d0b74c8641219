"""Strict settings: a mapping read from YAML or JSON becomes a frozen dataclass, or is refused with one clear line."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from propeller.errors import UserError

_T = TypeVar("_T")


def unknown_name(kind: str, name: object, known: Iterable[str], where: str) -> UserError:
    """The error for an unknown name; it suggests the closest valid name, or lists ``known`` if none is close."""
    names = {item.lower(): item for item in sorted(set(known))}
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {names[near[0]]!r}?" if near else f"known: {', '.join(names.values()) or 'none'}"
    return UserError(f"{where}: unknown {kind} {name!r}; {hint}")


def from_mapping(cls: type[_T], mapping: Mapping[str, Any], where: str) -> _T:
    """Build the dataclass ``cls`` from ``mapping``, with the dataclasses inside it (also those in lists and dicts).

    Values are checked against the annotations; a string is not taken for a number, except YAML's ``5e-5``,
    which YAML 1.1 reads as a string.

    Raises:
        UserError: a key is unknown (the message suggests the closest valid one) or missing, a value has a wrong type,
            or the dataclass's ``__post_init__`` raises a ``ValueError``. ``where`` names the file or section.
    """
    checked = _check_keys(cls, mapping, where)
    try:
        # Strict would refuse 1 for a float field and a list for a tuple field; lax mode would take "8" for 8,
        # so `_check_keys` has refused strings where no string is meant.
        return _adapter(cls).validate_python(checked)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        cause = first.get("ctx", {}).get("error")
        message = str(cause) if isinstance(cause, ValueError) else f"{first['msg']} (given: {first['input']!r})"
        raise UserError(f"{where}{'.' if place else ''}{place}: {message}") from None


def _adapter(cls: type[_T]) -> TypeAdapter[_T]:
    config = None if dataclasses.is_dataclass(cls) else ConfigDict(extra="forbid")
    return TypeAdapter(cls, config=config)


def _check_keys(annotation: Any, value: Any, where: str) -> Any:
    """Check ``value`` against its annotation: refuse unknown keys and strings given for numbers, and read ``5e-5``."""
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        if dataclasses.is_dataclass(value):
            return value
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: expected a mapping of settings, found {value!r}")
        hints = get_type_hints(annotation)
        known = [field.name for field in dataclasses.fields(annotation) if field.init]
        for key in value:
            if key not in known:
                raise unknown_name("key", key, known, where)
        return {key: _check_keys(hints[key], item, f"{where}.{key}") for key, item in value.items()}
    arguments = [a for a in get_args(annotation) if a is not type(None)]
    if isinstance(value, Mapping) and len(arguments) == 2 and not dataclasses.is_dataclass(arguments[0]):
        return {key: _check_keys(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple) and arguments:
        return [_check_keys(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if len(arguments) == 1 and value is not None:  # X | None
        return _check_keys(arguments[0], value, where)
    if isinstance(value, str) and annotation in (int, float, bool):
        if annotation is float:
            try:
                return float(value)
            except ValueError:
                pass
        raise UserError(f"{where}: expected {annotation.__name__}, found the text {value!r}")
    if isinstance(value, bool) and annotation in (int, float):
        raise UserError(f"{where}: expected {annotation.__name__}, found {value!r}")
    return value
