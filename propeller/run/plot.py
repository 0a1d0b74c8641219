"""A plot of a run's loss curves, made from its JSON log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from propeller.run.hooks.jsonl import read_log

Curve = list[tuple[int, float]]


def curves(log: Path) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """(losses of the steps by term, evaluations' losses by name) of a log, each as (step, value) pairs.

    The trained loss is called "loss", and the loss of a term has the name of the term. Values that are not finite are
    skipped.
    """
    steps: dict[str, Curve] = defaultdict(list)
    evaluations: dict[str, Curve] = defaultdict(list)
    for line in read_log(log):
        step = int(line.get("step", 0))
        if line.get("kind") == "step":
            for name, value in {"loss": line["loss"], **line.get("losses", {})}.items():
                if isinstance(value, int | float):
                    steps[name].append((step, float(value)))
        elif line.get("kind") == "eval":
            for name, value in line.get("metrics", {}).items():
                if name.endswith("loss") and isinstance(value, int | float):
                    evaluations[f"{line['name']} {name}"].append((step, float(value)))
    return dict(steps), dict(evaluations)


def smooth(curve: Curve, window: int) -> Curve:
    """Means over the last `window` points (over fewer at the start)."""
    smoothed: Curve = []
    total = 0.0
    for index, (step, value) in enumerate(curve):
        total += value - (curve[index - window][1] if index >= window else 0.0)
        smoothed.append((step, total / min(window, index + 1)))
    return smoothed


def plot(logs: Mapping[str, Path], png: Path, *, title: str = "", window: int = 20) -> Path:
    """Draw the loss curves of one or several logs (label → file) into a PNG file and return its path.

    Steps are smoothed over `window` points; evaluations are drawn with their points. With several logs the label
    comes before the name of each curve.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for label, log in logs.items():
        before = f"{label}: " if len(logs) > 1 else ""
        steps, evaluations = curves(log)
        if len(steps) == 2:  # one term alone is the loss itself, up to its weight
            steps = {name: curve for name, curve in steps.items() if name != "loss"}
        for name, curve in steps.items():
            points = smooth(curve, window)
            axes.plot([x for x, _ in points], [y for _, y in points], label=f"{before}{name}", linewidth=1.2)
        for name, curve in evaluations.items():
            axes.plot([x for x, _ in curve], [y for _, y in curve], "o--", label=f"{before}{name}", markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    if title:
        axes.set_title(title)
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(fontsize=8)
    figure.tight_layout()
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png)
    return png
