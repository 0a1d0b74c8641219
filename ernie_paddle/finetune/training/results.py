"""What a fine-tuning run and an evaluation show in the end."""

from __future__ import annotations

from collections.abc import Sequence

RESULTS = "results.json"
"""File in the folder of a finished run: the metrics of its best checkpoint, and what they are of."""


def left_out_line(source: str, problems: Sequence[tuple[int, str]], counted: str) -> str | None:
    """How many unusable examples a file was read without, and why the first; None where there are none.

    Args:
        source: name of the file.
        problems: (number, reason) of the unusable examples.
        counted: what the numbers count.
    """
    if not problems:
        return None
    number, reason = problems[0]
    return f"{source}: {len(problems):,} unusable left out, the first in {counted} {number}: {reason}"


def result_table(rows: dict[str, dict[str, float]]) -> str:
    """Metrics as columns, one line for each named row; a metric that a row lacks is shown as a dash."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    width = max(map(len, rows)) + 2
    wide = {name: max(10, len(name) + 2) for name in names}
    lines = [" " * width + "".join(f"{name:>{wide[name]}}" for name in names)]
    for title, row in rows.items():
        cells = (f"{row[name]:>{wide[name]}.4f}" if name in row else f"{'-':>{wide[name]}}" for name in names)
        lines.append(f"{title:<{width}}" + "".join(cells))
    return "\n".join(lines)
