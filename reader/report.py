"""The report of skipped input: how much was skipped, why and where."""

from __future__ import annotations

from typing import Any

_PLACES_KEPT = 5


def printable(text: str) -> str:
    """The text in a form that any UTF-8 stream accepts: bytes of a file name that is not UTF-8 become `\\udc…`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class SkipReport:
    """Counts of skipped items by reason, with the first few places of each reason.

    Reports of several workers are merged in the order of the text, so that the merged report is independent of timing.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}

    def add(self, reason: str, where: str) -> None:
        """Counts one skipped item; `where` is `file:line`, or the most precise place that is known."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        places = self.places.setdefault(reason, [])
        where = printable(where)
        if len(places) < _PLACES_KEPT and where not in places:
            places.append(where)

    def merge(self, other: SkipReport) -> None:
        """Adds the counts of `other`; its places follow those of this report."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            places = self.places.setdefault(reason, [])
            new = [place for place in other.places[reason] if place not in places]
            places.extend(new[: _PLACES_KEPT - len(places)])

    @property
    def total(self) -> int:
        """Number of all skipped items."""
        return sum(self.counts.values())

    def lines(self) -> list[str]:
        """One line per reason, the most frequent first: `12 × reason (file:3, file:9, …)`."""
        result = []
        for reason, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0])):
            places = self.places[reason]
            more = ", …" if count > len(places) else ""
            result.append(f"{count} × {reason} ({', '.join(places)}{more})")
        return result

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy, which `from_dict` reads back."""
        return {reason: {"count": count, "places": list(self.places[reason])} for reason, count in self.counts.items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SkipReport:
        """The report that `to_dict` wrote."""
        report = cls()
        for reason, entry in data.items():
            report.counts[reason] = int(entry["count"])
            report.places[reason] = [str(place) for place in entry["places"]][:_PLACES_KEPT]
        return report
