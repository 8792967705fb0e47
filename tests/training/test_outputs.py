"""Outputs of networks: targets, mirrored outputs and keypoints by annotator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import make_faces

from fkd_kaggle.keypoints import FLIP_ORDER, NUM_KEYPOINTS, PARTIAL_KEYPOINTS, REGIONS
from fkd_kaggle.recipes.loading import load_recipe
from fkd_kaggle.recipes.schema import Augmentation, OfflineCopy, Recipe
from fkd_kaggle.training.outputs import (
    flip_averaging_order,
    flip_order,
    label_targets,
    to_keypoints,
)

RECIPE = Recipe("recipe")


def test_targets_are_separate_for_each_annotator() -> None:
    faces = make_faces(4, seed=0)
    labels = label_targets(faces, RECIPE)
    assert labels.shape == (4, NUM_KEYPOINTS + len(PARTIAL_KEYPOINTS), 2)
    np.testing.assert_array_equal(labels[0, :NUM_KEYPOINTS], faces.keypoints[0])
    assert np.isnan(labels[0, NUM_KEYPOINTS:]).all()
    assert np.isnan(labels[1, :NUM_KEYPOINTS]).all()
    np.testing.assert_array_equal(labels[1, NUM_KEYPOINTS:], faces.keypoints[1, PARTIAL_KEYPOINTS])


def test_keypoints_come_from_the_outputs_of_the_annotator() -> None:
    points = np.arange(2 * 19 * 2, dtype=np.float32).reshape(2, 19, 2)
    keypoints = to_keypoints(points, RECIPE, np.array([0, 1], np.uint8))
    np.testing.assert_array_equal(keypoints[0], points[0, :NUM_KEYPOINTS])
    np.testing.assert_array_equal(keypoints[1, PARTIAL_KEYPOINTS], points[1, NUM_KEYPOINTS:])
    assert np.isfinite(keypoints).all()


def test_keypoints_of_other_regions_are_nan() -> None:
    points = np.zeros((2, 9, 2), np.float32)
    region = replace(RECIPE, region="mouth-eyebrows")
    keypoints = to_keypoints(points, region, np.array([0, 1], np.uint8))
    assert np.isnan(keypoints[:, REGIONS["eyes-nose"]]).all()


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_flipping_outputs_twice_is_the_identity(region: str) -> None:
    order = flip_order(replace(RECIPE, region=region))
    assert [order[position] for position in order] == list(range(len(order)))
    if region == "all":
        assert tuple(order[:NUM_KEYPOINTS]) == FLIP_ORDER


def test_predictions_are_averaged_with_mirror_images_if_training_mirrors_faces() -> None:
    assert flip_averaging_order(RECIPE) == flip_order(RECIPE)
    without = replace(RECIPE, augmentation=Augmentation(flip=0))
    assert flip_averaging_order(without) is None
    copies = replace(without, offline_augmentation=(OfflineCopy(flip=True),))
    assert flip_averaging_order(copies) == flip_order(RECIPE)


def test_shipped_recipes_mirror_faces_as_their_publications_do() -> None:
    kartalovic, masked_cnn = load_recipe("kartalovic"), load_recipe("masked-cnn")
    assert isinstance(kartalovic, Recipe)
    assert isinstance(masked_cnn, Recipe)
    assert flip_averaging_order(kartalovic) is not None  # by offline augmentation
    assert flip_averaging_order(masked_cnn) is None
