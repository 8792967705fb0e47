"""Similarity transforms are recovered from point pairs, for one set of points and for many."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd_kaggle.data import geometry


def centred(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return random complex points whose last axis is centred on 0."""
    points = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return points - points.mean(-1, keepdims=True)


def test_points_survive_conversion_to_complex_and_back() -> None:
    points = np.random.default_rng(0).normal(size=(3, 5, 2))
    np.testing.assert_array_equal(geometry.to_points(geometry.to_complex(points)), points)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(2, 15), st.floats(-3, 3), st.floats(0.2, 5))
def test_rotation_and_scale_are_recovered(
    seed: int, count: int, angle: float, scale: float
) -> None:
    source = centred(np.random.default_rng(seed), count)
    factor = scale * np.exp(1j * angle)
    np.testing.assert_allclose(geometry.similarity_factor(source, factor * source), factor)


def test_many_sets_give_the_same_as_each_alone() -> None:
    rng = np.random.default_rng(1)
    sources, target = centred(rng, 20, 7), centred(rng, 7)
    expected = [geometry.similarity_factor(source, target) for source in sources]
    np.testing.assert_array_equal(geometry.similarity_factor(sources, target), expected)


def test_coinciding_points_give_zero() -> None:
    target = centred(np.random.default_rng(2), 4)
    assert geometry.similarity_factor(np.zeros(4, complex), target) == 0


def test_the_matrix_maps_as_the_factor_does() -> None:
    factor, shift, point = 1.5 - 0.5j, np.array([3.0, 4.0]), np.array([2.0, 7.0])
    mapped = geometry.similarity_matrix(factor, shift) @ [*point, 1]
    expected = geometry.to_points(factor * geometry.to_complex(point)) + shift
    np.testing.assert_allclose(mapped, expected)
