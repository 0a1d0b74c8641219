"""The inputs of a suite's command: available tasks, model, changed options, devices."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.benchmarks.suite import recipe_size, size_of
from ernie_paddle.benchmarks.vocabulary import train_vocabulary
from ernie_paddle.finetune.options import options_of
from ernie_paddle.finetune.task_type import TASK_TYPES
from propeller.errors import UserError
from propeller.settings import unknown_name

# fmt: off
_OWN_OPTIONS = {
    "task", "data_dir", "recipe", "train", "dev", "type", "metric",
    "model", "size", "vocab", "seed", "output", "overwrite", "no_overwrite",
}
# fmt: on
"""Options of `ernie finetune` that a suite sets for every run."""


@dataclass(frozen=True)
class StartingPoint:
    """The starting point of all runs.

    Attributes:
        options: Options of `ernie finetune`.
        identity: Identifies the starting point.
        size: Size whose recipes are used.
        title: Description for the report.
        has_task_ids: Whether the model has task embeddings.
    """

    options: Mapping[str, Any]
    identity: str
    size: str
    title: str
    has_task_ids: bool


def present_tasks(wanted: Sequence[Benchmark], data_dir: Path | None, suite: str) -> tuple[list[Benchmark], list[str]]:
    """The tasks whose files exist, and the missing files of the others, which are also printed.

    Raises:
        UserError: No task has its files.
    """
    if data_dir is None or not data_dir.is_dir():
        given = "no --data_dir given" if data_dir is None else f"--data_dir {data_dir}: no such folder"
        print(f"{suite} needs a folder with these files (each may be compressed as .gz)", file=sys.stderr)
        for task in wanted:
            print(f"  {task.name}: {task.folders[0]}/ with {task.layout()}", file=sys.stderr)
        raise UserError(f"{given}; give the folder with these files")
    found, left_out = [], []
    for task in wanted:
        try:
            task.tables(data_dir)
            found.append(task)
        except UserError as error:
            left_out.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
    if not found:
        raise UserError(f"--data_dir {data_dir} has no complete task of {suite} (the missing files are listed above)")
    return found, left_out


def starting_model(model: Path, size: str | None) -> StartingPoint:
    """Start from a checkpoint or released weights, with the recipes of `size`, or of the model's size.

    Raises:
        UserError: The model cannot be used.
    """
    from ernie_paddle.finetune.training.start import model_identity

    config, identity = model_identity(model)
    size = recipe_size(size) if size else size_of(config)
    print(f"recipes for size {size}, from {model}", file=sys.stderr)
    return StartingPoint({"model": model}, identity, size, f"`{model}`", bool(config.use_task_id))


def random_start(
    size: str, vocab: Path | None, tasks: Iterable[Benchmark], data_dir: Path, output: Path
) -> StartingPoint:
    """Start from random weights, with a warning; without a vocabulary, one is trained on the available tasks' text.

    Raises:
        UserError: There is no such size, or `output` has a vocabulary of another text.
        DataError: There is no such vocabulary, or a table cannot be read.
    """
    from ernie_paddle.finetune.training.start import architecture
    from reader.tokenizers.load import load_tokenizer

    suits, has_task_ids = recipe_size(size), architecture(size).use_task_id
    print(
        f"WARNING: no --model given: every run starts from RANDOM weights of size {size!r}; they are not pre-trained, "
        "so the figures only show that the commands work",
        file=sys.stderr,
    )
    if vocab is None:
        vocab = train_vocabulary(output, tasks, data_dir, suits)
    identity = f"random:{size}:{load_tokenizer(vocab).vocab.sha256[:16]}"
    options = {"size": size, "vocab": vocab}
    return StartingPoint(options, identity, suits, f"RANDOM weights of size `{size}`", has_task_ids)


def recipe_changes(given: Sequence[str]) -> dict[str, Any]:
    """The options that `--set` replaces.

    Raises:
        UserError: A setting is not written as name=value, the option does not exist or is set by the suite, or the
            value is invalid.
    """
    known = {
        option.name: option for type in TASK_TYPES for option in options_of(type) if option.name not in _OWN_OPTIONS
    }
    changes: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: write it as name=value, for example epochs=1")
        if name in _OWN_OPTIONS:
            raise UserError(f"--set {text}: the suite sets {name} for every run; remove the option")
        if name not in known:
            raise unknown_name("option of `ernie finetune`", name, known, "--set")
        try:
            changes[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {text}: {value!r} is not a value") from None
        tried = changes[name] if isinstance(changes[name], list) else [changes[name]]
        if not tried:
            raise UserError(f"--set {text}: the list is empty")
        for one in tried:
            if one is not None:  # None removes the option from the recipes
                known[name].read(one, "--set ")
    return changes


def task_devices(gpus: str | None) -> list[Mapping[str, str]]:
    """Environment variables for each device; a device runs one task at a time.

    Raises:
        UserError: A device is not visible.
    """
    from propeller.device.runtime import installed_wheels
    from propeller.tools.fleetrun import expand_devices, visible_gpus

    visible = visible_gpus(os.environ) if "paddlepaddle-gpu" in installed_wheels() else []
    chosen = visible if gpus is None else expand_devices(gpus)
    absent = [device for device in chosen if device not in visible]
    if absent:
        raise UserError(f"--gpus {gpus}: device {absent[0]} is not visible; visible: {', '.join(visible) or 'none'}")
    return [{"CUDA_VISIBLE_DEVICES": device} for device in chosen] or [{}]
