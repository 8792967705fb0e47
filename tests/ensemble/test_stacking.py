"""Tests of the corrections of a blend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import write_competition

from fkd_kaggle.data import dataset, metrics
from fkd_kaggle.ensemble import blending, fitting, prediction, stacking
from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL, PARTIAL_KEYPOINTS
from fkd_kaggle.recipes import plans

OTHERS = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]


def make_labels(count: int, seed: int = 0) -> np.ndarray:
    """Return (N, 15, 2) labels of four keypoints; they move together and independently."""
    random = np.random.default_rng(seed)
    labels = random.uniform(25, 70, (1, NUM_KEYPOINTS, 2)) + random.normal(0, 4, (count, 1, 2))
    labels = labels + random.normal(0, 3, (count, NUM_KEYPOINTS, 2))
    labels[:, OTHERS] = np.nan
    return labels.astype(np.float32)


def predict(labels: np.ndarray, spread: float, seed: int) -> np.ndarray:
    """Return predictions of a recipe: labelled keypoints with noise, NaN for the others."""
    noise = np.random.default_rng(seed).normal(0, spread, labels.shape)
    return (labels + noise).astype(np.float32)


def partial(count: int) -> np.ndarray:
    return np.full(count, PARTIAL, np.uint8)


def score(predictions: np.ndarray, labels: np.ndarray) -> float:
    value = metrics.rmse(predictions, labels, np.ones(len(labels), bool))
    assert value is not None
    return value


def test_a_systematic_error_is_corrected() -> None:
    """The errors are an offset, a fraction of another keypoint and a product of two keypoints."""
    labels, fresh = np.split(make_labels(600), 2)

    def wrong(points: np.ndarray, seed: int) -> np.ndarray:
        predicted = predict(points, 0.3, seed)
        eye, nose, lip = (points[:, PARTIAL_KEYPOINTS[place]] - 50 for place in (0, 2, 3))
        predicted[:, PARTIAL_KEYPOINTS[0]] += 1.5 + 0.1 * lip + 0.02 * eye[:, :1] * nose
        return predicted

    inputs = np.stack([wrong(labels, 1), wrong(labels, 2)])
    stack, held = stacking.fit_stack(inputs, labels, partial(300), np.arange(300))
    plain, mixed = stacking.fit_simplex(inputs, labels, partial(300))
    assert stack.corrections[PARTIAL] is not None
    assert score(held, labels) < 0.5 * score(mixed, labels)
    # Nested cross-validation predicts the score on new faces.
    unseen = np.stack([wrong(fresh, 3), wrong(fresh, 4)])
    reached = score(stack.apply(unseen, partial(300)), fresh)
    assert reached == pytest.approx(score(held, labels), rel=0.25)
    assert reached < 0.5 * score(plain.apply(unseen, partial(300)), fresh)


def test_returned_predictions_are_for_faces_that_the_stack_was_not_fitted_on() -> None:
    """Labels that are noise cannot be predicted; an in-sample score is too good."""
    labels = np.full((120, NUM_KEYPOINTS, 2), np.nan, np.float32)
    random = np.random.default_rng(0)
    labels[:, PARTIAL_KEYPOINTS] = 48 + random.normal(0, 2, (120, 4, 2))
    inputs = np.stack([predict(labels * 0 + 48, 2, seed) for seed in (1, 2, 3)])
    groups = np.arange(120)
    stack, held = stacking.fit_stack(inputs, labels, partial(120), groups)
    _, mixed = stacking.fit_simplex(inputs, labels, partial(120))
    assert score(held, labels) > 2.0  # the standard deviation of the labels
    in_sample = stacking.fit_on_all_faces(
        inputs, labels, partial(120), groups, stacking.CORRECTIONS["stack"]
    )
    assert score(in_sample.apply(inputs, partial(120)), labels) < score(held, labels)
    assert score(held, labels) < 1.05 * score(mixed, labels)
    assert stack.weights.shape == (2, NUM_KEYPOINTS, 3)


def test_recipes_without_systematic_error_are_blended_only() -> None:
    labels = make_labels(200)
    inputs = np.stack([predict(labels, 1.0, seed) for seed in (1, 2)])
    stack, held = stacking.fit_stack(inputs, labels, partial(200), np.arange(200))
    _, mixed = stacking.fit_simplex(inputs, labels, partial(200))
    assert score(held, labels) <= 1.02 * score(mixed, labels)
    best = min(score(one, labels) for one in inputs)
    assert score(held, labels) < best
    assert score(stack.apply(inputs, partial(200)), labels) < best


def test_a_face_with_a_missing_prediction_is_not_corrected() -> None:
    labels = make_labels(200)
    inputs = np.stack([predict(labels, 1.0, 1) + np.float32(2), predict(labels, 1.0, 2)])
    stack, _ = stacking.fit_stack(inputs, labels, partial(200), np.arange(200))
    assert stack.corrections[PARTIAL] is not None
    inputs[1, 7] = np.nan
    predictions = stack.apply(inputs, partial(200))
    np.testing.assert_allclose(predictions[7, PARTIAL_KEYPOINTS], inputs[0, 7, PARTIAL_KEYPOINTS])
    assert np.isfinite(predictions[:, PARTIAL_KEYPOINTS]).all()


def test_recipes_of_one_annotator_have_no_weight_for_the_other() -> None:
    """Each recipe predicts the faces of one annotator only."""
    labels = make_labels(160)
    annotators = np.repeat(np.array([0, 1], np.uint8), 80)
    complete = make_labels(160, seed=1)
    complete[:, OTHERS] = (
        complete[:, PARTIAL_KEYPOINTS[:1]] + np.arange(1, 12, dtype=np.float32)[:, None]
    )
    labels[:80] = complete[:80]
    one, two = predict(labels, 0.5, 1), predict(labels, 0.5, 2)
    one[80:], two[:80] = np.nan, np.nan
    inputs = np.stack([one, two])
    weights = blending.fit_weights(inputs, labels, annotators)
    np.testing.assert_allclose(weights[0, :, 0], 1)
    np.testing.assert_allclose(weights[1, list(PARTIAL_KEYPOINTS), 1], 1)
    mixed = blending.apply_weights(inputs, weights, annotators)
    np.testing.assert_array_equal(mixed[:80], one[:80])
    np.testing.assert_array_equal(mixed[80:, PARTIAL_KEYPOINTS], two[80:, PARTIAL_KEYPOINTS])


def test_a_stack_is_restored_from_its_arrays() -> None:
    labels = make_labels(100)
    inputs = np.stack([predict(labels, 1.0, seed) + np.float32(1) for seed in (1, 2)])
    stack, _ = stacking.fit_stack(inputs, labels, partial(100), np.arange(100))
    again = stacking.Stack.from_arrays(stack.arrays())
    assert again.corrections[0] is None
    np.testing.assert_array_equal(
        again.apply(inputs, partial(100)), stack.apply(inputs, partial(100))
    )


@pytest.mark.slow
@pytest.mark.usefixtures("eager_functions")
def test_networks_for_each_annotator_are_trained_and_stacked(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_competition(data, train=130, test=12)
    (tmp_path / "net.toml").write_text(
        "architecture = 'region'\nepochs = 2\nbatch_size = 16\nlabel_offset = true\n"
        "options = { filters = [4], dense = 4 }\n"
    )
    members = ", ".join(
        f"{{ recipe = '{tmp_path / 'net.toml'}:rows={rows}' }}" for rows in ("complete", "partial")
    )
    (tmp_path / "two.toml").write_text(f"blend = 'stack'\nfolds = 2\nmembers = [{members}]\n")
    plan = plans.make_plan(plans.TrainingOptions([str(tmp_path / "two.toml")], precision="float32"))
    run = fitting.start_run(tmp_path / "runs", None, plan, data)
    scores = fitting.train_run(run, data)
    training = dataset.read_training(data)
    with np.load(run.member_folder("net-rows-partial-f0") / "out_of_fold.npz") as kept:
        own = training.annotators[kept["ids"] - 1] == PARTIAL
        assert np.isfinite(kept["predictions"][own][:, PARTIAL_KEYPOINTS]).all()
        assert np.isnan(kept["predictions"][~own]).all()
        assert np.isnan(kept["predictions"][:, OTHERS]).all()
    with np.load(run.path / "out_of_fold.npz") as kept:
        held = kept["predictions"]
    assert scores.partial == metrics.rmse(held, training.keypoints, training.annotators == 1)
    assert scores.expected is not None
    test, lookup = dataset.read_test(data), dataset.read_lookup(data)
    annotators = lookup.annotators(test.ids)
    predictions = prediction.predict_run(run, data, test, annotators)
    assert np.isfinite(predictions[annotators == 0]).all()
    assert np.isfinite(predictions[annotators == 1][:, PARTIAL_KEYPOINTS]).all()


@pytest.mark.parametrize("count", [1, 12])
def test_too_few_faces_or_groups_get_the_blend(count: int) -> None:
    labels = make_labels(count)
    inputs = predict(labels, 1.0, 1)[None]
    stack, held = stacking.fit_stack(inputs, labels, partial(count), np.arange(count))
    assert stack.corrections == (None, None)
    np.testing.assert_allclose(
        held[:, PARTIAL_KEYPOINTS], inputs[0][:, PARTIAL_KEYPOINTS], rtol=1e-6
    )


def test_the_ridge_correction_uses_the_other_keypoints() -> None:
    """The error of an eyebrow is a linear function of the position of the lip."""
    labels = make_labels(400)
    labels[:, OTHERS] = labels[:, :1] + np.random.default_rng(1).normal(0, 2, (400, 11, 2))
    predictions = labels + np.random.default_rng(2).normal(0, 0.3, labels.shape).astype(np.float32)
    predictions[:, 7] += 0.5 * (labels[:, 14] - labels[:, 14].mean(0))
    annotators = np.zeros(400, np.uint8)
    stack, held = stacking.fit_stack(
        predictions[None], labels, annotators, np.arange(400), stacking.CORRECTIONS["shape"]
    )
    assert stack.corrections[0] is not None
    assert score(held, labels) < 0.6 * score(predictions, labels)
    # A restored stack predicts the same.
    again = stacking.Stack.from_arrays(stack.arrays())
    np.testing.assert_array_equal(
        again.apply(predictions[None], annotators), stack.apply(predictions[None], annotators)
    )


def test_the_ridge_correction_does_not_fit_noise() -> None:
    labels = make_labels(300)
    labels[:, OTHERS] = labels[:, :1] + 1
    predictions = labels + np.random.default_rng(2).normal(0, 1.0, labels.shape).astype(np.float32)
    annotators, groups = np.zeros(300, np.uint8), np.arange(300)
    _, held = stacking.fit_stack(
        predictions[None], labels, annotators, groups, stacking.CORRECTIONS["shape"]
    )
    _, mixed = stacking.fit_simplex(predictions[None], labels, annotators)
    assert score(held, labels) <= score(mixed, labels)
