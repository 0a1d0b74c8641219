"""Options of the verbs that read a table like the training table, whose columns may have other names."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, TypeVar

from ernie_paddle.cli import options as opt
from propeller.errors import UserError

_T = TypeVar("_T")
_NAMES = ("text_a", "text_b")
_WHERE = "where"
_NO_LABEL = "no_label"


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of verbs that read labels: `--no_label`."""
    meaning = "labels that say that a row has none, as - in OCNLI; such rows are left out and counted"
    opt.option(parser, f"--{_NO_LABEL}", opt.comma_list, None, meaning, shown_default="as in training")


def add_column_options(parser: argparse.ArgumentParser) -> None:
    """Declare `--text_a`, `--text_b`, `--where` and `--header`."""
    for name in _NAMES:
        meaning = f"column that is --{name} here"
        opt.option(parser, f"--{name}", str, None, meaning, shown_default="as in training")
    meaning = "rows to take, as language=zh, where the table has this column"
    opt.option(parser, "--where", str, None, meaning, shown_default="as in training")
    opt.flag(parser, "--header", None, "whether the first row names the columns")


def with_columns(task: _T, args: argparse.Namespace) -> _T:
    """The task with the columns that the options name.

    Raises:
        UserError: the task has no such columns.
    """
    given: dict[str, Any] = {name: getattr(args, name) for name in (*_NAMES, _WHERE, "header")}
    given = {name: value for name, value in given.items() if value is not None}
    if getattr(args, _NO_LABEL, None) is not None:
        given[_NO_LABEL] = tuple(args.no_label)
    for name in given:
        if not hasattr(task, name):
            raise UserError(f"--{name} has no meaning here: the model's task has no such setting")
        if name != _WHERE and getattr(task, name) is None:
            raise UserError(f"--{name} has no meaning here: the model was trained without it")
    return dataclasses.replace(task, **given) if given else task  # type: ignore[type-var]
