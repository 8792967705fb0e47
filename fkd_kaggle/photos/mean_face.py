"""Position and size of the training faces in their 96×96 crops.

The networks have seen only the competition's crops. Faces in photos are therefore cropped so that
they have the same position, size and orientation as the mean training face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fkd_kaggle.errors import RunError
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.predictions import load_blended_out_of_fold

_MIN_RADIUS = 8.0
"""Pixels. Labelled faces have 24. A network that predicts the same position for all points has
learned nothing that a crop could be aligned to."""


@dataclass(frozen=True)
class MeanFace:
    """Statistics of the keypoints of completely labelled faces, in pixels of the 96×96 crop."""

    points: np.ndarray
    """(15, 2) float64: mean of each keypoint."""
    centre: np.ndarray
    """(2,) float64: mean of the faces' centroids."""
    radius: float
    """Median of the faces' radii (see ``point_radius``)."""


def measure_mean_face(keypoints: np.ndarray) -> MeanFace:
    """Return the mean face of the faces whose 15 keypoints are all known.

    Parameters
    ----------
    keypoints
        (N, 15, 2) pixels of the 96×96 crops; NaN where unknown.
    """
    complete = keypoints[np.isfinite(keypoints).all((1, 2))].astype(np.float64)
    centroids = complete.mean(1)
    radius = np.median(point_radius(complete, centroids[:, None]))
    return MeanFace(complete.mean(0), centroids.mean(0), float(radius))


def load_mean_face(run: Run) -> MeanFace:
    """Return the mean of a run's out-of-fold predictions for the training faces.

    The predictions follow the labels closely and include all 15 keypoints of faces with four
    labels. They are stored in the run, so that the data set is not needed.

    Raises
    ------
    RunError
        The run has no blended out-of-fold predictions, predicts only some of the keypoints, or
        is not trained enough.
    """
    try:
        predictions = load_blended_out_of_fold(run)
    except RunError as error:
        raise RunError(
            f"run {run.name} has no out-of-fold predictions to measure faces by: "
            f"go on with `fkd-kaggle train-ensemble --resume {run.name}`"
        ) from error
    complete = np.isfinite(predictions).all((1, 2))
    if not complete.any():
        raise RunError(f"run {run.name} predicts some keypoints only: photos need all 15")
    face = measure_mean_face(predictions[complete])
    if not face.radius > _MIN_RADIUS:
        raise RunError(f"run {run.name} has not learned what a face is: train it for longer")
    return face


def point_radius(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return the root-mean-square distance of points from a centre.

    Parameters
    ----------
    points
        (…, P, 2) coordinates.
    centre
        Centre of the points, broadcast against ``points``.

    Returns
    -------
    (…) array in the unit of ``points``.
    """
    return np.sqrt(np.square(points - centre).sum(-1).mean(-1))
