"""Photos, faces and rows of an input that are not used, and the most relevant reasons first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Relevance(IntEnum):
    """How near an input was to being used; the nearest is reported first."""

    FACE = 0
    """A usable face whose photo is missing or does not fit."""
    SHAPE = 1
    """A shape that is no face."""
    EMPTY = 2
    """A photo without an annotation."""


@dataclass(frozen=True)
class SkippedInput:
    """A photo, face or row of the input that is not used."""

    name: str
    """The photo's name, or the position in the file."""
    reason: str
    """Why it is not used."""
    relevance: Relevance = Relevance.FACE

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def by_relevance(skipped: Iterable[SkippedInput]) -> list[SkippedInput]:
    """Return inputs with the most relevant first; equal ones keep their order."""
    return sorted(skipped, key=lambda item: item.relevance)


def summarize_reasons(skipped: Iterable[SkippedInput]) -> str:
    """Return the three most relevant reasons as text, each with its first input and a count."""
    groups: dict[tuple[Relevance, str], list[SkippedInput]] = {}
    for item in skipped:
        groups.setdefault((item.relevance, item.reason), []).append(item)
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], -len(group[1])))
    shown = [
        str(items[0]) + (f" (and {len(items) - 1} more)" if len(items) > 1 else "")
        for _, items in ordered[:3]
    ]
    if len(ordered) > 3:
        shown.append(f"{len(ordered) - 3} further reasons")
    return "; ".join(shown)
