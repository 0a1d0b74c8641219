"""The final report of unusable rows, for verbs that do not stop at them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_SHOWN = 5


def report_problems(verb: str, problems: Sequence[tuple[int, str]], rows: int, place: str, found: str) -> None:
    """Report the first unusable rows and the number of others on stderr; nothing if there are none.

    Args:
        verb: Name of the verb.
        problems: (number, reason) of unusable rows.
        rows: Total number of rows.
        place: Unit that the numbers count, such as line.
        found: Where the output shows these rows.
    """
    if not problems:
        return
    lines = [f"ernie {verb}: {len(problems)} of {rows} rows could not be used ({found}):"]
    lines += [f"  {place} {number}: {reason}" for number, reason in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  and {len(problems) - _SHOWN} more")
    print("\n".join(lines), file=sys.stderr)
