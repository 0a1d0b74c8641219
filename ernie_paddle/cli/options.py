"""Declaring command-line options so that `--help` always shows type, default and meaning."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ernie_paddle.option_kinds import Option, Required

_TYPE_NAMES: dict[Any, str] = {int: "int", float: "number", str: "text", Path: "path"}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line on stderr and exit code 2.

    Attributes:
        elsewhere: Error messages for options that only other forms of the command have, by name.
    """

    elsewhere: dict[str, str]

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.elsewhere = {}

    def error(self, message: str) -> NoReturn:
        """Print `PROG: MESSAGE` and exit with 2."""
        print(f"{self.prog}: {message} (see `{self.prog} --help`)", file=sys.stderr)
        raise SystemExit(2)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Like argparse, but an unknown option is reported before missing ones."""
        args = list(sys.argv[1:] if args is None else args)
        for text in args:
            name = text.partition("=")[0]
            if text == "--":
                break
            if re.match("-{1,2}[A-Za-z]", name) and " " not in text and name not in self._option_string_actions:
                if name in self.elsewhere:
                    self.error(self.elsewhere[name])
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
        parser: The parser or group to which the option is added.
        name: Name with dashes, words joined by underscores (`--batch_size`).
        kind: int, float, str, Path, or a function that checks and converts the text.
        default: Value if the option is not given; REQUIRED if there is none.
        meaning: One phrase for the help text.
        choices: The only allowed values.
        repeat: Whether the option may be given several times; the value is then a list.
        shown_default: Text for the help if the default is determined at run time.
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


def declare(parser: argparse._ActionsContainer, given: Option) -> None:
    """Add an option that is declared as data."""
    if given.kind is bool:
        flag(parser, f"--{given.name}", given.default, given.meaning)
        return
    option(
        parser,
        f"--{given.name}",
        given.kind,
        given.default,
        given.meaning,
        choices=given.choices or None,
        shown_default=given.shown_default,
    )


def flag(parser: argparse._ActionsContainer, name: str, default: bool | None, meaning: str) -> None:
    """Add the pair `--name` / `--no_name`; the default None means "as in training"."""
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
