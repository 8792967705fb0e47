"""Inputs and targets of the linear corrections in ``ensemble.stacking``.

Pure array computation; the models are fitted in ``ensemble.stacking``.
"""

from __future__ import annotations

import numpy as np

from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL, PARTIAL_KEYPOINTS

_MIN_FACES = 50
"""Minimum number of faces for a correction; with fewer faces the blend is not corrected."""


def labelled_points(annotator: int) -> np.ndarray:
    """Return the indices of the keypoints that an annotator labels."""
    return np.array(PARTIAL_KEYPOINTS if annotator == PARTIAL else range(NUM_KEYPOINTS))


def complete_rows(
    predictions: np.ndarray, residuals: np.ndarray, points: np.ndarray, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return (N,) bool complete rows, their (n, C) inputs and (n, 2P) targets; None if too few."""
    targets = residuals[:, points].reshape(len(residuals), 2 * len(points))
    predicted = np.isfinite(predictions[..., 0])
    rows = np.isfinite(targets).all(1) & (predicted | ~used[:, None]).all((0, 2))
    if not used.any() or rows.sum() < _MIN_FACES:
        return None
    return rows, input_coordinates(predictions[:, rows], used), targets[rows]


def input_coordinates(predictions: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return (N, C) float64, the used coordinates of (R, N, 15, 2), recipe after recipe."""
    blocks = [
        one[:, own].reshape(len(one), 2 * own.sum())
        for one, own in zip(predictions, used, strict=True)
    ]
    return np.concatenate(blocks, axis=1, dtype=np.float64)


def with_products(coordinates: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return (N, F), standardised coordinates and the products of every two of one recipe."""
    blocks, start = [coordinates], 0
    for count in 2 * used.sum(1):
        one, other = start + np.array(np.triu_indices(count, 1))
        blocks.append(coordinates[:, one] * coordinates[:, other])
        start += count
    return np.concatenate(blocks, axis=1)
