"""Tests of the weights of single members."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd_kaggle.ensemble import member_weights
from fkd_kaggle.keypoints import NUM_KEYPOINTS

COUNTS = np.ones((2, NUM_KEYPOINTS))

ANNOTATORS = (np.arange(400) % 2).astype(np.uint8)


def errors_and_differences(members: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    squares = np.square(members - truth)
    errors = np.stack([squares[:, one == ANNOTATORS].mean((1, 3)) for one in (0, 1)], 1)
    return errors, member_weights.mean_differences(members, ANNOTATORS)


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, 1000),
    st.lists(st.floats(0.5, 12), min_size=1, max_size=5),
    st.data(),
)
def test_the_estimated_error_of_an_average_is_exact_on_the_same_faces(
    seed: int, spreads: list[float], data: st.DataObject
) -> None:
    """Krogh and Vedelsby's identity, checked with labels."""
    random = np.random.default_rng(seed)
    truth = random.uniform(20, 76, (400, NUM_KEYPOINTS, 2))
    members = np.stack([truth + random.normal(0, spread, truth.shape) for spread in spreads])
    raw = data.draw(st.lists(st.floats(0.01, 1), min_size=len(spreads), max_size=len(spreads)))
    share = np.array(raw) / np.sum(raw)
    weights = np.broadcast_to(share, (2, NUM_KEYPOINTS, len(share)))
    errors, differences = errors_and_differences(members, truth)
    estimate = member_weights.estimate_errors(weights, errors, differences)
    mixed = np.square(np.tensordot(share, members, 1) - truth)
    for annotator in (0, 1):
        actual = mixed[annotator == ANNOTATORS].mean((0, 2))
        np.testing.assert_allclose(estimate[annotator], actual, rtol=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.lists(st.floats(0.5, 12), min_size=1, max_size=6))
def test_fitted_weights_are_not_worse_than_the_best_member_or_the_mean(
    seed: int, spreads: list[float]
) -> None:
    random = np.random.default_rng(seed)
    truth = random.uniform(20, 76, (400, NUM_KEYPOINTS, 2))
    members = np.stack([truth + random.normal(0, spread, truth.shape) for spread in spreads])
    errors, differences = errors_and_differences(members, truth)
    equal = np.full((2, NUM_KEYPOINTS, len(spreads)), 1 / len(spreads))
    weights = member_weights.fit_member_weights(errors, differences, equal, COUNTS)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1)
    found = member_weights.estimate_errors(weights, errors, differences).mean()
    assert found <= member_weights.estimate_errors(equal, errors, differences).mean() * 1.01
    assert found <= errors.mean((1, 2)).min() * 1.02


def test_members_without_a_keypoint_have_no_weight_for_it() -> None:
    errors = np.full((2, 2, NUM_KEYPOINTS), 4.0)
    errors[0, :, :5] = np.nan
    prior = np.full((2, NUM_KEYPOINTS, 2), 0.5)
    differences = member_weights.assume_differences(np.nan_to_num(errors, nan=4.0))
    weights = member_weights.fit_member_weights(errors, differences, prior, COUNTS)
    assert (weights[:, :5, 0] == 0).all()
    assert weights[:, 5:, 0] == pytest.approx(0.5, abs=1e-3)


def test_missing_errors_are_filled_from_the_other_members() -> None:
    errors = np.full((3, 2, NUM_KEYPOINTS), np.nan)
    errors[0], errors[1] = 2.0, 4.0
    predicted = np.ones(errors.shape, bool)
    predicted[2, 0] = False
    filled = member_weights.fill_errors(errors, predicted)
    assert (filled[2, 1] == 3.0).all()
    assert np.isnan(filled[2, 0]).all()


def test_a_face_without_a_prediction_does_not_hide_the_other_faces() -> None:
    members = np.zeros((2, 4, NUM_KEYPOINTS, 2), np.float32)
    members[1] = 3.0
    members[1, 0, 5] = np.nan
    members[1, :, 7] = np.nan
    differences = member_weights.mean_differences(members, np.array([0, 0, 1, 1], np.uint8))
    assert (differences[:, 5, 0, 1] == 9.0).all()
    assert np.isnan(differences[:, 7, 0, 1]).all()
