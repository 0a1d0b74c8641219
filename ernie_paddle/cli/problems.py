"""How verbs that go on after an unusable row report such rows in the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_SHOWN = 5


def report_problems(verb: str, problems: Sequence[tuple[int, str]], rows: int, place: str, found: str) -> None:
    """Name the first unusable rows on stderr, and count the others; nothing where there are none.

    Args:
        verb: that reports.
        problems: (number, reason) of the unusable rows.
        rows: how many there are in all.
        place: what the numbers count, such as line.
        found: where the outcome shows them.
    """
    if not problems:
        return
    lines = [f"ernie {verb}: {len(problems)} of {rows} rows could not be used ({found}):"]
    lines += [f"  {place} {number}: {reason}" for number, reason in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  and {len(problems) - _SHOWN} more")
    print("\n".join(lines), file=sys.stderr)
