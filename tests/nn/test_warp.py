"""Views: the warp of images and the maps of points agree, and every view has an inverse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy import ndimage

from fkd_kaggle.keypoints import FLIP_ORDER, IMAGE_SIZE, NUM_KEYPOINTS
from fkd_kaggle.nn import backend, warp
from fkd_kaggle.recipes.schema import Augmentation
from fkd_kaggle.training import augmentation

pytestmark = pytest.mark.slow

STRONG = Augmentation(rotation=25, scale=0.2, stretch=0.1, shear=0.1, shift=8)


def seed(value: int = 0) -> keras.random.SeedGenerator:
    return keras.random.SeedGenerator(value)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31 - 1))
def test_to_face_undoes_to_view(value: int) -> None:
    points = np.random.default_rng(value).uniform(0, 95, (8, NUM_KEYPOINTS, 2)).astype("float32")
    view = augmentation.draw_view(8, STRONG, seed(value))
    back = view.to_face(view.to_view(points, FLIP_ORDER), FLIP_ORDER)
    np.testing.assert_allclose(ops.convert_to_numpy(back), points, atol=1e-2)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31 - 1))
def test_a_bright_spot_moves_with_its_point(value: int) -> None:
    """The warp of images and the map of points are the same map."""
    spot = np.random.default_rng(value).uniform(35, 60, (1, 1, 2)).astype("float32")
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    image = np.exp(-((x - spot[0, 0, 0]) ** 2 + (y - spot[0, 0, 1]) ** 2) / 18.0)
    view = augmentation.draw_view(
        1, Augmentation(rotation=15, scale=0.1, shear=0.1, shift=3), seed(value)
    )
    seen = ops.convert_to_numpy(view.warp(image.astype("float32")[None, :, :, None]))[0, :, :, 0]
    centre = np.array([[(seen * x).sum(), (seen * y).sum()]]) / seen.sum()
    back = ops.convert_to_numpy(view.to_face(centre[None].astype("float32"), [0]))
    np.testing.assert_allclose(back, spot, atol=0.15)


def smooth_images(count: int) -> np.ndarray:
    """Return (count, 96, 96, 1) images without fine detail, which interpolation would change."""
    noise = np.random.default_rng(0).uniform(size=(count, IMAGE_SIZE, IMAGE_SIZE))
    soft = ndimage.gaussian_filter(noise, (0, 6, 6))
    return ((soft - soft.min()) / np.ptp(soft))[..., None].astype("float32")


def test_composed_maps_equal_maps_in_sequence() -> None:
    points = np.random.default_rng(0).uniform(0, 95, (6, NUM_KEYPOINTS, 2)).astype("float32")
    first, second = (augmentation.draw_view(6, STRONG, seed(value)).matrix for value in (1, 2))
    at_once = warp.transform_points(points, warp.compose_maps(second, first))
    in_turn = warp.transform_points(warp.transform_points(points, first), second)
    np.testing.assert_allclose(at_once, in_turn, atol=1e-3)


def test_a_halved_map_warps_images_of_half_the_size() -> None:
    images = smooth_images(6)
    view = augmentation.draw_view(6, replace(STRONG, shift=2), seed(4))
    wanted = ops.convert_to_numpy(ops.average_pool(view.warp(images), 2, 2))
    small = warp.warp_images(ops.average_pool(images, 2, 2), warp.halve_map(view.matrix))
    assert small.shape == (6, IMAGE_SIZE // 2, IMAGE_SIZE // 2, 1)
    # Without the edges, which are extended from different pixels.
    inner = (slice(None), slice(12, -12), slice(12, -12))
    np.testing.assert_allclose(ops.convert_to_numpy(small)[inner], wanted[inner], atol=0.01)
    shifted = ops.convert_to_numpy(warp.warp_images(ops.average_pool(images, 2, 2), view.matrix))
    assert np.abs(shifted[inner] - wanted[inner]).max() > 0.05


def test_xla_compiles_the_warp_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's image transformation has no XLA kernel."""
    images = (
        np.random.default_rng(0).uniform(size=(16, IMAGE_SIZE, IMAGE_SIZE, 1)).astype("float32")
    )
    view = augmentation.draw_view(16, replace(STRONG, zoom_out=0.5), seed(3))
    plain = ops.convert_to_numpy(view.warp(images))
    monkeypatch.setattr(backend, "uses_xla", lambda: True)

    class Warped(keras.Model):
        def call(self, inputs: Any) -> Any:
            return warp.warp_images(*inputs)

    model = Warped()
    model.compile(jit_compile=True)
    compiled = model.predict_on_batch([images, ops.convert_to_numpy(view.matrix)])
    np.testing.assert_allclose(compiled, plain, atol=1e-4)


def test_mirroring_twice_is_the_identity() -> None:
    view = augmentation.draw_view(4, Augmentation(rotation=0, scale=0, shift=0, flip=1), seed())
    images = np.random.default_rng(0).uniform(size=(4, IMAGE_SIZE, IMAGE_SIZE, 1)).astype("float32")
    once = view.warp(images)
    np.testing.assert_allclose(ops.convert_to_numpy(once), images[:, :, ::-1], atol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(view.warp(once)), images, atol=1e-4)


def test_a_mirrored_view_swaps_left_and_right() -> None:
    view = augmentation.draw_view(1, Augmentation(rotation=0, scale=0, shift=0, flip=1), seed())
    points = np.arange(2 * NUM_KEYPOINTS, dtype="float32").reshape(1, NUM_KEYPOINTS, 2)
    back = ops.convert_to_numpy(view.to_face(points, FLIP_ORDER))[0]
    np.testing.assert_allclose(
        back[0], [IMAGE_SIZE - 1 - points[0, 1, 0], points[0, 1, 1]], atol=1e-3
    )
