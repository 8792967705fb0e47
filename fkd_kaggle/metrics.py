"""Metrics by name: what each published system measures, in its own unit, on the same predictions.

Every system reports something else: pixels, squared pixels, labels divided by 96, Keras'
"accuracy". Measured on one set of predictions they can be compared. Pure array work on
(N, 15, 2) pixels; coordinates without a label or without a prediction are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle.errors import RecipeError, unknown
from fkd_kaggle.keypoints import SIZE, index

if TYPE_CHECKING:
    from fkd_kaggle.recipes import Recipe

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


def measure(name: str, predictions: np.ndarray, labels: np.ndarray) -> float | None:
    """Return a named metric of (N, 15, 2) predictions in pixels; None where nothing counts.

    Raises
    ------
    RecipeError
        There is no such metric.
    """
    if name not in METRICS:
        raise RecipeError(unknown("metric", name, METRICS))
    value = METRICS[name].function(predictions, labels)
    return None if np.isnan(value) else float(value)


def own(recipe: Recipe, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """Return the metrics a recipe's source speaks in, by name.

    A source that trained on complete faces only was also tested on complete faces only.
    """
    if recipe.missing == "drop":
        answered = np.asarray(sorted({point for head in recipe.outputs() for point in head}))
        complete = np.isfinite(labels[:, answered]).all((1, 2))
        predictions, labels = predictions[complete], labels[complete]
    return {name: measure(name, predictions, labels) for name in recipe.metrics}


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
        "(px/96)²", "mean squared error of labels/96", lambda p, y: _mse(p, y) / SIZE**2
    ),
    "mae-unit": Metric("px/96", "mean absolute error of labels/96", lambda p, y: _mae(p, y) / SIZE),
    "mse-centred": Metric(
        "(px/48)²", "mean squared error of (labels - 48)/48",
        lambda p, y: 4 * _mse(p, y) / SIZE**2,
    ),
    "nme": Metric("%", "mean error over the distance between the eyes", _nme),
    "keras-accuracy": Metric(
        "share", "Keras' accuracy on regression targets: same largest of 30 coordinates",
        _keras_accuracy, more_is_better=True,
    ),
}  # fmt: skip
"""Every metric by its name."""
