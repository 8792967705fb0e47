"""Blend weights per keypoint and annotator, fitted on out-of-fold predictions.

Pure array computation without networks and files.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from fkd_kaggle.keypoints import ANNOTATORS, NUM_KEYPOINTS, PARTIAL_KEYPOINTS


def fit_weights(predictions: np.ndarray, labels: np.ndarray, annotators: np.ndarray) -> np.ndarray:
    """Fit non-negative weights that sum to one, for each annotator and keypoint.

    Parameters
    ----------
    predictions
        (R, N, 15, 2) float32 pixels, out-of-fold predictions of each recipe; NaN where missing.
    labels
        (N, 15, 2) float32 pixels, NaN where missing.
    annotators
        (N,) uint8, annotator of each row: 0 complete, 1 partial.

    Returns
    -------
    numpy.ndarray
        (2, 15, R) float64 weights; zero for recipes that do not predict a keypoint.

    Notes
    -----
    A penalty towards equal weights, as strong as two per cent of the data, prevents arbitrary
    weights of near-identical recipes. If the blend is not better out of fold than the best
    recipe, the best recipe gets all the weight.
    """
    weights = np.zeros((len(ANNOTATORS), NUM_KEYPOINTS, len(predictions)))
    answers = ~np.isnan(predictions[..., 0])
    for annotator in range(len(ANNOTATORS)):
        for point in range(NUM_KEYPOINTS):
            # Recipes without predictions for this annotator are left out and exclude no rows.
            able = np.nonzero(answers[:, annotators == annotator, point].any(1))[0]
            if not len(able):
                continue
            rows = (annotators == annotator) & ~np.isnan(labels[:, point, 0])
            rows &= answers[able, :, point].all(0)
            if rows.sum() < 10 and annotator == 1 and point not in PARTIAL_KEYPOINTS:
                # Never queried; copy the complete annotator's weights.
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
    """Blend predictions with the weights of each face's annotator.

    The weight of a recipe without a prediction for a face is distributed to the other recipes.

    Parameters
    ----------
    predictions
        (R, N, 15, 2) float32 pixels; NaN where missing.
    weights
        (2, 15, R) float64, from ``fit_weights``.
    annotators
        (N,) uint8, annotator whose conventions the predictions follow.

    Returns
    -------
    numpy.ndarray
        (N, 15, 2) float32 pixels; NaN where no recipe has a prediction.
    """
    shares = weights[annotators].transpose(2, 0, 1)[..., None] * ~np.isnan(predictions)
    total = shares.sum(0)
    mixed = (shares * np.nan_to_num(predictions)).sum(0)
    equal = np.isfinite(predictions).sum(0)
    # Where all recipes with weight are missing, average those that have a prediction.
    fallback = np.nan_to_num(predictions).sum(0) / np.maximum(equal, 1)
    result = np.where(total > 0, mixed / np.where(total > 0, total, 1), fallback)
    return np.where(equal > 0, result, np.nan).astype(np.float32)


def _simplex(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (R,) weights on the simplex that blend (R, V) inputs to (V,) labels."""
    count = len(inputs)
    errors = inputs - labels
    if count == 1 or not errors.any():
        return np.full(count, 1 / count)
    scale = np.sqrt((errors**2).mean())
    # With weights that sum to one the residual is weights · errors. The last two blocks of the
    # matrix are the penalty towards equal weights and the constraint on the sum.
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
