"""The calibration of expected errors: how the flip disagreement of a face tells its error.

The predictions for a face and for its mirror image disagree more where they are wrong. How much
more is measured for each run on its training faces: the flip disagreement of the networks that did
not see a face, against the error of the out-of-fold prediction for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.keypoints import ANNOTATORS
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.calibration import Calibration
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.predictions import load_flip_disagreement
from fkd_kaggle.runs.scores import Scores

_BINS: Final = 10

_MIN_LABELS: Final = 4


def calibrate_run(
    run: Run, members: Sequence[Member], training: Faces, predictions: np.ndarray, scores: Scores
) -> Calibration | None:
    """Return the calibration of a run from what its members stored with their predictions.

    Parameters
    ----------
    run
        The run.
    members
        Its blended members.
    training
        The N training faces.
    predictions
        (N, 15, 2) pixels, out-of-fold predictions of the blend; NaN where unknown.
    scores
        The scores of the blend.

    Returns
    -------
    None if no member stored flip disagreements, or there are too few labelled faces.
    """
    count = len(training.images)
    total, times = np.zeros(count), np.zeros(count)
    for member in members:
        stored = load_flip_disagreement(run, [member], count)
        rows = member.recipe.rows
        trained = np.array([rows in ("all", ANNOTATORS[code]) for code in training.annotators])
        used = np.isfinite(stored) & trained
        total[used] += np.square(stored[used])
        times += used
    known = times > 0
    disagreement = np.where(known, np.sqrt(total / np.maximum(times, 1)), np.nan)
    return fit_calibration(disagreement, predictions, training, scores)


def fit_calibration(
    disagreement: np.ndarray, predictions: np.ndarray, training: Faces, scores: Scores | None
) -> Calibration | None:
    """Return the calibration from the disagreements and predictions of training faces.

    Parameters
    ----------
    disagreement
        (N,) float64 pixels, flip disagreement of the networks that did not see the face; NaN where
        unknown.
    predictions
        (N, 15, 2) pixels, out of fold; NaN where unknown.
    training
        The N training faces.
    scores
        The scores of the run; None if unknown.

    Returns
    -------
    None if there are too few labelled faces.
    """
    squared = np.square(predictions.astype(np.float64) - training.keypoints)
    squared = squared.reshape(len(predictions), -1)
    usable = np.isfinite(disagreement) & (np.isfinite(squared).sum(1) >= 2 * _MIN_LABELS)
    if usable.sum() < 2 * _BINS:
        return None
    disagreement, errors = disagreement[usable], np.nanmean(squared[usable], axis=1)
    order = np.argsort(disagreement, kind="stable")
    bins = np.array_split(order, _BINS)
    centres = np.array([disagreement[rows].mean() for rows in bins])
    means = np.array([errors[rows].mean() for rows in bins])
    rmse = np.sqrt(IsotonicRegression().fit_transform(centres, means))
    return Calibration(
        tuple(round(float(value), 4) for value in centres),
        tuple(round(float(value), 4) for value in rmse),
        len(order),
        round(_ensemble_gain(scores), 4),
        round(float(spearmanr(disagreement, errors).statistic), 3),
    )


def _ensemble_gain(scores: Scores | None) -> float:
    """Return the expected error of the ensemble over its out-of-fold error; 1 if unknown."""
    if scores is None or not scores.combined or not scores.expected:
        return 1.0
    return min(1.0, scores.expected / scores.combined)
