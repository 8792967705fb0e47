"""Cross-validated scores of a run, as run.json stores them.

This module defines the values; ``ensemble.fitting`` computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fkd_kaggle.formatting import format_pixels

MIN_GAIN = 0.005
"""Pixels by which a run must be better than the mean face."""

PublishedMetrics = dict[str, dict[str, dict[str, float | None]]]
"""Values by recipe, metric and set of faces; see ``Scores.published_metrics``."""


@dataclass(frozen=True)
class Scores:
    """Cross-validated root mean squared errors in pixels; None if no face was held out."""

    complete: float | None
    """RMSE on rows of the complete annotator."""
    partial: float | None
    """RMSE on rows of the partial annotator."""
    combined: float | None
    """RMSE on all rows, weighted by the query counts of the lookup table."""
    expected: float | None
    """Expected score on the leaderboard: ``combined`` less the gain of averaging over folds."""
    by_member: dict[str, float]
    """Combined RMSE of each recipe alone, by the recipe's name."""
    published_metrics: PublishedMetrics = field(default_factory=dict)
    """Values by recipe and metric (see ``data.metrics``): "held_out" on held-out faces,
    "unseen_copies" on augmented copies of them and "copies" on copies of training faces, both only
    for recipes with offline augmentation before the split, and "published", the reported value."""
    reference: float | None = None
    """RMSE of the mean face, a constant predictor, on the scored faces; None in runs of earlier
    versions."""
    members: dict[str, float] = field(default_factory=dict)
    """Combined RMSE of each member on its held-out faces, by the member's name."""
    excluded: tuple[str, ...] = ()
    """Names of members that the blend excludes, because the mean face is better or because no
    prediction is finite."""
    own_weights: bool = False
    """Whether each member has its own weight, because the members differ much in quality."""
    expected_unknown: str = ""
    """Why there is no expected score."""

    @property
    def best(self) -> float | None:
        """Return the best estimate of the leaderboard score: ``expected``, or else ``combined``."""
        return self.combined if self.expected is None else self.expected

    @property
    def is_constant(self) -> bool:
        """Return whether the run is not better than the mean face, as far as known."""
        if self.members and len(self.excluded) == len(self.members):
            return True
        if self.combined is None or self.reference is None:
            return False
        best = min(self.combined, self.combined if self.expected is None else self.expected)
        return best >= self.reference - MIN_GAIN


NO_SCORES = Scores(None, None, None, None, {})
"""Scores of a run that was not blended."""


def scores_from_dict(values: Mapping[str, Any]) -> Scores:
    """Return scores from the dictionary in run.json; version 0.1.0 wrote "own".

    Raises
    ------
    TypeError
        A key is missing or unknown, or a score is not a number.
    AttributeError
        A value is not an object.
    """
    renamed = {"own": "published_metrics"}
    named = {renamed.get(key, key): value for key, value in values.items()}
    if "excluded" in named:
        named["excluded"] = tuple(str(name) for name in named["excluded"])
    scores = Scores(**named)
    numbers = [scores.complete, scores.partial, scores.combined, scores.expected, scores.reference]
    numbers += [*scores.by_member.values(), *scores.members.values()]
    for metrics in scores.published_metrics.values():
        for faces in metrics.values():
            numbers += faces.values()
    if not all(value is None or isinstance(value, int | float) for value in numbers):
        raise TypeError("a score is not a number")
    return scores


def score_notes(scores: Scores) -> list[str]:
    """Return what the user must know about a run's scores, one line each."""
    notes = []
    if scores.is_constant:
        notes.append(constant_warning(scores))
    if scores.excluded:
        names = ", ".join(
            f"{name} ({format_pixels(scores.members.get(name))} px)" for name in scores.excluded
        )
        notes.append(f"not used, because the mean face is better: {names}")
    if scores.own_weights:
        notes.append(
            "the networks differ much in quality: each has its own weight in the prediction"
        )
    if scores.expected_unknown:
        notes.append(f"no expected score: {scores.expected_unknown}")
    return notes


def constant_warning(scores: Scores) -> str:
    """Return the line about a run that is not better than a constant predictor."""
    return (
        "not better than predicting the mean face for every face "
        f"({format_pixels(scores.best)} px, mean face {format_pixels(scores.reference)} px)"
    )
