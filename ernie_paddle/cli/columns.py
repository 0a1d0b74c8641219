"""Options of verbs that read a table like the training table but with other column names."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from ernie_paddle.cli import options as opt
from ernie_paddle.finetune.options import elsewhere_options
from ernie_paddle.option_kinds import names_of

_AS_BEFORE = "as in training"


def add_column_options(parser: argparse.ArgumentParser, labels: bool) -> None:
    """Declare the options for differences from the training table; with `labels` also those about labels."""
    for option in elsewhere_options(labels):
        assert option.elsewhere is not None
        here = replace(option, default=None, meaning=option.elsewhere, shown_default=_AS_BEFORE)
        if option.choices:
            here = replace(here, choices=tuple(choice for choice in option.choices if choice != "auto"))
        opt.declare(parser, here)


def given_columns(args: argparse.Namespace, labels: bool) -> dict[str, Any]:
    """The values of the column options."""
    return {name: getattr(args, name) for name in names_of(elsewhere_options(labels))}
