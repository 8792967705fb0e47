"""Labels that do not fit the face's other labels.

Each label is predicted from the face's other labels, after position, scale and rotation of the face
are removed, by a regression over faces of the same annotator: a point distribution model (Cootes et
al. 1995), evaluated one point at a time. Uses labels only, neither images nor networks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from sklearn.linear_model import Ridge

from fkd_kaggle.data import geometry
from fkd_kaggle.keypoints import NUM_KEYPOINTS

_KEPT: Final = 0.9
"""Share of the faces that the second fit uses."""

_MIN_FACES: Final = 20
"""Faces required to fit a regression."""

_RAYLEIGH_MEDIAN: Final = 1.1774
"""Median distance of points with standard deviation 1 along x and y."""

_MIN_OTHERS: Final = 3
"""Other labels required to judge a label: two always fit some position, scale and rotation."""


def expected_labels(keypoints: np.ndarray, annotators: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each label is expected from the face's other labels, and how far off it is.

    Parameters
    ----------
    keypoints
        (N, 15, 2) pixels, NaN where unlabelled.
    annotators
        (N,) uint8 annotator of each face; faces are compared with those of their own annotator.

    Returns
    -------
    (N, 15, 2) float64 expected labels in pixels, and (N, 15) float64 Mahalanobis distances of the
    labels from there, in standard deviations. NaN where unlabelled, or where fewer than three other
    labels or fewer than 20 similarly labelled faces are available.
    """
    expected = np.full((len(keypoints), NUM_KEYPOINTS, 2), np.nan)
    distances = np.full((len(keypoints), NUM_KEYPOINTS), np.nan)
    points = geometry.to_complex(keypoints.astype(np.float64))
    known = np.isfinite(points)
    for annotator in np.unique(annotators):
        own = annotators == annotator
        # Faces with the same labelled points share one regression per point.
        for pattern in np.unique(known[own], axis=0):
            usable = np.flatnonzero(own & known[:, pattern].all(1))
            labelled = np.flatnonzero(pattern)
            if len(labelled) <= _MIN_OTHERS or len(usable) < _MIN_FACES:
                continue
            same_pattern = (known[usable] == pattern).all(1)
            rows = usable[same_pattern]
            for column, point in enumerate(labelled.tolist()):
                guess, distance = _expect_point(points[np.ix_(usable, labelled)], column)
                expected[rows, point] = geometry.to_points(guess[same_pattern])
                distances[rows, point] = distance[same_pattern]
    return expected, distances


def prediction_deviations(
    keypoints: np.ndarray, annotators: np.ndarray, predictions: np.ndarray
) -> np.ndarray:
    """Return how far labels are from predictions, in standard deviations.

    The standard deviation of each keypoint and annotator is robust, so that wrong labels do not
    widen it: the median distance, divided by the median of a Rayleigh distribution of scale 1.

    Parameters
    ----------
    keypoints
        (N, 15, 2) pixels, NaN where unlabelled.
    annotators
        (N,) uint8 annotator of each face.
    predictions
        (N, 15, 2) pixels, out of fold; NaN where missing.

    Returns
    -------
    (N, 15) float64; NaN without a label, without a prediction, or with fewer than 20 of both.
    """
    distances = np.linalg.norm(predictions.astype(np.float64) - keypoints, axis=-1)
    deviations = np.full_like(distances, np.nan)
    for annotator in np.unique(annotators):
        rows = annotators == annotator
        for point in range(NUM_KEYPOINTS):
            known = rows & np.isfinite(distances[:, point])
            if known.sum() < _MIN_FACES:
                continue
            # A hundredth of a pixel, so that exact predictions do not divide by zero.
            scale = max(float(np.median(distances[known, point])) / _RAYLEIGH_MEDIAN, 0.01)
            deviations[known, point] = distances[known, point] / scale
    return deviations


def label_deviations(
    keypoints: np.ndarray, annotators: np.ndarray, predictions: np.ndarray
) -> np.ndarray:
    """Return the smaller deviation of each label from the other labels and from the prediction.

    Parameters
    ----------
    keypoints, annotators, predictions
        As for ``prediction_deviations``.

    Returns
    -------
    (N, 15) float64 standard deviations; NaN where one of the two is unknown.
    """
    _, from_shape = expected_labels(keypoints, annotators)
    return np.minimum(from_shape, prediction_deviations(keypoints, annotators, predictions))


def _expect_point(points: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected points of one column, (N,) complex, and Mahalanobis distances, (N,).

    The regression is fitted twice, the second time to the 90 % of the faces that the first fits
    best, so that a few wrong labels do not widen the normal spread (a concentration step, Rousseeuw
    and Van Driessen 1999).

    Parameters
    ----------
    points
        (N, P) complex labels.
    column
        Index of the column to predict from the others.
    """
    others = np.delete(points, column, axis=1)
    mean = others.mean(0)
    centre = others.mean(1)
    offsets = others - centre[:, None]
    factor = geometry.similarity_factor(offsets, mean - mean.mean())
    factor = np.where(abs(factor) > 1e-9, factor, 1.0)  # all points coincide: no rotation
    inputs = geometry.to_points(offsets * factor[:, None]).reshape(len(points), -1)
    target = geometry.to_points((points[:, column] - centre) * factor)
    kept = np.arange(len(points))
    for _ in range(2):
        model = Ridge(alpha=1.0).fit(inputs[kept], target[kept])
        errors = target - model.predict(inputs)
        # Plus a hundredth of a pixel, so that the covariance of exact labels is not singular.
        covariance = errors[kept].T @ errors[kept] / len(kept) + 1e-4 * np.eye(2)
        distance = np.sqrt(np.einsum("ni,ni->n", errors, np.linalg.solve(covariance, errors.T).T))
        kept = np.argsort(distance, kind="stable")[: max(_MIN_FACES, int(_KEPT * len(points)))]
    return points[:, column] - geometry.to_complex(errors) / factor, distance
