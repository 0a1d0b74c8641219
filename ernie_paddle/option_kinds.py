"""Kinds of option values: functions that check the text of an option and convert it, and options as data.

The functions are types for argparse; `--help` shows their names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from propeller.errors import UserError
from propeller.settings import unknown_name

_T = TypeVar("_T")


class Required:
    """Marks an option without a default (`default=REQUIRED`)."""


REQUIRED = Required()


@dataclass(frozen=True)
class Option:
    """One option of both the command line and the Python functions.

    Attributes:
        name: Name without dashes, words joined by underscores.
        kind: bool for a flag; else int, float, str, Path, or a function that checks and converts a text.
        default: Value if the option is not given; REQUIRED if there is none.
        meaning: One phrase for the help text.
        choices: The only allowed values; empty: any.
        shown_default: Text for the help if the default is determined at run time.
        elsewhere: Meaning of the option for another table on which a fine-tuned model is evaluated or used and which
            may differ from the training table; None: the option is only for training.
        of_labels: Whether `elsewhere` only applies if labels are read.
    """

    name: str
    kind: Callable[[str], Any]
    default: Any
    meaning: str
    choices: tuple[str, ...] = ()
    shown_default: str | None = None
    elsewhere: str | None = None
    of_labels: bool = False

    def read(self, value: Any, where: str) -> Any:
        """Convert a value like the command line, from a text, a number, true or false, or a list.

        Raises:
            UserError: The option cannot have this value; ``where`` begins the message.
        """
        if value is None or isinstance(value, bool) != (self.kind is bool):
            if value is None and self.default is not REQUIRED:
                return None
            what = "true or false" if self.kind is bool else "a value"
            raise UserError(f"{where}{self.name}={value}: the value must be {what}")
        if self.kind is bool:
            return value
        text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        try:
            found = self.kind(text)
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise UserError(f"{where}{self.name}={text}: {error}") from None
        if self.choices and found not in self.choices:
            raise UserError(f"{where}{self.name}={text}: choose from {', '.join(self.choices)}")
        return found


def read_options(options: Iterable[Option], given: Mapping[str, Any], where: str) -> argparse.Namespace:
    """Complete the given options with the defaults of the others.

    Raises:
        UserError: An option does not exist (the message suggests the closest one), is missing, or has an invalid value.
    """
    known = {option.name: option for option in options}
    for name in given:
        if name not in known:
            raise unknown_name("option", name, known, where)
    values = {}
    for name, option in known.items():
        if name in given:
            values[name] = option.read(given[name], f"{where}: ")
        elif option.default is REQUIRED:
            raise UserError(f"{where}: {name} is missing: {option.meaning}")
        else:
            values[name] = option.default
    return argparse.Namespace(**values)


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    return _number(text, int, lambda value: value >= 1, "a whole number of at least 1")


def count(text: str) -> int:
    """A whole number of at least 0."""
    return _number(text, int, lambda value: value >= 0, "a whole number of at least 0")


def at_least(text: str, least: int) -> int:
    """A whole number of at least `least`."""
    return _number(text, int, lambda value: value >= least, f"a whole number of at least {least:,}")


def fraction(text: str) -> float:
    """A number from 0 up to, but excluding, 1."""
    return _number(text, float, lambda value: 0.0 <= value < 1.0, "a number from 0 up to (not including) 1")


def ratio(text: str) -> float:
    """A number above 0, at most 1."""
    return _number(text, float, lambda value: 0.0 < value <= 1.0, "a number above 0, at most 1")


def coverage(text: str) -> float:
    """A number from 0.9 to 1, inclusive."""
    return _number(text, float, lambda value: 0.9 <= value <= 1.0, "a number from 0.9 to 1")


def positive_number(text: str) -> float:
    """A finite number above 0."""
    return _number(text, float, lambda value: 0.0 < value < float("inf"), "a number above 0")


def non_negative_number(text: str) -> float:
    """A finite number of at least 0."""
    return _number(text, float, lambda value: 0.0 <= value < float("inf"), "a number of at least 0")


def comma_list(text: str) -> list[str]:
    """Values separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(text: str, kind: Callable[[str], _T], good: Callable[[_T], bool], wanted: str) -> _T:
    try:
        value = kind(text)
        if good(value):
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")


def names_of(options: Sequence[Option]) -> list[str]:
    """The names of options, in order."""
    return [option.name for option in options]
