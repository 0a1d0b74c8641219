"""Checks that the data yields labels: an objective without labels has a loss of 0, which looks like success."""

from __future__ import annotations

from ernie_paddle.pretraining.batches.step_reader import StepReader
from propeller.errors import UserError
from reader.report import SkipReport

FIRST_BATCHES = 16
"""Number of batches examined before a task is refused because an objective finds no labels."""


def require_labels(reader: StepReader, batches: int = FIRST_BATCHES) -> None:
    """Refuse a task if one of its objectives has no label in the first batches.

    Args:
        reader: The reader of the task.
        batches: Number of batches to examine.

    Raises:
        UserError: An objective has no label; the message names the objective and its skipped samples.
    """
    missing, skipped = _unlabelled(reader, batches)
    if not missing:
        return
    name = missing[0]
    reasons = [f"{n} × {reason}" for reason, n in skipped.counts.items() if reason.startswith(f"{name}: ")]
    counted = f" ({'; '.join(reasons)})" if reasons else ""
    raise UserError(
        f"task {reader.task!r}: {name} finds nothing to label in the first {batches} batches of "
        f"{', '.join(reader.data.paths)}{counted}; give it other text, or take it out of the recipe"
    )


def require_evaluation(reader: StepReader, batches: int) -> None:
    """Refuse a task that has no label in the batches of held-out text on which it will be evaluated.

    Args:
        reader: The reader of the held-out text.
        batches: Number of batches of an evaluation.

    Raises:
        UserError: An objective has no label; the message names the task and the objective.
    """
    missing, _ = _unlabelled(reader, batches)
    if len(missing) == len(reader.objectives):
        raise UserError(
            f"task {reader.task!r}: {', '.join(missing)} cannot be evaluated: nothing to label in the held-out text of "
            f"{', '.join(reader.data.paths)}; prepare the corpus with a larger --heldout, or with other text"
        )


def _unlabelled(reader: StepReader, batches: int) -> tuple[list[str], SkipReport]:
    """The objectives without a label in the first batches, and what was skipped; stops once all have labels."""
    inputs = {each.name: [item for item in each.inputs if item.ignore is not None] for each in reader.objectives}
    skipped = SkipReport()
    for number in range(batches):
        # Uses the micro-batches of a single process, to examine a small part of a batch at a time.
        parts = reader.micro_batches(number, 1)
        for part in range(parts):
            step = reader.step(number, part, parts)
            skipped.merge(step.skipped)
            found = {
                name
                for name, items in inputs.items()
                if any(item.count(feeds[item.name]) for item in items for feeds in step.micro_batches)
            }
            inputs = {name: items for name, items in inputs.items() if name not in found}
            if not inputs:
                return [], skipped
    return list(inputs), skipped
