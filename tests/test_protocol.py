"""Protocols: what a recipe learns from, what it is watched on, and what leaks where it leaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_faces

from fkd_kaggle.data import folds, imputation
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import FLIP_ORDER, IMAGE_SIZE, NUM_KEYPOINTS
from fkd_kaggle.recipes import loading
from fkd_kaggle.recipes.schema import OfflineCopy, Recipe
from fkd_kaggle.training import preprocessing

REFERENCE = Path("/work/shared/reference/training_keypoints.csv")

PLAIN = Recipe("plain", source_outputs="shared")


@pytest.fixture
def faces() -> Faces:
    return make_faces(60, seed=3)


def kartalovic() -> Recipe:
    recipe = loading.load_recipe("kartalovic")
    assert isinstance(recipe, Recipe)
    return recipe


def test_without_wishes_everything_is_learnt_from(faces: Faces) -> None:
    prepared = preprocessing.prepare_faces(PLAIN, faces, "random", 0)
    assert prepared.training is faces
    assert prepared.validation is prepared.copies is None


@pytest.mark.parametrize("split", ["random", "grouped"])
def test_the_validation_part_is_apart_and_keeps_its_labels(faces: Faces, split: str) -> None:
    recipe = replace(PLAIN, validation=0.25, missing="mean")
    prepared = preprocessing.prepare_faces(recipe, faces, split, 0)
    assert prepared.validation is not None
    assert not set(prepared.validation.ids) & set(prepared.training.ids)
    assert len(prepared.validation.ids) + len(prepared.training.ids) == 60
    assert len(prepared.validation.ids) == pytest.approx(15, abs=5)
    assert np.isfinite(prepared.training.keypoints).all()
    assert np.isnan(prepared.validation.keypoints).any()


def test_filling_learns_nothing_from_the_validation_part(faces: Faces) -> None:
    recipe = replace(PLAIN, validation=0.25, missing="mean")
    first = preprocessing.prepare_faces(recipe, faces, "random", 0)
    assert first.validation is not None
    faces.keypoints[first.validation.ids - 1] += 20
    again = preprocessing.prepare_faces(recipe, faces, "random", 0)
    np.testing.assert_array_equal(first.training.keypoints, again.training.keypoints)


def test_who_learns_from_complete_faces_is_watched_on_complete_ones(faces: Faces) -> None:
    recipe = replace(PLAIN, validation=0.25, missing="drop")
    prepared = preprocessing.prepare_faces(recipe, faces, "random", 0)
    assert prepared.validation is not None
    assert len(prepared.validation.ids) > 2
    assert np.isfinite(prepared.validation.keypoints).all()


def test_honest_copies_are_of_training_faces_only(faces: Faces) -> None:
    recipe = replace(kartalovic(), validation=0.2)
    prepared = preprocessing.prepare_faces(recipe, faces, "random", 0)
    assert prepared.copies is None
    assert prepared.validation is not None
    assert len(prepared.training.ids) > 7 * len(set(prepared.training.ids))
    assert not set(prepared.validation.ids) & set(prepared.training.ids)


def test_enlarging_first_tests_on_copies_of_training_faces(faces: Faces) -> None:
    prepared = preprocessing.prepare_faces(kartalovic(), faces, "enlarged-first", 0)
    assert prepared.copies is not None
    assert prepared.validation is not None
    known = set(prepared.training.ids)
    for leaked in (prepared.copies, prepared.validation):
        assert np.isin(leaked.ids, list(known)).mean() > 0.9
    whole = len(preprocessing.augment_offline(faces, kartalovic(), 0).ids)
    assert len(prepared.copies.ids) == round(0.15 * whole)


def test_a_copy_is_what_it_says() -> None:
    faces = make_faces(1, seed=4)
    ramp = np.tile(np.arange(IMAGE_SIZE, dtype=np.uint8), (IMAGE_SIZE, 1))
    faces = replace(faces, images=ramp[None])
    copies = (
        OfflineCopy(flip=True), OfflineCopy(shift_x=5, shift_y=-3), OfflineCopy(gain=1.5), OfflineCopy(noise=0.05),
        OfflineCopy(rotation=90),
    )  # fmt: skip
    recipe = replace(PLAIN, missing="drop", enlarge=copies)
    images = preprocessing.augment_offline(faces, recipe, 0).images.astype(int)
    points = preprocessing.augment_offline(faces, recipe, 0).keypoints
    original, labels = images[0], points[0]
    np.testing.assert_array_equal(images[1], original[:, ::-1])
    np.testing.assert_allclose(
        points[1][:, 0], IMAGE_SIZE - 1 - labels[list(FLIP_ORDER), 0], atol=1e-4
    )
    np.testing.assert_array_equal(images[2][:, 5:], original[:, :-5])
    np.testing.assert_allclose(points[2], labels + np.array([5, -3]), atol=1e-4)
    np.testing.assert_allclose(images[3], np.minimum(original * 1.5, 255), atol=0.51)
    assert 8 < (images[4] - original)[:, 40:].std() < 16
    # A right turn of the ramp lies along the other axis; the points turn about the same centre.
    assert np.ptp(images[5], axis=0).min() > 80
    assert np.ptp(images[5], axis=1).max() <= 1
    around = points[5] - (IMAGE_SIZE - 1) / 2
    np.testing.assert_allclose(
        np.linalg.norm(around, axis=1),
        np.linalg.norm(labels - (IMAGE_SIZE - 1) / 2, axis=1),
        rtol=1e-4,
    )
    x, y = np.rint(points[5]).astype(int).T
    np.testing.assert_allclose(images[5][y, x], labels[:, 0], atol=2)


def test_only_complete_faces_are_copied_and_none_out_of_the_frame(faces: Faces) -> None:
    faces.keypoints[0, 0] = (2.0, 50.0)
    recipe = replace(
        PLAIN, missing="ffill", enlarge=(OfflineCopy(flip=True), OfflineCopy(shift_x=-5.0))
    )
    enlarged = preprocessing.augment_offline(faces, recipe, 0)
    assert len(enlarged.ids) == 60 + 30 + 29


@pytest.mark.skipif(not REFERENCE.exists(), reason="the original's label table is not here")
def test_the_originals_labels_give_the_published_number_of_images() -> None:
    """7,049 faces and 10 copies of each complete one, shifted ones within the frame: 26,239."""
    labels = pd.read_csv(REFERENCE).to_numpy(np.float32).reshape(-1, NUM_KEYPOINTS, 2)
    nothing = np.zeros((len(labels), 1, 1), np.uint8)
    faces = Faces(nothing, labels, np.arange(1, len(labels) + 1))
    complete = labels[imputation.has_all_points(faces, kartalovic())]
    made = sum(
        preprocessing.copied_points(complete, copy)[1].sum() for copy in kartalovic().enlarge
    )
    assert len(complete) == 2_140
    assert len(complete) + made == 21_330
    assert len(labels) + made == 26_239


@pytest.mark.parametrize("share", [0.15, 0.2])
def test_a_random_share_is_held_out_once(faces: Faces, share: float) -> None:
    held_out = folds.assign_folds(faces, 7, 0, how="random", held_out=share)
    assert (held_out == 0).sum() == round(share * 60)
    assert set(held_out) == {0, 1}


def test_random_folds_are_of_equal_size(faces: Faces) -> None:
    held_out = folds.assign_folds(faces, 5, 0, how="random")
    assert np.bincount(held_out).tolist() == [12] * 5
    assert (held_out != folds.assign_folds(faces, 5, 1, how="random")).any()


def test_an_empty_side_is_refused(faces: Faces) -> None:
    with pytest.raises(DataError, match="none on one side"):
        folds.hold_out_rows(faces, 0.001, "random", 0)
