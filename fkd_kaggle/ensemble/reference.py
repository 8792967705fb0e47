"""The mean face: a constant prediction, which every useful network must improve on.

Pure array computation without networks and files.
"""

from __future__ import annotations

import numpy as np

from fkd_kaggle.data import metrics
from fkd_kaggle.keypoints import ANNOTATORS, COMPLETE, PARTIAL


def mean_face(labels: np.ndarray, annotators: np.ndarray) -> np.ndarray:
    """Return the mean of the labels of each annotator.

    Parameters
    ----------
    labels
        (N, 15, 2) pixels, NaN where missing.
    annotators
        (N,) uint8, annotator of each row: 0 complete, 1 partial.

    Returns
    -------
    numpy.ndarray
        (2, 15, 2) float64 pixels. Keypoints that one annotator does not label have the mean of the
        other; NaN where nobody labels a keypoint.
    """
    means = np.stack(
        [metrics.masked_means(labels[annotators == one], 0) for one in range(len(ANNOTATORS))]
    )
    for own, other in ((COMPLETE, PARTIAL), (PARTIAL, COMPLETE)):
        missing = np.isnan(means[own])
        means[own][missing] = means[other][missing]
    return means


def predict_mean_face(
    labels: np.ndarray, annotators: np.ndarray, held_out: np.ndarray
) -> np.ndarray:
    """Predict each face with the mean of the faces in other folds.

    Parameters
    ----------
    labels, annotators
        As for ``mean_face``.
    held_out
        (N,) int, the fold of each face.

    Returns
    -------
    numpy.ndarray
        (N, 15, 2) float32 pixels.
    """
    everyone = mean_face(labels, annotators)
    result = everyone[annotators]
    for fold in np.unique(held_out):
        rows, rest = held_out == fold, held_out != fold
        means = mean_face(labels[rest], annotators[rest])
        # A keypoint that only this fold labels.
        means = np.where(np.isfinite(means), means, everyone)
        result[rows] = means[annotators[rows]]
    return result.astype(np.float32)
