"""Options of the verbs that read a table like the training table, whose columns may have other names."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from ernie_paddle.cli import options as opt
from propeller.errors import UserError

_T = TypeVar("_T")
_OPTIONS = ("text_a", "text_b", "choices", "spans", "where", "header", "label", "no_label", "label_aliases")
_AS_BEFORE = "as in training"


def add_column_options(parser: argparse.ArgumentParser) -> None:
    """Declare `--text_a`, `--text_b`, `--choices`, `--spans`, `--where` and `--header`."""
    for name in ("text_a", "text_b"):
        opt.option(parser, f"--{name}", str, None, f"column that is --{name} here", shown_default=_AS_BEFORE)
    for name, meaning in (
        ("choices", "multiple_choice: the columns of the choices here, in order"),
        ("spans", "span_classification: two columns for each span here, as start1:end1,start2:end2"),
    ):
        opt.option(parser, f"--{name}", opt.comma_list, None, meaning, shown_default=_AS_BEFORE)
    meaning = "rows to take, as language=zh, where the table has this column"
    opt.option(parser, "--where", str, None, meaning, shown_default=_AS_BEFORE)
    opt.flag(parser, "--header", None, "whether the first row names the columns")


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of verbs that read labels: `--label`, `--no_label` and `--label_aliases`."""
    meaning = "column of the label, score or tags here"
    opt.option(parser, "--label", str, None, meaning, shown_default=_AS_BEFORE)
    meaning = "labels that say that a row has none, as - in OCNLI; such rows are left out and counted"
    opt.option(parser, "--no_label", opt.comma_list, None, meaning, shown_default=_AS_BEFORE)
    meaning = "classification: further names of labels here, as 0=LABEL_0,1=LABEL_1"
    opt.option(parser, "--label_aliases", opt.comma_list, None, meaning, shown_default=_AS_BEFORE)


def with_columns(task: _T, args: argparse.Namespace) -> _T:
    """The task with the columns that the options name.

    Raises:
        UserError: the task has no such columns, or another number of them.
    """
    given = {name: value for name in _OPTIONS if (value := getattr(args, name, None)) is not None}
    for name in given:
        if not hasattr(task, name):
            raise UserError(f"--{name} has no meaning here: the model's task has no such setting")
        if name == "text_b" and getattr(task, name) is None:
            raise UserError(f"--{name} has no meaning here: the model was trained without it")
    given = {name: _converted(task, name, value) for name, value in given.items()}
    for name in ("choices", "spans"):
        if name in given and len(given[name]) != len(trained := getattr(task, name)):
            raise UserError(f"--{name} names {len(given[name])}, but the model was trained with {len(trained)}")
    return dataclasses.replace(task, **given) if given else task  # type: ignore[type-var]


def format_for(task: Any, given: str, path: str) -> str:
    """The format of a table: as `--format` says; where that is "auto", the task's own, but for a TSV or CSV by name."""
    nested: str | None = getattr(task, "nested", None)
    flat = Path(path.removesuffix(".gz")).suffix.lower() in (".tsv", ".csv", ".txt")
    return given if given != "auto" or nested is None or flat else nested


def _converted(task: Any, name: str, value: Any) -> Any:
    """The value of an option as the task has it; further names of labels are added to those that it knows."""
    if name == "label_aliases":
        from ernie_paddle.finetune.tasks.classification import parse_alias

        return (*task.label_aliases, *map(parse_alias, value))
    if name == "spans":
        from ernie_paddle.finetune.tasks.span_classification import parse_spans

        return parse_spans(value)
    return tuple(value) if isinstance(value, list) else value
