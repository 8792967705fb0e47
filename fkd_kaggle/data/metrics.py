"""Error metrics: Kaggle's RMSE, and the metrics that publications report, by name.

Publications report pixels, squared pixels, labels divided by 96, or Keras' "accuracy"; computed
from one set of predictions they can be compared. Array code on (N, 15, 2) pixels; coordinates
without a label or a prediction are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from fkd_kaggle.errors import RecipeError, unknown_name
from fkd_kaggle.keypoints import ANNOTATORS, IMAGE_SIZE, NUM_KEYPOINTS, index

Measure = Callable[[np.ndarray, np.ndarray], float]

_EYES: Final = index("left_eye_center", "right_eye_center")


@dataclass(frozen=True)
class Metric:
    """A function of predictions and labels, with the unit of its result."""

    unit: str
    function: Measure
    """Maps predictions and labels, (N, 15, 2) pixels, to a number; NaN if nothing is labelled."""


def rmse(predictions: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> float | None:
    """Return the RMSE in pixels of some rows; None if they have nothing labelled and predicted.

    Parameters
    ----------
    predictions, labels
        (N, 15, 2) pixels, NaN where unknown.
    rows
        (K,) positions or an (N,) boolean mask.
    """
    squares = np.square(predictions[rows] - labels[rows])
    return float(np.sqrt(np.nanmean(squares))) if np.isfinite(squares).any() else None


def combined_rmse(
    predictions: np.ndarray, labels: np.ndarray, annotators: np.ndarray, query_counts: np.ndarray
) -> float | None:
    """Return the RMSE in pixels, annotators and keypoints weighted as the lookup table does.

    Parameters
    ----------
    predictions, labels
        (N, 15, 2) pixels, NaN where unknown.
    annotators
        (N,) uint8 annotator of each face.
    query_counts
        (2, 15) values that the lookup table queries, by annotator and keypoint.

    Returns
    -------
    None if nothing that is queried is both labelled and predicted.
    """
    total = weight = 0.0
    for annotator in range(len(ANNOTATORS)):
        rows = annotators == annotator
        squares = np.square(predictions[rows] - labels[rows]).reshape(-1, NUM_KEYPOINTS, 2)
        for point in range(NUM_KEYPOINTS):
            mean, count = masked_mean(squares[:, point]), query_counts[annotator, point]
            if count and not np.isnan(mean):
                total += count * mean
                weight += count
    return float(np.sqrt(total / weight)) if weight else None


def face_rmse(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the RMSE of each face in pixels, (N,) float64; NaN if nothing is known of a face.

    Parameters
    ----------
    predictions, labels
        (N, 15, 2) pixels, NaN where unknown.
    """
    squares = np.square(predictions - labels).reshape(len(labels), -1)
    return np.sqrt(masked_means(squares, 1))


def rank_by_rmse(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the positions of the faces with a known RMSE, (K,) int64, the smallest RMSE first.

    Parameters
    ----------
    predictions, labels
        (N, 15, 2) pixels, NaN where unknown.
    """
    errors = face_rmse(predictions, labels)
    known = np.flatnonzero(np.isfinite(errors))
    return known[np.argsort(errors[known], kind="stable")]


def compute_metric(
    name: str | Measure, predictions: np.ndarray, labels: np.ndarray
) -> float | None:
    """Return one of ``METRICS``; None if nothing is both labelled and predicted.

    Parameters
    ----------
    name
        Key of ``METRICS``, or a function of predictions and labels.
    predictions, labels
        (N, 15, 2) pixels, NaN where unknown.

    Raises
    ------
    RecipeError
        There is no such metric.
    """
    if isinstance(name, str) and name not in METRICS:
        raise RecipeError(unknown_name("metric", name, METRICS))
    function = METRICS[name].function if isinstance(name, str) else name
    value = function(predictions, labels)
    return None if np.isnan(value) else float(value)


def metric_unit(name: str) -> str:
    """Return the unit of a metric; empty for a user's own, whose unit is not known."""
    return METRICS[name].unit if name in METRICS else ""


def masked_mean(values: np.ndarray) -> float:
    """Return the mean of an array's finite values; NaN if there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def masked_means(
    values: np.ndarray, axis: int | tuple[int, ...], default: ArrayLike = np.nan
) -> np.ndarray:
    """Return the float64 means of the finite values along axes.

    Parameters
    ----------
    values
        Any floats.
    axis
        Axes to average over.
    default
        Result where there are no finite values; broadcast.
    """
    known = np.isfinite(values)
    counts = known.sum(axis)
    means = np.where(known, values, 0).sum(axis) / np.maximum(counts, 1)
    return np.where(counts > 0, means, default)


def means_by_row(
    parts: Iterable[tuple[np.ndarray, np.ndarray]], shape: tuple[int, ...]
) -> np.ndarray:
    """Return the means of the finite values that several arrays have for the same rows.

    Parameters
    ----------
    parts
        Pairs of (n,) positions among N rows, each once, and (n, ...) float values for them.
    shape
        Shape of the result, (N, ...).

    Returns
    -------
    numpy.ndarray
        (N, ...) float64; NaN where no part has a finite value.
    """
    total, counts = np.zeros(shape), np.zeros(shape, np.int64)
    for rows, values in parts:
        known = np.isfinite(values)
        total[rows] += np.where(known, values, 0)
        counts[rows] += known
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def _mse(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared error per coordinate in square pixels."""
    return masked_mean(np.square(predictions.astype(np.float64) - labels))


def _rmse(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the root of ``_mse``, as Kaggle scores."""
    return float(np.sqrt(_mse(predictions, labels)))


def _mae(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean absolute error per coordinate in pixels."""
    return masked_mean(np.abs(predictions.astype(np.float64) - labels))


def _nme(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean point distance over that of the labelled eye centres, in per cent."""
    eye_distances = np.linalg.norm(labels[:, _EYES[0]] - labels[:, _EYES[1]], axis=-1)
    distances = np.linalg.norm(predictions.astype(np.float64) - labels, axis=-1)
    scale = np.where(eye_distances > 0, eye_distances, np.nan)[:, None]
    return 100 * masked_mean(distances / scale)


def _keras_accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return what Keras computes for ``metrics=["accuracy"]`` on 30 regression targets.

    Keras treats the targets as 30 classes: the share of faces whose largest predicted coordinate is
    also the largest label. That is nearly always the bottom lip's y, and a constant prediction that
    makes it the largest reaches 70.5 % on the competition's complete faces. Faces with all 30
    labels and predictions count.
    """
    predictions, labels = (values.reshape(len(values), -1) for values in (predictions, labels))
    complete = np.isfinite(labels).all(1) & np.isfinite(predictions).all(1)
    if not complete.any():
        return float("nan")
    return float((predictions[complete].argmax(1) == labels[complete].argmax(1)).mean())


def _mse_unit(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared error of coordinates / 96."""
    return _mse(predictions, labels) / IMAGE_SIZE**2


def _mae_unit(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean absolute error of coordinates / 96."""
    return _mae(predictions, labels) / IMAGE_SIZE


def _mse_centred(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared error of (coordinates - 48) / 48."""
    return 4 * _mse(predictions, labels) / IMAGE_SIZE**2


METRICS: Final[dict[str, Metric]] = {
    "rmse-px": Metric("px", _rmse),
    "mae-px": Metric("px", _mae),
    "mse-px2": Metric("px²", _mse),
    "mse-unit": Metric("(px/96)²", _mse_unit),
    "mae-unit": Metric("px/96", _mae_unit),
    "mse-centred": Metric("(px/48)²", _mse_centred),
    "nme": Metric("%", _nme),
    "keras-accuracy": Metric("share", _keras_accuracy),
}
"""Every metric by its name."""
