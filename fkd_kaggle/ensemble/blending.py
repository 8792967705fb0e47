"""Blending recipes' predictions per keypoint and source, fitted on out-of-fold predictions.

Pure array work: it knows neither networks nor files.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from fkd_kaggle.keypoints import ANNOTATORS, NUM_KEYPOINTS, PARTIAL_KEYPOINTS


def fit_weights(predictions: np.ndarray, labels: np.ndarray, annotators: np.ndarray) -> np.ndarray:
    """Fit non-negative weights that sum to one, for each source and keypoint.

    Parameters
    ----------
    predictions
        (R, N, 15, 2) float32 pixels: each recipe's out-of-fold predictions; NaN where it has none.
    labels
        (N, 15, 2) float32 pixels, NaN where nobody labelled.
    sources
        (N,) uint8.

    Returns
    -------
    (2, 15, R) float64 weights. Zero for recipes that do not answer for a keypoint.

    Notes
    -----
    A pull towards equal weights, as strong as a few per cent of the data, keeps near-identical
    recipes from taking arbitrary shares. Where the mix would be no better than its best recipe
    out of fold, the best recipe has all the weight.
    """
    weights = np.zeros((len(ANNOTATORS), NUM_KEYPOINTS, len(predictions)))
    answers = ~np.isnan(predictions[..., 0])
    for annotator in range(len(ANNOTATORS)):
        for point in range(NUM_KEYPOINTS):
            # A recipe may know one source only: it neither counts nor costs rows for the other.
            able = np.nonzero(answers[:, annotators == annotator, point].any(1))[0]
            if not len(able):
                continue
            rows = (annotators == annotator) & ~np.isnan(labels[:, point, 0])
            rows &= answers[able, :, point].all(0)
            if rows.sum() < 10 and annotator == 1 and point not in PARTIAL_KEYPOINTS:
                # Nobody asks for these; should a caller want them, the complete source's do.
                weights[annotator, point] = weights[0, point]
                continue
            weights[annotator, point, able] = _simplex(
                predictions[able][:, rows, point].reshape(len(able), -1).astype(np.float64),
                labels[rows, point].reshape(-1).astype(np.float64),
            )
    return weights


def apply_weights(
    predictions: np.ndarray, weights: np.ndarray, annotators: np.ndarray
) -> np.ndarray:
    """Return (N, 15, 2) float32: ``predictions`` (R, N, 15, 2) mixed by each face's source.

    A recipe without a prediction for a face leaves its weight to the others; NaN only where no
    recipe has one.
    """
    shares = weights[annotators].transpose(2, 0, 1)[..., None] * ~np.isnan(predictions)
    total = shares.sum(0)
    mixed = (shares * np.nan_to_num(predictions)).sum(0)
    equal = np.isfinite(predictions).sum(0)
    # Where the weighted recipes are all missing, whoever answers is averaged instead.
    fallback = np.nan_to_num(predictions).sum(0) / np.maximum(equal, 1)
    result = np.where(total > 0, mixed / np.where(total > 0, total, 1), fallback)
    return np.where(equal > 0, result, np.nan).astype(np.float32)


def ambiguity(
    members: np.ndarray, shares: np.ndarray, annotators: np.ndarray, query_counts: np.ndarray
) -> float:
    """Return by how much averaging ``members`` lowers the mean squared error, in square pixels.

    For squared error this is exact and needs no labels: the ensemble's error is its members'
    weighted error less their weighted spread around it (Krogh and Vedelsby 1995).

    Parameters
    ----------
    members
        (M, N, 15, 2) predictions of every network on the faces asked for.
    shares
        (2, 15, M) weights that sum to one over the members.
    """
    total = weight = 0.0
    for annotator in range(len(ANNOTATORS)):
        block = np.nan_to_num(members[:, annotators == annotator])
        if not block.shape[1]:
            continue
        share = shares[annotator].T[:, None, :, None]
        spread = (share * np.square(block - (share * block).sum(0))).sum(0)
        total += float((spread.mean((0, 2)) * query_counts[annotator]).sum())
        weight += float(query_counts[annotator].sum())
    return total / weight if weight else 0.0


def _simplex(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (R,) weights on the simplex that mix (R, V) inputs to (V,) labels."""
    count = len(inputs)
    if count == 1 or not labels.size:
        return np.full(count, 1 / count)
    errors = inputs - labels
    scale = np.sqrt((errors**2).mean())
    # With weights summing to one the residual is weights · errors; the last two blocks are the
    # pull towards equal weights and the (stiff) sum constraint.
    pull = np.sqrt(0.02 * labels.size) * scale
    stiff = 1e3 * np.sqrt(labels.size) * scale
    matrix = np.vstack([errors.T, pull * np.eye(count), stiff * np.ones((1, count))])
    target = np.concatenate([np.zeros(labels.size), np.full(count, pull / count), [stiff]])
    weights = nnls(matrix, target)[0]
    weights /= weights.sum()
    alone = (errors**2).mean(1)
    if ((weights @ errors) ** 2).mean() > alone.min():
        weights = np.eye(count)[alone.argmin()]
    return weights
