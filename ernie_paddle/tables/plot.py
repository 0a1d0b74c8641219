"""The plot of forgetting: every task's held-out loss over the steps, a panel per task, a line per method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from ernie_paddle.pretraining.recipe import JOINED
from ernie_paddle.tables.figures import Figure, Figures
from ernie_paddle.tables.plan import TableRun

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_PANEL = (4.6, 3.1)


def draw(figures: Figures, png: Path) -> Path | None:
    """Draw the curves into a PNG file; None if there is nothing to draw.

    Shows means over the seeds with a band of one standard deviation. A task is drawn from the stage that introduces it.
    The strips below show which tasks each method trains at which steps.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    rows = [name for name, row in figures.plan.table.rows.items() if row.recipe and _stages(figures, name)]
    tasks = figures.tasks()
    if not rows or not tasks:
        return None
    wide = min(2, len(tasks))
    high = -(-len(tasks) // wide)
    strip = 0.24 * len(tasks) + 0.5
    canvas = Canvas(figsize=(_PANEL[0] * wide, _PANEL[1] * high + strip), dpi=140, layout="constrained")
    FigureCanvasAgg(canvas)
    parts: Any = canvas.subfigures(2, 1, height_ratios=[_PANEL[1] * high, strip])
    above, below = parts
    panels = above.subplots(high, wide, squeeze=False).flatten()
    for axes, task in zip(panels, tasks, strict=False):
        _panel(axes, figures, rows, task)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    titles = [figures.plan.table.rows[row].title for row in rows]
    handles = [panels[0].plot([], [], color=_colour(i), linewidth=2)[0] for i in range(len(rows))]
    above.legend(handles, titles, loc="outside upper center", ncols=len(rows), frameon=False)
    for axes, row in zip(below.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        _strip(axes, figures, row, tasks, _colour(rows.index(row)), first=row == rows[0])
    png.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(png)
    return png


def _panel(axes: Any, figures: Figures, rows: Sequence[str], task: str) -> None:
    for number, row in enumerate(rows):
        first = _introduced(_stages(figures, row), task)
        values: dict[int, list[float]] = defaultdict(list)
        for seed in figures.plan.seeds:
            for step, value in figures.curve(row, seed, task, "loss"):
                if step > first:
                    values[step].append(value)
        found = {step: figure for step, at_step in sorted(values.items()) if (figure := Figure.of(at_step))}
        steps, means = list(found), [figure.mean for figure in found.values()]
        spreads = [figure.spread or 0.0 for figure in found.values()]
        axes.plot(steps, means, "o-", color=_colour(number), markersize=2.8, linewidth=1.6)
        band = [[mean + sign * spread for mean, spread in zip(means, spreads, strict=True)] for sign in (-1, 1)]
        axes.fill_between(steps, *band, color=_colour(number), alpha=0.18, linewidth=0)
    axes.set_title(task.replace("_", " "), fontsize=11)
    axes.set_ylabel("held-out loss", fontsize=9)
    axes.set_xlabel("step", fontsize=9)
    axes.set_xlim(0, max(sum(map(sum, (stage.values() for stage in _stages(figures, row)))) for row in rows))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _strip(axes: Any, figures: Figures, row: str, tasks: Sequence[str], colour: str, *, first: bool) -> None:
    """Bars for the stages that train a task; darker bars have a larger share of the stage."""
    stages = _stages(figures, row)
    ends = list(accumulate(sum(stage.values()) for stage in stages))
    for stage, end in zip(stages, ends, strict=True):
        total = sum(stage.values())
        for line, task in enumerate(tasks):
            share = _steps_of(stage, task) / total
            if share:
                alpha = 0.25 + 0.75 * share
                axes.barh(line, total, left=end - total, height=0.8, color=colour, alpha=alpha, edgecolor="white")
    axes.set_yticks(range(len(tasks)), [task.replace("_", " ") for task in tasks] if first else [])
    axes.set_ylim(len(tasks) - 0.4, -0.6)
    axes.set_xlim(0, ends[-1])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(labelsize=8, left=False)
    axes.set_xlabel("trained at step", fontsize=8)


def _stages(figures: Figures, row: str) -> list[dict[str, int]]:
    """The stages of a row, from the first seed that has them; an empty list if none has."""
    runs = [figures.results.get(TableRun(row, seed, None)) for seed in figures.plan.seeds]
    return next((list(result["stages"]) for result in runs if result), [])


def _steps_of(stage: dict[str, int], task: str) -> int:
    """Steps of a stage that train a task, alone or in a sum."""
    return sum(steps for name, steps in stage.items() if task in name.split(JOINED))


def _introduced(stages: Sequence[dict[str, int]], task: str) -> int:
    """Steps before the stage that introduces a task."""
    ends = [0, *accumulate(sum(stage.values()) for stage in stages)]
    return next((ends[number] for number, stage in enumerate(stages) if _steps_of(stage, task)), ends[-1])


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
