"""Muon: orthogonalised updates of matrices, and Adam for other variables."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from fkd_kaggle.nn.muon import Muon, orthogonalize

pytestmark = pytest.mark.slow


def variables(*shapes: Sequence[int]) -> list[keras.Variable]:
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in shapes]


@settings(deadline=None, max_examples=20)
@given(
    rows=st.integers(2, 40), columns=st.integers(2, 40), seed=st.integers(0, 9), gram=st.booleans()
)
def test_orthogonalize_brings_singular_values_near_one(
    rows: int, columns: int, seed: int, gram: bool
) -> None:
    left, _, right = np.linalg.svd(
        np.random.default_rng(seed).normal(size=(rows, columns)), full_matrices=False
    )
    # Singular values from 1 to 30, the range of momenta in training.
    values = np.geomspace(1, 30, len(right))
    matrix = ((left * values) @ right).astype(np.float32)
    (stack,) = orthogonalize([ops.convert_to_tensor(matrix[None])], gram=gram)
    result = ops.convert_to_numpy(stack)[0]
    found = np.linalg.svd(result, compute_uv=False)
    assert found.min() > 0.6
    assert found.max() < 1.3
    # The singular vectors are unchanged.
    assert np.trace(result @ (left @ right).T) > 0.6 * len(right)


@pytest.mark.parametrize("size", [1.0, 1e-12])
def test_gram_iterations_give_the_same_matrices(size: float) -> None:
    """Also for singular values that are too small to reach 1 in three iterations."""
    rng = np.random.default_rng(3)

    def stack(count: int, rows: int, columns: int) -> Any:
        left, _, right = np.linalg.svd(rng.normal(size=(count, rows, columns)), full_matrices=False)
        values = np.geomspace(1e-6, 1, min(rows, columns))
        return ops.convert_to_tensor((size * (left * values) @ right).astype("float32"))

    stacks = [stack(3, 300, 24), stack(1, 24, 300), stack(2, 40, 50), stack(2, 24, 30)]
    ours, theirs = orthogonalize(stacks, gram=True), orthogonalize(stacks, gram=False)
    for one, other, start in zip(ours, theirs, stacks, strict=True):
        assert one.shape == start.shape
        np.testing.assert_allclose(one, other, atol=2e-3)
        largest = np.linalg.svd(ops.convert_to_numpy(one), compute_uv=False)[:, :8]
        assert largest.min() > 0.6


def test_zeros_stay_zeros() -> None:
    zeros = ops.zeros((2, 30, 20))
    for gram in (True, False):
        np.testing.assert_array_equal(orthogonalize([zeros], gram=gram)[0], zeros)


@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (64, 10), (10, 64)])
def test_the_rms_of_a_kernels_update_is_the_learning_rate(shape: tuple[int, ...]) -> None:
    (kernel,) = variables(shape)
    before = ops.convert_to_numpy(kernel)
    optimizer = Muon(0.01)
    gradient = 1e-5 * variables(shape)[0].value
    optimizer.apply([ops.convert_to_tensor(gradient)], [kernel])
    moved = ops.convert_to_numpy(kernel) - before
    assert np.sqrt(np.square(moved).mean()) == pytest.approx(0.01, rel=0.25)
    assert (moved * ops.convert_to_numpy(gradient)).sum() < 0


def test_other_variables_are_updated_as_by_adam() -> None:
    shapes = [(7,), (5, 5, 1, 4), (6, 3)]
    ours, theirs = variables(*shapes), variables(*shapes)
    ours[2] = keras.Variable(ours[2].value, name="head0")
    muon = Muon(0.01, outputs="head")
    adam = keras.optimizers.Adam(0.01)
    rng = np.random.default_rng(1)
    for _ in range(5):
        gradients = [ops.convert_to_tensor(rng.normal(size=s).astype("float32")) for s in shapes]
        muon.apply(gradients, ours)
        adam.apply(gradients, theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.value, other.value, atol=1e-6)


def test_grouped_updates_equal_single_updates() -> None:
    """A variable without a gradient does not change."""
    shapes = [(3, 3, 2, 4), (4,), (18, 4), (4, 18), (3, 3, 2, 4), (7,), (5, 5, 1, 4)]
    ours, theirs = variables(*shapes), variables(*shapes)
    together, apart = Muon(0.01), Muon(0.01, together=False)
    rng = np.random.default_rng(1)
    for step in range(4):
        gradients = [ops.convert_to_tensor(rng.normal(size=s).astype("float32")) for s in shapes]
        if step == 2:
            stopped = ops.convert_to_numpy(ours[4])
        if step > 1:
            gradients[4] = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of missing gradients
            together.apply(gradients, ours)
            apart.apply(gradients, theirs)
    assert [len(group.members) for group in together.groups] == [3, 3, 1]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.value, other.value, atol=1e-5)
    np.testing.assert_array_equal(ours[4].value, stopped)
    assert np.abs(ours[0].value - variables(*shapes)[0].value).max() > 0.01


@pytest.mark.parametrize("together", [True, False])
def test_a_restored_optimizer_continues_identically(together: bool) -> None:
    shapes = [(3, 3, 2, 4), (4,), (3, 3, 2, 4)]
    gradients = [ops.convert_to_tensor(one.value) for one in variables(*shapes)]
    whole, halves = variables(*shapes), variables(*shapes)
    optimizer = Muon(0.01, together=together)
    for _ in range(4):
        optimizer.apply(gradients, whole)
    first = Muon(0.01, together=together)
    second = Muon.from_config(first.get_config())
    for _ in range(2):
        first.apply(gradients, halves)
    second.build(halves)
    for old, new in zip(first.variables, second.variables, strict=True):
        new.assign(old)
    for _ in range(2):
        second.apply(gradients, halves)
    for one, other in zip(whole, halves, strict=True):
        np.testing.assert_allclose(one.value, other.value, atol=1e-6)
