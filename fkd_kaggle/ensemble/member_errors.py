"""Errors of single members on their held-out faces, and which members the blend excludes.

Pure array computation without networks and files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fkd_kaggle.data import metrics
from fkd_kaggle.keypoints import ANNOTATORS, NUM_KEYPOINTS


@dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions of one member for the faces that it was not trained on."""

    name: str
    """Name of the member."""
    recipe: str
    """Name of its recipe."""
    rows: np.ndarray
    """(n,) int64, rows of the held-out faces among the N training faces."""
    predictions: np.ndarray
    """(n, 15, 2) float32 pixels; NaN for keypoints that the member does not predict."""

    def spread(self, count: int) -> np.ndarray:
        """Return the predictions in an array of ``count`` faces, NaN for the other faces."""
        result = np.full((count, NUM_KEYPOINTS, 2), np.nan, np.float32)
        result[self.rows] = self.predictions
        return result


@dataclass(frozen=True)
class Score:
    """RMSE of a member on its held-out faces, and of the mean face on the same keypoints."""

    rmse: float | None
    """Pixels, weighted by query counts; None without labels."""
    reference: float | None
    """Pixels; the mean face on the keypoints that the member predicts."""
    is_numeric: bool = True
    """Whether the member predicts any numbers; a diverged network does not."""

    @property
    def is_excluded(self) -> bool:
        """Return whether the member is worse than the mean face, or predicts no numbers."""
        if self.rmse is None or self.reference is None:
            return not self.is_numeric
        return self.rmse > self.reference


def score_member(
    member: HeldOutPredictions,
    constant: np.ndarray,
    labels: np.ndarray,
    annotators: np.ndarray,
    query_counts: np.ndarray,
) -> Score:
    """Score a member and the mean face on the member's held-out faces.

    Parameters
    ----------
    member
        The member.
    constant
        (N, 15, 2) float32 pixels, from ``reference.predict_mean_face``.
    labels
        (N, 15, 2) float32 pixels, NaN where missing.
    annotators
        (N,) uint8, annotator of each face.
    query_counts
        (2, 15) numbers of queries by annotator and keypoint.
    """
    rows = member.rows
    known = np.isfinite(member.predictions)
    same = np.where(known, constant[rows], np.nan)
    own, reference = (
        metrics.combined_rmse(values, labels[rows], annotators[rows], query_counts)
        for values in (member.predictions, same)
    )
    return Score(own, reference, bool(known.any()) or not len(rows))


def mean_squares(predictions: np.ndarray, labels: np.ndarray, annotators: np.ndarray) -> np.ndarray:
    """Return (2, 15) float64 mean squared errors by annotator and keypoint; NaN where unknown.

    Parameters
    ----------
    predictions, labels
        (n, 15, 2) pixels, NaN where unknown.
    annotators
        (n,) uint8, annotator of each face.
    """
    squares = np.square(predictions.astype(np.float64) - labels)
    return np.stack(
        [metrics.masked_means(squares[annotators == one], (0, 2)) for one in range(len(ANNOTATORS))]
    )


def stack_by_recipe(
    members: Sequence[HeldOutPredictions], recipes: Sequence[str], count: int
) -> np.ndarray:
    """Return each recipe's out-of-fold predictions, averaged over its seeds.

    Parameters
    ----------
    members
        The members to average.
    recipes
        Names of R recipes.
    count
        Number of training faces N.

    Returns
    -------
    numpy.ndarray
        (R, N, 15, 2) float32 pixels; NaN for faces that no member held out.
    """
    total = np.zeros((len(recipes), count, NUM_KEYPOINTS, 2), np.float64)
    times = np.zeros((len(recipes), count, 1, 1))
    for member in members:
        index = recipes.index(member.recipe)
        total[index, member.rows] += member.predictions
        times[index, member.rows] += 1
    return np.where(times > 0, total / np.maximum(times, 1), np.nan).astype(np.float32)
