"""Tests of blend weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd_kaggle.data import metrics
from fkd_kaggle.ensemble import blending
from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL_KEYPOINTS, REGIONS

BOTH = np.array([0] * 60 + [1] * 60, np.uint8)


def labelled(seed: int) -> np.ndarray:
    labels = np.random.default_rng(seed).uniform(20, 76, (120, NUM_KEYPOINTS, 2)).astype(np.float32)
    elsewhere = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]
    labels[60:, elsewhere] = np.nan
    return labels


def noisy(labels: np.ndarray, spread: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, spread, labels.shape)
    return (np.nan_to_num(labels, nan=48) + noise).astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.floats(0.2, 5), min_size=1, max_size=5))
def test_the_blend_is_never_worse_than_the_best_recipe(seed: int, spreads: list[float]) -> None:
    labels = labelled(seed)
    inputs = np.stack([noisy(labels, spread, seed + i + 1) for i, spread in enumerate(spreads)])
    weights = blending.fit_weights(inputs, labels, BOTH)
    mixed = blending.apply_weights(inputs, weights, BOTH)
    query_counts = np.full((2, NUM_KEYPOINTS), 10.0)
    scores = [metrics.combined_rmse(one, labels, BOTH, query_counts) for one in inputs]
    result = metrics.combined_rmse(mixed, labels, BOTH, query_counts)
    assert result is not None
    assert result <= min(score for score in scores if score is not None) * 1.0001
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights[0].sum(-1), 1, atol=1e-6)


def test_equally_good_recipes_have_similar_weights() -> None:
    labels = labelled(0)
    inputs = np.stack([noisy(labels, 1.0, seed) for seed in (1, 2, 3)])
    weights = blending.fit_weights(inputs, labels, BOTH)
    assert weights[0].min() > 0.2


def test_a_region_recipe_has_weight_for_its_keypoints_only() -> None:
    labels = labelled(0)
    everywhere, region = noisy(labels, 2.0, 1), noisy(labels, 0.1, 2)
    region[:, REGIONS["mouth-eyebrows"]] = np.nan
    inputs = np.stack([everywhere, region])
    weights = blending.fit_weights(inputs, labels, BOTH)
    assert (weights[0, REGIONS["mouth-eyebrows"], 1] == 0).all()
    assert (weights[0, REGIONS["eyes-nose"], 1] > 0.9).all()
    assert np.isfinite(blending.apply_weights(inputs, weights, BOTH)).all()


def test_the_weight_of_a_missing_prediction_goes_to_the_others() -> None:
    labels = labelled(0)
    inputs = np.stack([noisy(labels, 1.0, 1), noisy(labels, 1.0, 2)])
    weights = blending.fit_weights(inputs, labels, BOTH)
    inputs[1, 5] = np.nan
    np.testing.assert_allclose(
        blending.apply_weights(inputs, weights, BOTH)[5], inputs[0, 5], rtol=1e-5
    )


def test_the_combined_rmse_is_weighted_by_query_counts() -> None:
    labels = np.zeros((2, NUM_KEYPOINTS, 2), np.float32)
    predictions = np.stack([np.full((NUM_KEYPOINTS, 2), 1.0), np.full((NUM_KEYPOINTS, 2), 3.0)])
    query_counts = np.zeros((2, NUM_KEYPOINTS))
    query_counts[0], query_counts[1] = 3, 1
    result = metrics.combined_rmse(predictions, labels, np.array([0, 1], np.uint8), query_counts)
    assert result == pytest.approx(np.sqrt((3 * 1 + 1 * 9) / 4))


def test_recipes_without_any_error_have_equal_weights() -> None:
    labels = labelled(0)
    weights = blending.fit_weights(np.stack([np.nan_to_num(labels, nan=48)] * 2), labels, BOTH)
    np.testing.assert_array_equal(weights, np.full((2, NUM_KEYPOINTS, 2), 0.5))
