"""Views: an image warp and the way its points come back agree, and every view has an inverse."""

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

STRONG = Augmentation(rotation=25, scale=0.2, stretch=0.1, shear=0.1, shift=8)

STILL = Augmentation(
    rotation=0, scale=0, shift=0, flip=0, brightness=0, contrast=0, gamma=0, noise=0
)


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
    """The warp that makes the image and the map that takes points back are the same map."""
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
    """Return (count, 96, 96, 1) images with nothing in them that interpolation could lose."""
    noise = np.random.default_rng(0).uniform(size=(count, IMAGE_SIZE, IMAGE_SIZE))
    soft = ndimage.gaussian_filter(noise, (0, 6, 6))
    return ((soft - soft.min()) / np.ptp(soft))[..., None].astype("float32")


def test_maps_one_after_the_other_are_one_map() -> None:
    points = np.random.default_rng(0).uniform(0, 95, (6, NUM_KEYPOINTS, 2)).astype("float32")
    first, second = (augmentation.draw_view(6, STRONG, seed(value)).matrix for value in (1, 2))
    at_once = warp.transform_points(points, warp.compose_maps(second, first))
    in_turn = warp.transform_points(warp.transform_points(points, first), second)
    np.testing.assert_allclose(at_once, in_turn, atol=1e-3)


def test_a_view_of_the_image_at_half_its_size_is_the_view_at_half_its_size() -> None:
    images = smooth_images(6)
    view = augmentation.draw_view(6, replace(STRONG, shift=2), seed(4))
    wanted = ops.convert_to_numpy(ops.average_pool(view.warp(images), 2, 2))
    small = warp.warp_images(ops.average_pool(images, 2, 2), warp.halve_map(view.matrix))
    assert small.shape == (6, IMAGE_SIZE // 2, IMAGE_SIZE // 2, 1)
    # Inside: at the edges either is extended from other pixels.
    inner = (slice(None), slice(12, -12), slice(12, -12))
    np.testing.assert_allclose(ops.convert_to_numpy(small)[inner], wanted[inner], atol=0.01)
    shifted = ops.convert_to_numpy(warp.warp_images(ops.average_pool(images, 2, 2), view.matrix))
    assert np.abs(shifted[inner] - wanted[inner]).max() > 0.05


def test_xla_compiles_the_warp_and_warps_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's own image transformation has no XLA kernel, on no device."""
    images = (
        np.random.default_rng(0).uniform(size=(16, IMAGE_SIZE, IMAGE_SIZE, 1)).astype("float32")
    )
    view = augmentation.draw_view(16, replace(STRONG, far=0.5), seed(3))
    plain = ops.convert_to_numpy(view.warp(images))
    monkeypatch.setattr(backend, "uses_xla", lambda: True)

    class Warped(keras.Model):
        def call(self, inputs: Any) -> Any:
            return warp.warp_images(*inputs)

    model = Warped()
    model.compile(jit_compile=True)
    compiled = model.predict_on_batch([images, ops.convert_to_numpy(view.matrix)])
    np.testing.assert_allclose(compiled, plain, atol=1e-4)


def test_from_afar_the_whole_picture_is_seen_somewhere() -> None:
    view = augmentation.draw_view(200, replace(STILL, far=1.0), seed())
    corners = np.tile(np.array([[0, 0], [95, 0], [0, 95], [95, 95]], np.float32), (200, 1, 1))
    seen = ops.convert_to_numpy(view.to_view(corners, range(4)))
    assert seen.min() > -0.01
    assert seen.max() < 95.01
    sizes = np.ptp(seen[..., 0], axis=1) / 95
    assert 0.5 <= sizes.min() < 0.52
    assert 0.98 < sizes.max() <= 1.001
    assert seen.mean(1).std(0).min() > 5  # not always in the middle
    rarely = augmentation.draw_view(200, replace(STILL, far=0.1), seed())
    share = (ops.convert_to_numpy(rarely.matrix)[:, 0, 0] > 1.001).mean()
    assert 0.03 < share < 0.2


def test_mirroring_twice_is_no_change() -> None:
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


def test_zero_strength_is_the_identity() -> None:
    images = np.random.default_rng(0).uniform(size=(3, IMAGE_SIZE, IMAGE_SIZE, 1)).astype("float32")
    view = augmentation.draw_view(3, STILL, seed())
    seen = augmentation.change_lighting(view.warp(images), STILL, seed())
    np.testing.assert_allclose(ops.convert_to_numpy(seen), images, atol=1e-5)


def test_out_of_focus_is_what_a_gaussian_makes_of_it() -> None:
    image = np.random.default_rng(0).uniform(size=(IMAGE_SIZE, IMAGE_SIZE))
    across = augmentation._smoothing(sigma=2.0, reach=4)
    soft = ndimage.gaussian_filter(image, 2.0, mode="mirror", radius=4)
    np.testing.assert_allclose(across @ image @ across.T, soft, atol=1e-5)
    images = np.tile(image, (64, 1, 1))[..., None].astype("float32")
    seen = ops.convert_to_numpy(
        augmentation.change_lighting(images, replace(STILL, blur=0.5), seed())
    )
    # On the way from sharp to soft, by chance: as far in one pixel as in the next.
    share = (seen[..., 0] - image) / (soft - image)
    share = np.median(share, axis=(1, 2))
    np.testing.assert_allclose(
        seen[..., 0], image + share[:, None, None] * (soft - image), atol=1e-3
    )
    assert 0.3 < (np.abs(share) < 1e-3).mean() < 0.7
    assert share.max() > 0.8


def test_a_gain_multiplies_grey_values_within_its_range() -> None:
    strength = replace(STILL, gain=0.2)
    images = np.full((64, IMAGE_SIZE, IMAGE_SIZE, 1), 0.5, "float32")
    changed = ops.convert_to_numpy(augmentation.change_lighting(images, strength, seed()))
    factors = changed[:, 0, 0, 0] / 0.5
    assert np.ptp(changed, axis=(1, 2)).max() < 1e-6
    assert 0.8 <= factors.min() < 0.86
    assert 1.14 < factors.max() <= 1.2


def test_a_uniform_distribution_keeps_within_its_range_and_fills_it() -> None:
    strength = replace(STILL, distribution="uniform", rotation=15.0)
    matrix = ops.convert_to_numpy(augmentation.draw_view(400, strength, seed()).matrix)
    angles = np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 1, 1]))
    assert 14.5 < np.abs(angles).max() <= 15.0
    assert np.abs(angles).mean() == pytest.approx(7.5, abs=0.7)


@pytest.mark.parametrize(
    "part", ["brightness", "contrast", "gamma", "noise", "erase", "gain", "shade", "blur"]
)
def test_each_photometric_change_changes_pixels_and_nothing_else(part: str) -> None:
    none = Augmentation(brightness=0, contrast=0, gamma=0, noise=0, erase=0)
    changes: dict[str, Any] = {part: 0.9}
    strength = replace(none, **changes)
    images = (
        np.random.default_rng(0)
        .uniform(0.2, 0.8, (16, IMAGE_SIZE, IMAGE_SIZE, 1))
        .astype("float32")
    )
    changed = ops.convert_to_numpy(augmentation.change_lighting(images, strength, seed()))
    assert changed.shape == images.shape
    assert np.abs(changed - images).max() > 0.05


def test_shade_lights_one_side_and_leaves_the_middle() -> None:
    grey = np.full((50, IMAGE_SIZE, IMAGE_SIZE, 1), 0.4, np.float32)
    lit = ops.convert_to_numpy(
        augmentation.change_lighting(grey, replace(STILL, shade=0.5), seed())
    )[..., 0]
    np.testing.assert_allclose(lit[:, 47:49, 47:49], 0.4, rtol=0.02)
    left, right = lit[:, 48, 0], lit[:, 48, -1]
    np.testing.assert_allclose(left + right, 0.8, rtol=0.02)
    assert 0.15 < np.abs(left - 0.4).max() <= 0.21
    assert (left > right).any()
    assert (left < right).any()


def test_blur_spreads_a_spot_keeps_its_light_and_spares_some_views() -> None:
    spot = np.zeros((60, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)
    spot[:, 40, 50] = 1.0
    soft = ops.convert_to_numpy(
        augmentation.change_lighting(spot, replace(STILL, blur=0.5), seed())
    )[..., 0]
    np.testing.assert_allclose(soft.sum((1, 2)), 1.0, rtol=1e-3)
    np.testing.assert_allclose(soft[:, 40, 48], soft[:, 40, 52], atol=1e-6)
    peaks = soft[:, 40, 50]
    assert 0.3 < (peaks == 1.0).mean() < 0.7
    assert peaks.min() < 0.3


def test_blur_does_not_darken_the_edge() -> None:
    grey = np.full((8, IMAGE_SIZE, IMAGE_SIZE, 1), 0.7, np.float32)
    soft = ops.convert_to_numpy(
        augmentation.change_lighting(grey, replace(STILL, blur=1.0), seed())
    )
    np.testing.assert_allclose(soft, 0.7, rtol=1e-4)


def test_the_same_seed_draws_the_same_views() -> None:
    one, two = (
        augmentation.draw_view(5, STRONG, seed(7)),
        augmentation.draw_view(5, STRONG, seed(7)),
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(one.matrix), ops.convert_to_numpy(two.matrix)
    )
