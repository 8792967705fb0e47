"""Metrics: units, missing labels, Keras' accuracy."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_faces

from fkd_kaggle.data import metrics
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.keypoints import KEYPOINT_NAMES, NUM_KEYPOINTS


@pytest.fixture
def labels() -> np.ndarray:
    """Two complete faces and a partial one; eyes 30 px apart, the bottom lip lowest."""
    points = np.random.default_rng(0).uniform(20, 70, (3, NUM_KEYPOINTS, 2)).astype(np.float32)
    points[:, 0], points[:, 1] = (65, 40), (35, 40)
    points[:, 14] = (48, 80)
    points[2, 2:10] = np.nan
    return points


def test_metrics_of_one_error_differ_by_their_unit(labels: np.ndarray) -> None:
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


def test_coordinates_without_label_or_prediction_are_ignored(labels: np.ndarray) -> None:
    predictions = labels + np.float32(3)
    predictions[2, 2:10] = 1e6
    predictions[0, 5] = np.nan
    assert metrics.compute_metric("mae-px", predictions, labels) == pytest.approx(3)
    assert metrics.compute_metric("rmse-px", np.full_like(labels, np.nan), labels) is None


def test_keras_accuracy_does_not_depend_on_distances(labels: np.ndarray) -> None:
    """Points count as right if the bottom lip's y is the largest coordinate."""
    predictions = np.full_like(labels, 1.0)
    predictions[:, KEYPOINT_NAMES.index("mouth_center_bottom_lip"), 1] = 2.0
    assert metrics.compute_metric("keras-accuracy", predictions, labels) == 1.0
    near = labels.copy()
    near[0, 0, 0] = 80.1  # a small error, which counts as wrong
    assert metrics.compute_metric("keras-accuracy", near, labels) == 0.5


@pytest.mark.slow
def test_keras_accuracy_equals_that_of_keras() -> None:
    import keras

    random = np.random.default_rng(1)
    labels = random.uniform(0, 96, (50, NUM_KEYPOINTS, 2)).astype(np.float32)
    predictions = (labels + random.normal(0, 8, labels.shape)).astype(np.float32)
    accuracy = keras.metrics.categorical_accuracy(
        labels.reshape(50, -1), predictions.reshape(50, -1)
    )
    expected = float(np.mean(keras.ops.convert_to_numpy(accuracy)))
    assert metrics.compute_metric("keras-accuracy", predictions, labels) == pytest.approx(expected)


def test_an_unknown_metric_is_named(labels: np.ndarray) -> None:
    with pytest.raises(RecipeError, match="did you mean 'rmse-px'"):
        metrics.compute_metric("rmse", labels, labels)


def shifted_predictions(labels: np.ndarray, pixels: float) -> np.ndarray:
    """Return predictions ``pixels`` to the right of every label."""
    points = np.nan_to_num(labels, nan=48.0)
    points[..., 0] += pixels
    return points.astype(np.float32)


def test_the_rmse_of_a_face_is_over_labelled_coordinates() -> None:
    labels = make_faces(30, seed=4).keypoints
    errors = metrics.face_rmse(shifted_predictions(labels, 2.0), labels)
    np.testing.assert_allclose(errors, np.sqrt(2.0), rtol=1e-5)  # one of two axes is off by 2


def test_faces_without_labels_or_prediction_have_no_rmse() -> None:
    labels = make_faces(30, seed=4).keypoints
    predictions = shifted_predictions(labels, 1.0)
    labels[3], predictions[5] = np.nan, np.nan
    errors = metrics.face_rmse(predictions, labels)
    assert np.flatnonzero(np.isnan(errors)).tolist() == [3, 5]
    assert set(metrics.rank_by_rmse(predictions, labels)) == set(range(30)) - {3, 5}


def test_the_face_with_the_largest_error_is_ranked_last() -> None:
    labels = make_faces(30, seed=4).keypoints
    predictions = shifted_predictions(labels, 1.0)
    predictions[7, 0] += 40.0
    assert metrics.rank_by_rmse(predictions, labels)[-1] == 7


def test_masked_means_ignore_values_that_are_not_finite() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    assert metrics.masked_mean(values) == 3
    assert np.isnan(metrics.masked_mean(values[:, 2]))
    np.testing.assert_array_equal(metrics.masked_means(values, 0), [2, 5, np.nan])
    np.testing.assert_array_equal(metrics.masked_means(values, 0, default=[7, 8, 9]), [2, 5, 9])


def test_means_by_row_ignore_rows_and_values_without_a_number() -> None:
    parts = [
        (np.array([0, 2]), np.array([[1.0, 2.0], [5.0, np.nan]], np.float32)),
        (np.array([2, 3]), np.array([[7.0, 4.0], [np.inf, np.nan]], np.float32)),
    ]
    found = metrics.means_by_row(parts, (4, 2))
    expected = [[1, 2], [np.nan, np.nan], [6, 4], [np.nan, np.nan]]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64
    assert np.isnan(metrics.means_by_row([], (3,))).all()
