"""Folds: near-duplicates stay together, annotators are spread, a seed splits reproducibly."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_faces

from fkd_kaggle.data import folds
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL_KEYPOINTS
from fkd_kaggle.practice import synthetic_faces


def doubled(count: int) -> Faces:
    """Return faces and their copies, which are brighter and two pixels lower."""
    images, keypoints = synthetic_faces.draw_faces(count, seed=0)
    copies = np.clip(np.roll(images, 2, axis=1) * 1.15, 0, 255).astype(np.uint8)
    points = np.concatenate([keypoints, keypoints + np.array([0, 2])]).astype(np.float32)
    others = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]
    points[::3][:, others] = np.nan
    points[:3] = np.nan
    return Faces(np.concatenate([images, copies]), points, np.arange(1, 2 * count + 1))


def test_near_duplicates_share_a_fold() -> None:
    faces = doubled(120)
    held_out = folds.assign_folds(faces, 4, seed=0)
    # Without the first three, which have no labels and cannot be aligned.
    together = held_out[3:120] == held_out[123:]
    assert together.mean() > 0.97


def test_distinct_faces_are_not_all_one_group() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 96, 96)).astype(np.uint8)
    keypoints = synthetic_faces.draw_faces(60, seed=0)[1]
    labels = folds.near_duplicate_groups(Faces(images, keypoints, np.arange(60)))
    assert len(np.unique(labels)) == 60


@pytest.mark.slow
def test_every_fold_has_its_share_of_both_annotators() -> None:
    faces = doubled(150)
    held_out = folds.assign_folds(faces, 3, seed=1)
    for fold in range(3):
        rows = held_out == fold
        assert 0.1 < rows.mean() < 0.6
        assert set(faces.annotators[rows]) == {0, 1}
    np.testing.assert_array_equal(held_out, folds.assign_folds(faces, 3, seed=1))


def test_the_first_folds_do_not_hold_the_people_with_the_most_frames() -> None:
    """An ensemble that trains two of ten folds is scored on the first two."""
    faces = doubled(200)
    groups = np.arange(400)
    groups[50:90] = 50
    groups[150:180] = 150
    held_out = folds.assign_folds(faces, 10, seed=0, groups=groups)
    assert set(held_out) == set(range(10))
    assert (held_out[50:90] == 9).all()
    assert (held_out[150:180] == 8).all()


def test_too_few_distinct_faces_are_refused() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96)).astype(np.uint8)
    same = Faces(
        np.repeat(image, 9, 0), np.full((9, NUM_KEYPOINTS, 2), 40, np.float32), np.arange(9)
    )
    with pytest.raises(DataError, match="too few for 3 folds"):
        folds.assign_folds(same, 3, seed=0)


def test_too_few_faces_of_each_annotator_are_refused() -> None:
    faces = make_faces(8, seed=3)
    with pytest.raises(DataError, match=r"8 training faces, at most 4 of one .* for 5 folds"):
        folds.assign_folds(faces, 5, seed=0, groups=np.arange(8))


@pytest.mark.parametrize("fraction", [0.15, 0.2])
def test_a_random_fraction_is_held_out_once(fraction: float) -> None:
    held_out = folds.assign_folds(make_faces(60, seed=3), 7, 0, how="random", held_out=fraction)
    assert (held_out == 0).sum() == round(fraction * 60)
    assert set(held_out) == {0, 1}


def test_random_folds_have_equal_sizes_and_depend_on_the_seed() -> None:
    faces = make_faces(60, seed=3)
    held_out = folds.assign_folds(faces, 5, 0, how="random")
    assert np.bincount(held_out).tolist() == [12] * 5
    assert (held_out != folds.assign_folds(faces, 5, 1, how="random")).any()


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(DataError, match="none on one side"):
        folds.hold_out_rows(make_faces(60, seed=3), 0.001, "random", 0)
