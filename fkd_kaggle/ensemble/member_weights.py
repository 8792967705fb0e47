"""Weights of single members for new faces, from held-out errors and mutual differences.

Members of different folds are never compared on the same labelled faces: each is scored on its own
held-out faces. For the weighted average of members with weights w, mean squared errors E and mean
squared differences D between each two members (on any faces, without labels), the mean squared
error is w·E - ½ wᵀDw (Krogh and Vedelsby 1995; the second term is the ambiguity). It is convex on
the simplex, so that the best weights can be computed.

Pure array computation without networks and files.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from fkd_kaggle.data.metrics import masked_means
from fkd_kaggle.keypoints import ANNOTATORS, COMPLETE, NUM_KEYPOINTS, PARTIAL, PARTIAL_KEYPOINTS

ASSUMED_CORRELATION = 0.7
"""Correlation of the errors of two members where there are no faces to compare them on."""

_PULL = 0.02
"""Strength of the penalty on the distance from the prior weights."""


def mean_differences(members: np.ndarray, annotators: np.ndarray) -> np.ndarray:
    """Return (2, 15, M, M) float64 mean squared differences between members; NaN where unknown.

    Parameters
    ----------
    members
        (M, N, 15, 2) float32 pixels, NaN for keypoints that a member does not predict. Two members
        are compared on the faces for which both have a prediction.
    annotators
        (N,) uint8, annotator of each face's predictions.
    """
    count = len(members)
    result = np.full((len(ANNOTATORS), NUM_KEYPOINTS, count, count), np.nan)
    for annotator in range(len(ANNOTATORS)):
        rows = annotators == annotator
        if not rows.any():
            continue
        block = members[:, rows].astype(np.float64)
        for one in range(count):
            result[annotator, :, one] = masked_means(np.square(block[one] - block), (1, 3)).T
    for own, other in ((COMPLETE, PARTIAL), (PARTIAL, COMPLETE)):
        if not (annotators == own).any():
            result[own] = result[other]
    return result


def assume_differences(errors: np.ndarray) -> np.ndarray:
    """Return (2, 15, M, M) differences of members whose errors have the assumed correlation.

    Parameters
    ----------
    errors
        (M, 2, 15) float64 mean squared errors.
    """
    by_point = np.moveaxis(errors, 0, -1)
    roots = np.sqrt(by_point)
    products = roots[..., :, None] * roots[..., None, :]
    result = by_point[..., :, None] + by_point[..., None, :] - 2 * ASSUMED_CORRELATION * products
    result[..., np.arange(len(errors)), np.arange(len(errors))] = 0.0
    return result


def fill_errors(errors: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Estimate missing errors of members that predict a keypoint, from the other members.

    Parameters
    ----------
    errors
        (M, 2, 15) mean squared errors, NaN where no held-out face has the label.
    predicted
        (M, 2, 15) bool, whether a member predicts the keypoint.

    Returns
    -------
    numpy.ndarray
        (M, 2, 15) float64; NaN where ``predicted`` is false, and where no member has an error.
    """
    known = np.isfinite(errors) & predicted
    counts = known.sum(0)
    means = np.where(known, errors, 0).sum(0) / np.maximum(counts, 1)
    filled = np.where(known, errors, np.where(counts > 0, means, np.nan))
    return np.where(predicted, filled, np.nan)


def estimate_errors(weights: np.ndarray, errors: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """Return (2, 15) float64 estimated mean squared errors of a weighted average; NaN if unknown.

    With few faces the estimate can be negative.

    Parameters
    ----------
    weights
        (2, 15, M) weights that sum to one.
    errors
        (M, 2, 15) from ``fill_errors``.
    differences
        (2, 15, M, M) from ``mean_differences`` or ``assume_differences``.
    """
    by_point = np.moveaxis(errors, 0, -1)
    used = (weights > 0) & np.isfinite(by_point)
    share = np.where(used, weights, 0.0)
    total = share.sum(-1)
    share = share / np.where(total > 0, total, 1.0)[..., None]
    single = (share * np.where(used, by_point, 0.0)).sum(-1)
    pairs = np.where(used[..., :, None] & used[..., None, :], np.nan_to_num(differences), 0.0)
    gain = 0.5 * np.einsum("apm,apmn,apn->ap", share, pairs, share)
    return np.where(total > 0, single - gain, np.nan)


def fit_member_weights(
    errors: np.ndarray, differences: np.ndarray, prior: np.ndarray, query_counts: np.ndarray
) -> np.ndarray:
    """Return the weights with the smallest estimated error.

    Keypoints that the same members predict have the same weights. Weights of single keypoints would
    fit the chance differences between folds.

    Parameters
    ----------
    errors
        (M, 2, 15) from ``fill_errors``.
    differences
        (2, 15, M, M) from ``mean_differences`` or ``assume_differences``.
    prior
        (2, 15, M) weights that a small penalty pulls towards.
    query_counts
        (2, 15) numbers of queries by annotator and keypoint.

    Returns
    -------
    numpy.ndarray
        (2, 15, M) float64 weights that sum to one; zero for members without an error. Keypoints
        without any error have the weights of the complete annotator, or else the prior.
    """
    result = prior.copy()
    by_point = np.moveaxis(errors, 0, -1)
    able = np.isfinite(by_point)
    for pattern in np.unique(able.reshape(-1, able.shape[-1]), axis=0):
        chosen = np.flatnonzero(pattern)
        if not len(chosen):
            continue
        same = (able == pattern).all(-1)
        counts = query_counts[same] if query_counts[same].any() else np.ones(same.sum())

        def average(values: np.ndarray, counts: np.ndarray = counts) -> np.ndarray:
            return np.asarray(np.tensordot(counts / counts.sum(), values, 1))

        weights = np.zeros(len(pattern))
        weights[chosen] = _minimize(
            average(by_point[same][:, chosen]),
            average(np.nan_to_num(differences[same])[:, chosen][:, :, chosen]),
            average(prior[same][:, chosen]),
        )
        result[same] = weights
    for point in range(NUM_KEYPOINTS):
        if not able[PARTIAL, point].any() and point not in PARTIAL_KEYPOINTS:
            result[PARTIAL, point] = result[COMPLETE, point]
    return result


def _minimize(errors: np.ndarray, differences: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return (M,) weights on the simplex for one keypoint."""
    count = len(errors)
    if count == 1:
        return np.ones(1)
    total = prior.sum()
    prior = prior / total if total > 0 else np.full(count, 1 / count)
    scale = max(float(errors.min()), 1e-9)  # the best member: one with large errors must not pull
    errors, differences = errors / scale, differences / scale

    def loss(weights: np.ndarray) -> float:
        pull = _PULL * np.square(weights - prior).sum()
        return float(weights @ errors - 0.5 * weights @ differences @ weights + pull)

    def gradient(weights: np.ndarray) -> np.ndarray:
        return np.asarray(errors - differences @ weights + 2 * _PULL * (weights - prior))

    best = np.eye(count)[int(errors.argmin())]
    start = prior if loss(prior) < loss(best) else best
    found = minimize(
        loss,
        start,
        jac=gradient,
        bounds=[(0.0, 1.0)] * count,
        constraints={
            "type": "eq",
            "fun": lambda weights: weights.sum() - 1,
            "jac": lambda weights: np.ones(count),
        },
        method="SLSQP",
    )
    weights = np.clip(found.x, 0.0, None)
    if not np.isfinite(weights).all() or weights.sum() <= 0:
        return start
    weights /= weights.sum()
    return weights if loss(weights) <= loss(start) else start
