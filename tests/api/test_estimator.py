"""Tests of ``KeypointRegressor``: scikit-learn's own checks, shapes, folds, pickling."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.utils.estimator_checks import check_estimator

import fkd_kaggle as fkd
from fkd_kaggle.errors import NoUsefulNetworkError, RunError

Arrays = tuple[np.ndarray, np.ndarray]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("eager_functions"),
    # One epoch is not enough for more.
    pytest.mark.filterwarnings(
        "ignore:not better than predicting the mean face",
        "ignore:run .* has no network that is better than the mean face",
    ),
]


@pytest.fixture(scope="module")
def regressor(tiny_recipe: Path) -> fkd.KeypointRegressor:
    """An untrained regressor."""
    return fkd.KeypointRegressor(recipe=str(tiny_recipe), precision="float32", random_state=0)


@pytest.fixture(scope="module")
def trained(regressor: fkd.KeypointRegressor, synthetic: Arrays) -> fkd.KeypointRegressor:
    """The regressor, trained on ``synthetic``; read only."""
    return clone(regressor).fit(*synthetic)


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_all_checks_of_scikit_learn_pass(tiny_recipe: Path) -> None:
    estimator = fkd.KeypointRegressor(recipe=str(tiny_recipe), precision="float32")
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [each["check_name"] for each in results if each["status"] == "failed"]
    passed = [each["check_name"] for each in results if each["status"] == "passed"]
    assert failed == []
    assert len(passed) >= 40


def test_rows_and_images_give_the_same_predictions(
    trained: fkd.KeypointRegressor, synthetic: Arrays
) -> None:
    images, _ = synthetic
    points = trained.predict(images)
    assert points.shape == (30, 15, 2)
    assert points.dtype == np.float64
    np.testing.assert_allclose(trained.predict(images.reshape(30, 9216)), points, atol=1e-4)
    assert trained.image_shape_ == (96, 96)
    assert trained.n_features_in_ == 9216
    assert trained.pixel_range_ == (0.0, 255.0)


def test_predictions_have_the_shape_of_the_targets(
    regressor: fkd.KeypointRegressor, synthetic: Arrays
) -> None:
    images, points = synthetic
    flat = clone(regressor).fit(images, points.reshape(30, 30))
    assert flat.predict(images[:3]).shape == (3, 30)
    single = clone(regressor).fit(images, points[:, 10, 0])
    assert single.predict(images[:3]).shape == (3,)


def test_cross_val_predict_with_groups(regressor: fkd.KeypointRegressor, synthetic: Arrays) -> None:
    people = np.arange(30) // 5
    points = cross_val_predict(regressor, *synthetic, groups=people, cv=GroupKFold(2))
    assert points.shape == (30, 15, 2)
    assert np.sqrt(np.mean((points - synthetic[1]) ** 2)) < 10


def test_missing_labels_are_allowed(regressor: fkd.KeypointRegressor, synthetic: Arrays) -> None:
    images, points = synthetic
    points = points.copy()
    points[::2, 3:9] = np.nan
    trained = clone(regressor).fit(images, points, groups=None)
    assert np.isfinite(trained.predict(images)).all()
    assert np.isfinite(trained.score(images, points))


def test_images_of_another_size_are_scaled(
    regressor: fkd.KeypointRegressor, trained: fkd.KeypointRegressor, synthetic: Arrays
) -> None:
    images, points = synthetic
    double = np.kron(images, np.ones((1, 2, 2))) / 255
    # The centre of pixel 0 is at 0.5 of the doubled image.
    large = clone(regressor).fit(double, points * 2 + 0.5)
    assert large.pixel_range_ == (0.0, 1.0)
    np.testing.assert_allclose(large.predict(double), trained.predict(images) * 2 + 0.5, atol=0.05)


def test_score_is_r2(trained: fkd.KeypointRegressor, synthetic: Arrays) -> None:
    from sklearn.metrics import r2_score

    images, points = synthetic
    expected = r2_score(points.reshape(30, 30), trained.predict(images).reshape(30, 30))
    assert trained.score(images, points) == pytest.approx(expected)


def test_pickled_estimator_contains_its_run(
    trained: fkd.KeypointRegressor, synthetic: Arrays
) -> None:
    expected = trained.predict(synthetic[0][:4])
    restored = pickle.loads(pickle.dumps(trained))
    assert restored.model_.path != trained.model_.path
    np.testing.assert_array_equal(restored.predict(synthetic[0][:4]), expected)


def test_run_is_kept_in_a_named_folder(
    regressor: fkd.KeypointRegressor, synthetic: Arrays, tmp_path: Path
) -> None:
    kept = clone(regressor).set_params(runs_dir=tmp_path).fit(*synthetic)
    assert fkd.load(runs_dir=tmp_path).path == kept.model_.path


def test_rows_that_are_no_square_need_an_image_shape(
    regressor: fkd.KeypointRegressor, synthetic: Arrays
) -> None:
    images, points = synthetic
    rows = images[:, :48].reshape(30, -1)
    named = clone(regressor).set_params(image_shape=(48, 96))
    named.fit(rows, points * [1, 0.5])
    assert named.image_shape_ == (48, 96)
    with pytest.raises(ValueError, match="image_shape=\\(48, 90\\) means 4320"):
        clone(named).set_params(image_shape=(48, 90)).fit(rows, points)
    with pytest.warns(UserWarning, match="no square images"):
        clone(regressor).fit(rows, points)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images, points: (images, points[:5]), "inconsistent numbers of samples"),
        (lambda images, points: (images[:1], points[:1]), "1 sample"),
        (lambda images, points: (images, points / 96), "in pixels"),
        (lambda images, points: (images, points * np.nan), "no label"),
        (lambda images, points: (images, np.ones((30, 31))), "must have"),
        (lambda images, points: (images[:, :, :, None], points), "4"),
    ],
)
def test_wrong_arrays_are_value_errors(
    regressor: fkd.KeypointRegressor, synthetic: Arrays, change: object, message: str
) -> None:
    assert callable(change)
    with pytest.raises(ValueError, match=message):
        clone(regressor).fit(*change(*synthetic))


def test_unknown_recipe_is_a_value_error(synthetic: Arrays) -> None:
    with pytest.raises(ValueError, match="did you mean 'heatmap'"):
        fkd.KeypointRegressor(recipe="heatmapp").fit(*synthetic)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"time_limit": "20 minutes"}, "is not a time"),
        ({"annotator": "compleet"}, "did you mean 'complete'"),
    ],
)
def test_wrong_parameters_are_value_errors(
    synthetic: Arrays, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fkd.KeypointRegressor(**parameters).fit(*synthetic)


def test_other_image_size_than_in_fit_is_refused(
    trained: fkd.KeypointRegressor, synthetic: Arrays
) -> None:
    with pytest.raises(ValueError, match=r"images of \(48, 192\), but fit had \(96, 96\)"):
        trained.predict(synthetic[0].reshape(30, 48, 192))


def test_only_a_run_without_a_useful_network_predicts_the_mean(
    trained: fkd.KeypointRegressor, synthetic: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged or deleted run is an error, not a prediction."""

    def fail(error: RunError) -> None:
        def predict(*_: object) -> None:
            raise error

        monkeypatch.setattr(trained.model_, "predict", predict, raising=False)

    fail(NoUsefulNetworkError("no useful network"))
    with pytest.warns(UserWarning, match="no useful network"):
        points = trained.predict(synthetic[0][:2])
    np.testing.assert_array_equal(points[0], points[1])
    fail(RunError("damaged"))
    with pytest.raises(RunError, match="damaged"):
        trained.predict(synthetic[0][:2])
