"""Metrics by name: what each published system measures, in its own unit, on the same predictions.

Every system reports something else: pixels, squared pixels, labels divided by 96, Keras'
"accuracy". Measured on one set of predictions they can be compared. Pure array work on
(N, 15, 2) pixels; coordinates without a label or without a prediction are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fkd_kaggle.errors import RecipeError, unknown_name
from fkd_kaggle.keypoints import ANNOTATORS, IMAGE_SIZE, NUM_KEYPOINTS, index


def rmse(predictions: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> float | None:
    """Return the RMSE in pixels over labelled and predicted coordinates of ``rows``, or None."""
    squares = np.square(predictions[rows] - labels[rows])
    return float(np.sqrt(np.nanmean(squares))) if np.isfinite(squares).any() else None


def combined_rmse(
    predictions: np.ndarray, labels: np.ndarray, annotators: np.ndarray, query_counts: np.ndarray
) -> float | None:
    """Return the RMSE in pixels with each source and keypoint weighted as the lookup table asks.

    Parameters
    ----------
    asked
        (2, 15) number of values the lookup table asks for, by source and keypoint.
    """
    total = weight = 0.0
    for annotator in range(len(ANNOTATORS)):
        rows = annotators == annotator
        squares = np.square(predictions[rows] - labels[rows]).reshape(-1, NUM_KEYPOINTS, 2)
        for point in range(NUM_KEYPOINTS):
            known = squares[:, point][np.isfinite(squares[:, point])]
            if known.size and query_counts[annotator, point]:
                total += query_counts[annotator, point] * known.mean()
                weight += query_counts[annotator, point]
    return float(np.sqrt(total / weight)) if weight else None


Measure = Callable[[np.ndarray, np.ndarray], float]

_EYES = index("left_eye_center", "right_eye_center")


@dataclass(frozen=True)
class Metric:
    """One way of saying how far predictions are from labels."""

    unit: str
    about: str
    function: Measure
    """Predictions and labels, (N, 15, 2) pixels, to one number; NaN where nothing counts."""
    more_is_better: bool = False


def compute_metric(name: str, predictions: np.ndarray, labels: np.ndarray) -> float | None:
    """Return a named metric of (N, 15, 2) predictions in pixels; None where nothing counts.

    Raises
    ------
    RecipeError
        There is no such metric.
    """
    if name not in METRICS:
        raise RecipeError(unknown_name("metric", name, METRICS))
    value = METRICS[name].function(predictions, labels)
    return None if np.isnan(value) else float(value)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _mse(predictions: np.ndarray, labels: np.ndarray) -> float:
    return _mean(np.square(predictions.astype(np.float64) - labels))


def _rmse(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(np.sqrt(_mse(predictions, labels)))


def _mae(predictions: np.ndarray, labels: np.ndarray) -> float:
    return _mean(np.abs(predictions.astype(np.float64) - labels))


def _nme(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance of a face's points over the distance of its labelled eye centres, per cent."""
    apart = np.linalg.norm(labels[:, _EYES[0]] - labels[:, _EYES[1]], axis=-1)
    distances = np.linalg.norm(predictions.astype(np.float64) - labels, axis=-1)
    return 100 * _mean(distances / np.where(apart > 0, apart, np.nan)[:, None])


def _keras_accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """What Keras computes for ``metrics=["accuracy"]`` on 30 regression targets.

    It takes them for 30 classes and compares the places of the largest: the share of faces whose
    largest predicted coordinate is the one that is largest in the labels. That is nearly always
    the bottom lip's y; who answers it blindly is right on 70.5 % of the original's complete faces,
    wherever the points are put. Counts faces with all 30 labels and predictions only.
    """
    predictions, labels = (values.reshape(len(values), -1) for values in (predictions, labels))
    whole = np.isfinite(labels).all(1) & np.isfinite(predictions).all(1)
    if not whole.any():
        return float("nan")
    return float((predictions[whole].argmax(1) == labels[whole].argmax(1)).mean())


METRICS: dict[str, Metric] = {
    "rmse-px": Metric("px", "root mean squared error, as Kaggle scores", _rmse),
    "mae-px": Metric("px", "mean absolute error", _mae),
    "mse-px2": Metric("px²", "mean squared error", _mse),
    "mse-unit": Metric(
        "(px/96)²", "mean squared error of labels/96", lambda p, y: _mse(p, y) / IMAGE_SIZE**2
    ),
    "mae-unit": Metric("px/96", "mean absolute error of labels/96", lambda p, y: _mae(p, y) / IMAGE_SIZE),
    "mse-centred": Metric(
        "(px/48)²", "mean squared error of (labels - 48)/48",
        lambda p, y: 4 * _mse(p, y) / IMAGE_SIZE**2,
    ),
    "nme": Metric("%", "mean error over the distance between the eyes", _nme),
    "keras-accuracy": Metric(
        "share", "Keras' accuracy on regression targets: same largest of 30 coordinates",
        _keras_accuracy, more_is_better=True,
    ),
}  # fmt: skip
"""Every metric by its name."""
