"""Crop search: small faces are found through windows, and other predictions do not change."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from fkd_kaggle.training import crop_search, forward
from fkd_kaggle.training.label_offset import LabelOffset

pytestmark = pytest.mark.slow

ORDER = [1, 0, 2]
"""Mirror partners of the outputs: left eye, right eye, mouth."""

EYE, MOUTH = 0.6, 0.9
"""Distances of the points from the disc's centre, in radii."""


class DiscDetector(keras.layers.Layer):
    """Predicts the points of a bright disc if the disc has the usual size of a face.

    Otherwise the prediction is constant and disagrees with the one for the mirror image.
    """

    def call(self, images: Any) -> Any:
        bright = images[..., 0]
        area = ops.sum(bright, (1, 2))
        pixels = ops.arange(96, dtype="float32")
        x = ops.sum(ops.sum(bright, 1) * pixels, 1) / ops.maximum(area, 1.0)
        y = ops.sum(ops.sum(bright, 2) * pixels, 1) / ops.maximum(area, 1.0)
        radius = ops.sqrt(area / np.pi)
        eye = ops.stack([x + EYE * radius, y], -1)
        other = ops.stack([x - EYE * radius, y], -1)
        mouth = ops.stack([x, y + MOUTH * radius], -1)
        usual = ops.logical_and(radius > 24, radius < 36)[:, None, None]
        constant = ops.convert_to_tensor([[[20.0, 10.0], [8.0, 10.0], [14.0, 22.0]]])
        return ops.where(usual, ops.stack([eye, other, mouth], 1), constant)

    def compute_output_shape(self, shape: Any) -> tuple[Any, ...]:
        return (shape[0], 3, 2)


@pytest.fixture(name="detector")
def make_detector() -> keras.Model:
    image = keras.Input((96, 96, 1))
    return keras.Model(image, DiscDetector()(image))


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """Return a (96, 96) uint8 image of a disc with a soft edge."""
    across, down = np.meshgrid(np.arange(96), np.arange(96))
    inside = radius - np.hypot(across - x, down - y) + 0.5
    return np.rint(255 * np.clip(inside, 0, 1)).astype(np.uint8)


def points(x: float, y: float, radius: float) -> np.ndarray:
    return np.array(
        [[x + EYE * radius, y], [x - EYE * radius, y], [x, y + MOUTH * radius]], np.float32
    )


def test_a_face_of_usual_size_has_small_flip_disagreement(detector: keras.Model) -> None:
    image = disc(45, 50, 30)[None]
    found, disagreement = forward.predict_with_flip_disagreement(detector, image, ORDER)
    np.testing.assert_allclose(found[0], points(45, 50, 30), atol=0.2)
    assert disagreement[0] < 0.1


@pytest.mark.parametrize("face", [(30, 30, 14), (66, 60, 16), (45, 48, 20)])
def test_a_small_face_is_found_through_windows(
    detector: keras.Model, face: tuple[float, float, float]
) -> None:
    images = np.stack([disc(*face), disc(45, 50, 30)])
    once, disagreement = forward.predict_with_flip_disagreement(detector, images, ORDER)
    assert np.abs(once[0] - points(*face)).max() > 10
    assert disagreement[0] > 10 * crop_search.LARGE_DISAGREEMENT
    found = crop_search.predict_with_crop_search(detector, images, ORDER)
    # The tolerance is large because the edge of a window may cut off a part of the disc.
    np.testing.assert_allclose(found[0], points(*face), atol=1.0)
    np.testing.assert_array_equal(found[1], once[1])


def test_the_prediction_stays_where_no_window_finds_a_face(detector: keras.Model) -> None:
    black = np.zeros((1, 96, 96), np.uint8)
    assert np.isnan(crop_search.search_crops(detector, black, ORDER)).all()
    np.testing.assert_array_equal(
        crop_search.predict_with_crop_search(detector, black, ORDER),
        forward.predict_points(detector, black, ORDER),
    )


def test_a_single_window_does_not_count(detector: keras.Model) -> None:
    small = disc(30, 30, 14)[None]
    # Half of the image from its corner, which shows the disc in its usual size.
    windows = np.array([[[0.5, 0, 0], [0, 0.5, 0]]], np.float32)
    assert np.isnan(crop_search.search_crops(detector, small, ORDER, windows)).all()
    two = np.concatenate([windows, windows + 1e-3])
    found = crop_search.search_crops(detector, small, ORDER, two)
    np.testing.assert_allclose(found[0], points(30, 30, 14), atol=0.5)


def test_two_windows_with_different_faces_do_not_count(detector: keras.Model) -> None:
    two = np.maximum(disc(22, 22, 14), disc(72, 72, 14))[None]
    corners = [[[0.5, 0, start], [0, 0.5, start]] for start in (0.0, 47.5)]
    windows = np.array(corners, np.float32)
    assert np.isnan(crop_search.search_crops(detector, two, ORDER, windows)).all()


def test_only_a_small_fraction_is_searched_for(detector: keras.Model) -> None:
    images = np.stack([disc(30, 30, 14)] * 100)
    found = crop_search.predict_with_crop_search(detector, images, ORDER)
    right = np.abs(found - points(30, 30, 14)).max((1, 2)) < 0.5
    assert right.sum() == 100 * crop_search.MAX_FRACTION


def test_without_mirror_images_there_is_no_search(detector: keras.Model) -> None:
    small = disc(30, 30, 14)[None]
    np.testing.assert_array_equal(
        crop_search.predict_with_crop_search(detector, small, None),
        forward.predict_points(detector, small, None),
    )


def test_the_label_offset_is_in_pixels_of_the_image(detector: keras.Model) -> None:
    layer = LabelOffset(name="label_offset")
    shifted = keras.Model(detector.input, layer(detector.output))
    layer.kernel.assign(np.full((3, 2), 2.0 / layer.unit, np.float32))
    small = disc(30, 30, 14)[None]
    found = crop_search.search_crops(shifted, small, ORDER)
    np.testing.assert_allclose(found[0], points(30, 30, 14) + 2.0, atol=0.5)


def test_windows_are_inside_the_image() -> None:
    windows = crop_search.crop_windows()
    for corner in (0.0, 95.0):
        mapped = windows @ np.array([corner, corner, 1.0])
        assert mapped.min() >= -1e-4
        assert mapped.max() <= 95 + 1e-4
    assert len(np.unique(windows.reshape(len(windows), -1), axis=0)) == len(windows)
