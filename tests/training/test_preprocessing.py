"""Preprocessing: training and validation faces, imputation, offline augmentation and its leak."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_faces

from fkd_kaggle.data import imputation
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.keypoints import FLIP_ORDER, IMAGE_SIZE, NUM_KEYPOINTS
from fkd_kaggle.recipes import loading
from fkd_kaggle.recipes.schema import OfflineCopy, Recipe
from fkd_kaggle.training import preprocessing

pytestmark = pytest.mark.slow

PLAIN = Recipe("plain", annotator_outputs="shared")


@pytest.fixture
def faces() -> Faces:
    return make_faces(60, seed=3)


def kartalovic() -> Recipe:
    recipe = loading.load_recipe("kartalovic")
    assert isinstance(recipe, Recipe)
    return recipe


def test_by_default_all_faces_are_trained_on(faces: Faces) -> None:
    prepared = preprocessing.prepare_faces(PLAIN, faces, "random", 0)
    assert prepared.training is faces
    assert prepared.validation is prepared.copies is None


@pytest.mark.parametrize("split", ["random", "grouped"])
def test_validation_faces_are_separate_and_not_imputed(faces: Faces, split: str) -> None:
    recipe = replace(PLAIN, validation=0.25, imputation="mean")
    prepared = preprocessing.prepare_faces(recipe, faces, split, 0)
    assert prepared.validation is not None
    assert not set(prepared.validation.ids) & set(prepared.training.ids)
    assert len(prepared.validation.ids) + len(prepared.training.ids) == 60
    assert len(prepared.validation.ids) == pytest.approx(15, abs=5)
    assert np.isfinite(prepared.training.keypoints).all()
    assert np.isnan(prepared.validation.keypoints).any()


def test_imputation_does_not_depend_on_validation_faces(faces: Faces) -> None:
    recipe = replace(PLAIN, validation=0.25, imputation="mean")
    first = preprocessing.prepare_faces(recipe, faces, "random", 0)
    assert first.validation is not None
    faces.keypoints[first.validation.ids - 1] += 20
    again = preprocessing.prepare_faces(recipe, faces, "random", 0)
    np.testing.assert_array_equal(first.training.keypoints, again.training.keypoints)


def test_a_recipe_trained_on_complete_faces_is_validated_on_complete_faces(faces: Faces) -> None:
    recipe = replace(PLAIN, validation=0.25, imputation="drop")
    prepared = preprocessing.prepare_faces(recipe, faces, "random", 0)
    assert prepared.validation is not None
    assert len(prepared.validation.ids) > 2
    assert np.isfinite(prepared.validation.keypoints).all()


def test_only_training_faces_are_copied(faces: Faces) -> None:
    recipe = replace(kartalovic(), validation=0.2)
    prepared = preprocessing.prepare_faces(recipe, faces, "random", 0)
    assert prepared.copies is None
    assert prepared.validation is not None
    assert len(prepared.training.ids) > 7 * len(set(prepared.training.ids))
    assert not set(prepared.validation.ids) & set(prepared.training.ids)


def test_a_split_after_augmentation_tests_on_copies_of_training_faces(faces: Faces) -> None:
    prepared = preprocessing.prepare_faces(kartalovic(), faces, "after-augmentation", 0)
    assert prepared.copies is not None
    assert prepared.validation is not None
    known = set(prepared.training.ids)
    for leaked in (prepared.copies, prepared.validation):
        assert np.isin(leaked.ids, list(known)).mean() > 0.9
    whole = len(preprocessing.augment_offline(faces, kartalovic(), 0).ids)
    assert len(prepared.copies.ids) == round(0.15 * whole)


def test_each_kind_of_copy_changes_image_and_points() -> None:
    faces = make_faces(1, seed=4)
    ramp = np.tile(np.arange(IMAGE_SIZE, dtype=np.uint8), (IMAGE_SIZE, 1))
    faces = replace(faces, images=ramp[None])
    copies = (
        OfflineCopy(flip=True),
        OfflineCopy(shift_x=5, shift_y=-3),
        OfflineCopy(gain=1.5),
        OfflineCopy(noise=0.05),
        OfflineCopy(rotation=90),
    )
    recipe = replace(PLAIN, imputation="drop", offline_augmentation=copies)
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
    # Rotated by 90 degrees, the ramp lies along the other axis; points rotate about the centre.
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


def test_incomplete_faces_and_shifts_out_of_the_image_are_not_copied(faces: Faces) -> None:
    faces.keypoints[0, 0] = (2.0, 50.0)
    recipe = replace(
        PLAIN,
        imputation="ffill",
        offline_augmentation=(OfflineCopy(flip=True), OfflineCopy(shift_x=-5.0)),
    )
    enlarged = preprocessing.augment_offline(faces, recipe, 0)
    assert len(enlarged.ids) == 60 + 30 + 29


def test_the_real_labels_give_the_published_number_of_images(optional_data: Path) -> None:
    """7,049 faces and 10 copies of each complete face, without shifts out of the image: 26,239."""
    labels = (
        pd.read_csv(optional_data / "reference" / "training_keypoints.csv")
        .to_numpy(np.float32)
        .reshape(-1, NUM_KEYPOINTS, 2)
    )
    empty = np.zeros((len(labels), 1, 1), np.uint8)
    faces = Faces(empty, labels, np.arange(1, len(labels) + 1))
    complete = labels[imputation.has_all_points(faces, kartalovic().outputs())]
    made = sum(
        preprocessing.copied_points(complete, copy)[1].sum()
        for copy in kartalovic().offline_augmentation
    )
    assert len(complete) == 2_140
    assert len(complete) + made == 21_330
    assert len(labels) + made == 26_239
