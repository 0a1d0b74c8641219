"""The final report of a fine-tuning run or evaluation."""

from __future__ import annotations

from collections.abc import Sequence

RESULTS = "results.json"
"""File in the folder of a finished run, with the metrics of its best checkpoint and their data."""


def left_out_line(source: str, problems: Sequence[tuple[int, str]], counted: str) -> str | None:
    """The number of unusable examples that were skipped, and the reason of the first; None without any.

    Args:
        source: Name of the file.
        problems: (number, reason) of unusable examples.
        counted: Unit that the numbers count.
    """
    if not problems:
        return None
    number, reason = problems[0]
    return f"{source}: {len(problems):,} unusable entries skipped, the first in {counted} {number}: {reason}"


def result_table(rows: dict[str, dict[str, float]]) -> str:
    """Format metrics as columns, one line per named row; a missing metric is shown as a dash."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    width = max(map(len, rows)) + 2
    wide = {name: max(10, len(name) + 2) for name in names}
    lines = [" " * width + "".join(f"{name:>{wide[name]}}" for name in names)]
    for title, row in rows.items():
        cells = (f"{row[name]:>{wide[name]}.4f}" if name in row else f"{'-':>{wide[name]}}" for name in names)
        lines.append(f"{title:<{width}}" + "".join(cells))
    return "\n".join(lines)
