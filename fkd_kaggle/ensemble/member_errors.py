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
    """Pixels, weighted by query counts; None if no queried keypoint of a held-out face is both
    labelled and predicted."""
    reference: float | None
    """Pixels; the mean face on the keypoints that the member predicts; None where ``rmse`` is."""
    is_numeric: bool = True
    """Whether the member has any finite prediction; a diverged network has none. True for a member
    without held-out faces."""

    @property
    def is_excluded(self) -> bool:
        """Return whether the member is worse than the mean face, or has no finite prediction."""
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
        (N,) uint8, annotator of each face: 0 complete, 1 partial.
    query_counts
        (2, 15) numbers of queries by annotator and keypoint.

    Returns
    -------
    Score
        The errors on the same keypoints; see ``Score`` for members without an error.
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
    """Return mean squared errors by annotator and keypoint.

    Parameters
    ----------
    predictions, labels
        (n, 15, 2) pixels, NaN where unknown.
    annotators
        (n,) uint8, annotator of each face: 0 complete, 1 partial.

    Returns
    -------
    numpy.ndarray
        (2, 15) float64 square pixels; NaN where no face of the annotator has both a label and a
        prediction of the keypoint.
    """
    squares = np.square(predictions.astype(np.float64) - labels)
    return np.stack(
        [metrics.masked_means(squares[annotators == one], (0, 2)) for one in range(len(ANNOTATORS))]
    )


def stack_by_recipe(
    members: Sequence[HeldOutPredictions], recipes: Sequence[str], count: int
) -> np.ndarray:
    """Return each recipe's out-of-fold predictions, averaged over its seeds.

    Coordinates are averaged one by one over the seeds whose prediction is finite.

    Parameters
    ----------
    members
        The members to average, all of the R recipes.
    recipes
        Names of R recipes.
    count
        Number of training faces N.

    Returns
    -------
    numpy.ndarray
        (R, N, 15, 2) float32 pixels; NaN for faces that no member of the recipe held out, for
        keypoints that the recipe does not predict, and where no seed has a finite prediction.
    """
    shape = (count, NUM_KEYPOINTS, 2)
    result = np.full((len(recipes), *shape), np.nan, np.float32)
    for index, recipe in enumerate(recipes):
        own = ((one.rows, one.predictions) for one in members if one.recipe == recipe)
        result[index] = metrics.means_by_row(own, shape)
    return result
