"""Label outliers are found at any position, scale and rotation of the face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd_kaggle.data import outliers
from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL_KEYPOINTS

OTHERS = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]


def transformed(base: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return ``count`` copies of points, rotated, scaled and moved, with half a pixel of noise."""
    random = np.random.default_rng(seed)
    factor = np.exp(random.normal(0, 0.3, count) * 1j + random.normal(0, 0.2, count))
    moved = (base @ [1, 1j])[None] * factor[:, None] + random.normal(0, 15, (count, 1)) * (1 + 1j)
    noise = random.normal(0, 0.5, (count, NUM_KEYPOINTS, 2))
    return (np.stack([moved.real, moved.imag], -1) + noise).astype(np.float32)


def faces(seed: int = 0, count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and annotators; the partial annotator labels four points, with an offset."""
    random = np.random.default_rng(seed)
    base = random.uniform(-40, 40, (NUM_KEYPOINTS, 2))
    labels = transformed(base, count, seed + 1)
    labels[count // 2 :] = transformed(base + random.normal(0, 5, base.shape), count // 2, seed + 2)
    labels[count // 2 :, OTHERS] = np.nan
    return labels, np.repeat(np.array([0, 1], np.uint8), count // 2)


@pytest.mark.slow
@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.integers(0, 59), st.sampled_from(range(NUM_KEYPOINTS)))
def test_a_moved_label_has_the_largest_distance(seed: int, row: int, point: int) -> None:
    labels, annotators = faces(seed)
    truth = labels[row, point].copy()
    labels[row, point] += (14, -14)
    expected, deviations = outliers.expected_labels(labels, annotators)
    assert np.nanargmax(deviations) == row * NUM_KEYPOINTS + point
    assert np.hypot(*(expected[row, point] - truth)) < 7


def test_faces_are_compared_with_those_of_their_own_annotator() -> None:
    labels, annotators = faces()
    _, deviations = outliers.expected_labels(labels, annotators)
    assert np.nanmedian(deviations[annotators == 1]) < 2
    assert np.isnan(deviations[np.ix_(annotators == 1, OTHERS)]).all()
    # Compared with the other annotator's labels, the same labels are far off.
    _, mixed = outliers.expected_labels(
        np.concatenate([labels[:60], labels[60:65]]), np.zeros(65, np.uint8)
    )
    own = np.nanmedian(deviations[60:65][:, PARTIAL_KEYPOINTS])
    assert np.nanmedian(mixed[60:, PARTIAL_KEYPOINTS]) > 2 * own


@pytest.mark.parametrize("labelled", [0, 1, 3])
def test_faces_with_too_few_labels_are_not_judged(labelled: int) -> None:
    labels, annotators = faces()
    labels[5, labelled:] = np.nan
    expected, deviations = outliers.expected_labels(labels, annotators)
    assert np.isnan(deviations[5]).all()
    assert np.isnan(expected[5]).all()
    assert np.isfinite(deviations[6]).all()


def test_too_few_faces_are_not_judged() -> None:
    labels, annotators = faces()
    few = np.array([0, 1, 2, 60, 61])
    assert np.isnan(outliers.expected_labels(labels[few], annotators[few])[1]).all()


def test_labels_of_identical_faces_are_no_outliers() -> None:
    labels = np.broadcast_to(faces()[0][:1], (40, NUM_KEYPOINTS, 2))
    _, deviations = outliers.expected_labels(labels, np.zeros(40, np.uint8))
    assert np.nanmax(deviations) < 1
