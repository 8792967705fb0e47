"""Cross-validated scores of a run, as run.json stores them.

This module defines the values; ``ensemble.fitting`` computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    scores = Scores(**{renamed.get(key, key): value for key, value in values.items()})
    numbers = [scores.complete, scores.partial, scores.combined, scores.expected]
    numbers += scores.by_member.values()
    for metrics in scores.published_metrics.values():
        for faces in metrics.values():
            numbers += faces.values()
    if not all(value is None or isinstance(value, int | float) for value in numbers):
        raise TypeError("a score is not a number")
    return scores
