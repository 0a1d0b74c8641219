"""Declaring command-line options so that `--help` always shows type, default and meaning."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from propeller.errors import UserError

_T = TypeVar("_T")
_TYPE_NAMES: dict[Any, str] = {int: "int", float: "number", str: "text", Path: "path"}


class Required:
    """Marks an option without a default (`default=REQUIRED`)."""


REQUIRED = Required()


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line on stderr and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print `PROG: MESSAGE` and exit with 2."""
        print(f"{self.prog}: {message} (see `{self.prog} --help`)", file=sys.stderr)
        raise SystemExit(2)

    def option_names(self) -> list[str]:
        """All names of options, with their dashes."""
        return list(self._option_string_actions)

    def check(self, name: str, value: Any) -> None:
        """See whether an option (without its dashes) could have this value, a flag true or false.

        Raises:
            UserError: it could not; says what it can be.
        """
        action = self._option_string_actions[f"--{name}"]
        if isinstance(action, _YesNo) != isinstance(value, bool):
            raise UserError(f"{name}={value}: it takes {'true or false' if isinstance(action, _YesNo) else 'a value'}")
        if isinstance(action, _YesNo):
            return
        try:
            self._check_value(action, self._get_value(action, str(value)))
        except argparse.ArgumentError as error:
            raise UserError(f"{name}={value}: {error.message}") from None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but an option that does not exist is reported before others that are missing."""
        args = list(sys.argv[1:] if args is None else args)
        for text in args:
            name = text.partition("=")[0]
            if text == "--":
                break
            if re.match("-{1,2}[A-Za-z]", name) and " " not in text and name not in self._option_string_actions:
                near = difflib.get_close_matches(name, self._option_string_actions, n=1)
                self.error(f"there is no option {name}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().parse_known_args(args, namespace)


class _YesNo(argparse.Action):
    """`--name` stores True, `--no_name` stores False."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, not (option_string or "").startswith("--no_"))


def type_name(kind: Callable[[str], Any]) -> str:
    """The word that `--help` shows for an option's type."""
    return _TYPE_NAMES.get(kind) or str(getattr(kind, "__name__", kind)).strip("_").replace("_", " ")


def _show(default: Any) -> str:
    if isinstance(default, Required):
        return "required"
    if default is None:
        return "default: none"
    if isinstance(default, (list, tuple)):
        return "default: " + (",".join(str(item) for item in default) or "none")
    return f"default: {default}"


def option(
    parser: argparse._ActionsContainer,
    name: str,
    kind: Callable[[str], Any],
    default: Any,
    meaning: str,
    *,
    choices: Sequence[str] | None = None,
    repeat: bool = False,
    shown_default: str | None = None,
) -> None:
    """Add `--name VALUE`.

    Args:
        parser: the parser or group that gets the option.
        name: with its dashes, words joined by underscores (`--batch_size`).
        kind: int, float, str, Path, or a function that checks and converts the text.
        default: the value when the option is absent; REQUIRED where there is none.
        meaning: one phrase for the help text.
        choices: the only values allowed.
        repeat: the option may be given several times; the value is a list.
        shown_default: words for the help text where the default is worked out at run time.
    """
    required = isinstance(default, Required)
    shown = f"default: {shown_default}" if shown_default else _show(default)
    described = "one of " + ", ".join(choices) if choices else type_name(kind)
    keywords: dict[str, Any] = {
        "type": kind,
        "required": required,
        "help": _escape(f"{meaning} ({described}; {shown}{'; may be repeated' if repeat else ''})"),
        "metavar": type_name(kind).split()[-1].upper(),
    }
    if choices:
        keywords["choices"] = choices
    if repeat:
        keywords["action"] = "append"
    parser.add_argument(name, default=None if required else default, **keywords)


def flag(parser: argparse._ActionsContainer, name: str, default: bool | None, meaning: str) -> None:
    """Add the pair `--name` / `--no_name`; with None as default it is as in training."""
    stem = name.removeprefix("--")
    shown = {True: "yes", False: "no", None: "as in training"}[default]
    parser.add_argument(
        name,
        f"--no_{stem}",
        dest=stem,
        action=_YesNo,
        nargs=0,
        default=default,
        help=_escape(f"{meaning} (yes/no; default: {shown})"),
    )


def argument(
    parser: argparse._ActionsContainer, name: str, kind: Callable[[str], Any], meaning: str, *, several: bool = False
) -> None:
    """Add a positional argument, or with `several` one or more of them."""
    keywords: dict[str, Any] = {"nargs": "+"} if several else {}
    described = type_name(kind) + (", one or more" if several else "")
    parser.add_argument(name, type=kind, help=_escape(f"{meaning} ({described}; required)"), **keywords)


def _escape(text: str) -> str:
    return text.replace("%", "%%")


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
    """A number from 0 to 1, 1 itself excluded."""
    return _number(text, float, lambda value: 0.0 <= value < 1.0, "a number from 0 up to (not including) 1")


def ratio(text: str) -> float:
    """A number above 0, at most 1."""
    return _number(text, float, lambda value: 0.0 < value <= 1.0, "a number above 0, at most 1")


def coverage(text: str) -> float:
    """A number from 0.9 to 1, both included."""
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
