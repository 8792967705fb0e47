"""Which part of the differences between members' errors is chance.

The members of a recipe are scored on different faces, each on those of its own fold, and some folds
are harder than others. Differences that the choice of faces explains say nothing about the members.
Each error is therefore pulled towards the mean of its recipe by the share of the variance that the
faces explain, as in a random-effects analysis (DerSimonian and Laird 1986) with empirical Bayes
estimates (Efron and Morris 1975), on the logarithms of the mean squared errors.

Pure array computation without networks and files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble.member_errors import HeldOutPredictions
from fkd_kaggle.keypoints import ANNOTATORS

_DESIGN: Final = 2.0
"""Factor of the variance, because near-duplicates in a fold have similar errors."""


def pool_errors(
    errors: np.ndarray,
    members: Sequence[HeldOutPredictions],
    training: Faces,
    query_counts: np.ndarray,
) -> np.ndarray:
    """Return the errors of members without the differences that their faces explain.

    Parameters
    ----------
    errors
        (M + 1, 2, 15) float64 mean squared errors of M members and, last, of the mean face.
    members
        The M members.
    training
        The N training faces.
    query_counts
        (2, 15) numbers of queries by annotator and keypoint.

    Returns
    -------
    numpy.ndarray
        (M + 1, 2, 15) float64; all errors of a member are multiplied by the same factor.
    """
    result = errors.copy()
    measured = [_measure(one, training, query_counts) for one in members]
    for recipe in dict.fromkeys(one.recipe for one in members):
        same = [
            index
            for index, one in enumerate(members)
            if one.recipe == recipe and measured[index] is not None
        ]
        if len(same) < 2:
            continue
        values = np.array([measured[index] for index in same])
        factors = _shrink(np.log(values[:, 0]), values[:, 1]) / values[:, 0]
        result[same] *= factors[:, None, None]
    return result


def _measure(
    member: HeldOutPredictions, training: Faces, query_counts: np.ndarray
) -> tuple[float, float] | None:
    """Return a member's mean squared error, and the relative variance that its faces explain.

    None without an error: no labels, no errors, or a single face.
    """
    labels, annotators = training.keypoints[member.rows], training.annotators[member.rows]
    squares = np.square(member.predictions.astype(np.float64) - labels).mean(-1)
    known = np.isfinite(squares)
    counts = np.stack([known[annotators == code].sum(0) for code in range(len(ANNOTATORS))])
    weights = np.where(counts > 0, query_counts, 0.0)
    if not weights.any():
        weights = (counts > 0).astype(float)
    total = weights.sum()
    if not total:
        return None
    shares = weights / total / np.maximum(counts, 1)
    parts = (np.where(known, squares, 0.0) * shares[annotators]).sum(1)
    error, variance = float(parts.sum()), 0.0
    for code in range(len(ANNOTATORS)):
        own = parts[(annotators == code) & known.any(1)]
        if len(own) > 1:
            variance += len(own) * float(own.var(ddof=1))
    if error <= 0 or variance <= 0:
        return None
    return error, _DESIGN * variance / error**2


def _shrink(logarithms: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return the errors after shrinking their logarithms; their mean is kept.

    Parameters
    ----------
    logarithms
        (K,) logarithms of mean squared errors.
    variances
        (K,) variances of the logarithms that the choice of faces explains.
    """
    center = logarithms.mean()
    between = max(0.0, float(logarithms.var(ddof=1) - variances.mean()))
    shrunk = np.exp(center + (logarithms - center) * between / (between + variances))
    return np.asarray(shrunk * np.exp(logarithms).mean() / shrunk.mean())
