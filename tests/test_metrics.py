"""Metrics: each system's own number, from one set of predictions in pixels."""

from __future__ import annotations

import numpy as np
import pytest

from fkd_kaggle.data import metrics
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.keypoints import KEYPOINT_NAMES, NUM_KEYPOINTS
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training import published_metrics


@pytest.fixture
def labels() -> np.ndarray:
    """Two complete faces and one with four points; eyes 30 px apart, the lip lowest."""
    points = np.random.default_rng(0).uniform(20, 70, (3, NUM_KEYPOINTS, 2)).astype(np.float32)
    points[:, 0], points[:, 1] = (65, 40), (35, 40)
    points[:, 14] = (48, 80)
    points[2, 2:10] = np.nan
    return points


def test_every_unit_is_the_same_error(labels: np.ndarray) -> None:
    off = labels + np.float32(2)
    values = {name: metrics.compute_metric(name, off, labels) for name in metrics.METRICS}
    assert values == pytest.approx(
        {
            "rmse-px": 2.0,
            "mae-px": 2.0,
            "mse-px2": 4.0,
            "mse-unit": 4 / 96**2,
            "mae-unit": 2 / 96,
            "mse-centred": 4 / 48**2,
            "nme": 100 * 8**0.5 / 30,
            "keras-accuracy": 1.0,
        },
        rel=1e-4,
    )


def test_what_has_no_label_or_no_prediction_does_not_count(labels: np.ndarray) -> None:
    predictions = labels + np.float32(3)
    predictions[2, 2:10] = 1e6
    predictions[0, 5] = np.nan
    assert metrics.compute_metric("mae-px", predictions, labels) == pytest.approx(3)
    assert metrics.compute_metric("rmse-px", np.full_like(labels, np.nan), labels) is None


def test_keras_accuracy_says_nothing_about_places(labels: np.ndarray) -> None:
    """Points far away count as right while the bottom lip's y stays the largest number."""
    predictions = np.full_like(labels, 1.0)
    predictions[:, KEYPOINT_NAMES.index("mouth_center_bottom_lip"), 1] = 2.0
    assert metrics.compute_metric("keras-accuracy", predictions, labels) == 1.0
    near = labels.copy()
    near[0, 0, 0] = 80.1  # two pixels' worth of error, and "wrong"
    assert metrics.compute_metric("keras-accuracy", near, labels) == 0.5


def test_keras_agrees_about_its_accuracy() -> None:
    import keras

    random = np.random.default_rng(1)
    labels = random.uniform(0, 96, (50, NUM_KEYPOINTS, 2)).astype(np.float32)
    predictions = (labels + random.normal(0, 8, labels.shape)).astype(np.float32)
    theirs = keras.metrics.categorical_accuracy(labels.reshape(50, -1), predictions.reshape(50, -1))
    expected = float(np.mean(keras.ops.convert_to_numpy(theirs)))
    assert metrics.compute_metric("keras-accuracy", predictions, labels) == pytest.approx(expected)


def test_a_source_that_drops_rows_is_measured_on_complete_faces(labels: np.ndarray) -> None:
    off = labels + np.float32(1)
    off[2] += 10
    masked = Recipe("masked", own_metric="mae-px", published={"mse-px2": 0.7})
    dropped = Recipe("dropped", own_metric="mae-px", missing="drop")
    assert set(published_metrics.published_metrics(masked, off, labels)) == {"mae-px", "mse-px2"}
    assert published_metrics.published_metrics(dropped, off, labels) == {"mae-px": pytest.approx(1)}
    assert (published_metrics.published_metrics(masked, off, labels)["mae-px"] or 0) > 2


def test_an_unknown_metric_is_named(labels: np.ndarray) -> None:
    with pytest.raises(RecipeError, match="did you mean 'rmse-px'"):
        metrics.compute_metric("rmse", labels, labels)
