"""Augmentation: distributions of random views, and each photometric change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.recipes.schema import Augmentation
from fkd_kaggle.training.augmentation import change_lighting, draw_view, gaussian_smoothing

pytestmark = pytest.mark.slow

STRONG = Augmentation(rotation=25, scale=0.2, stretch=0.1, shear=0.1, shift=8)

NONE = Augmentation(
    rotation=0, scale=0, shift=0, flip=0, brightness=0, contrast=0, gamma=0, noise=0
)


def seed(value: int = 0) -> keras.random.SeedGenerator:
    return keras.random.SeedGenerator(value)


def changed_images(images: np.ndarray, **changes: Any) -> np.ndarray:
    """Return the (N, 96, 96, 1) images after ``change_lighting`` with one part switched on."""
    return ops.convert_to_numpy(change_lighting(images, replace(NONE, **changes), seed()))


def test_zoom_out_keeps_the_whole_image_visible() -> None:
    view = draw_view(200, replace(NONE, zoom_out=1.0), seed())
    corners = np.tile(np.array([[0, 0], [95, 0], [0, 95], [95, 95]], np.float32), (200, 1, 1))
    mapped = ops.convert_to_numpy(view.to_view(corners, range(4)))
    assert mapped.min() > -0.01
    assert mapped.max() < 95.01
    sizes = np.ptp(mapped[..., 0], axis=1) / 95
    assert 0.5 <= sizes.min() < 0.52
    assert 0.98 < sizes.max() <= 1.001
    assert mapped.mean(1).std(0).min() > 5  # at different places


def test_zoom_out_is_a_probability() -> None:
    view = draw_view(200, replace(NONE, zoom_out=0.1), seed())
    fraction = (ops.convert_to_numpy(view.matrix)[:, 0, 0] > 1.001).mean()
    assert 0.03 < fraction < 0.2


def test_zero_strength_is_the_identity() -> None:
    images = np.random.default_rng(0).uniform(size=(3, IMAGE_SIZE, IMAGE_SIZE, 1)).astype("float32")
    view = draw_view(3, NONE, seed())
    changed = change_lighting(view.warp(images), NONE, seed())
    np.testing.assert_allclose(ops.convert_to_numpy(changed), images, atol=1e-5)


def test_a_uniform_distribution_fills_its_range() -> None:
    strength = replace(NONE, distribution="uniform", rotation=15.0)
    matrix = ops.convert_to_numpy(draw_view(400, strength, seed()).matrix)
    angles = np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 1, 1]))
    assert 14.5 < np.abs(angles).max() <= 15.0
    assert np.abs(angles).mean() == pytest.approx(7.5, abs=0.7)


def test_the_same_seed_draws_the_same_views() -> None:
    one, two = draw_view(5, STRONG, seed(7)), draw_view(5, STRONG, seed(7))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(one.matrix), ops.convert_to_numpy(two.matrix)
    )


@pytest.mark.parametrize(
    "part",
    [
        "brightness",
        "contrast",
        "gamma",
        "noise",
        "random_erasing",
        "gain",
        "lighting_gradient",
        "blur",
    ],
)
def test_each_photometric_part_changes_pixels(part: str) -> None:
    images = (
        np.random.default_rng(0)
        .uniform(0.2, 0.8, (16, IMAGE_SIZE, IMAGE_SIZE, 1))
        .astype("float32")
    )
    changed = changed_images(images, **{part: 0.9})
    assert changed.shape == images.shape
    assert np.abs(changed - images).max() > 0.05


def test_gain_multiplies_grey_values_within_its_range() -> None:
    images = np.full((64, IMAGE_SIZE, IMAGE_SIZE, 1), 0.5, "float32")
    changed = changed_images(images, gain=0.2)
    factors = changed[:, 0, 0, 0] / 0.5
    assert np.ptp(changed, axis=(1, 2)).max() < 1e-6
    assert 0.8 <= factors.min() < 0.86
    assert 1.14 < factors.max() <= 1.2


def test_a_lighting_gradient_does_not_change_the_middle() -> None:
    grey = np.full((50, IMAGE_SIZE, IMAGE_SIZE, 1), 0.4, np.float32)
    changed = changed_images(grey, lighting_gradient=0.5)[..., 0]
    np.testing.assert_allclose(changed[:, 47:49, 47:49], 0.4, rtol=0.02)
    left, right = changed[:, 48, 0], changed[:, 48, -1]
    np.testing.assert_allclose(left + right, 0.8, rtol=0.02)
    assert 0.15 < np.abs(left - 0.4).max() <= 0.21
    assert (left > right).any()
    assert (left < right).any()


def test_smoothing_equals_scipys_gaussian_filter() -> None:
    image = np.random.default_rng(0).uniform(size=(IMAGE_SIZE, IMAGE_SIZE))
    smoothing = gaussian_smoothing(sigma=2.0, radius=4)
    expected = ndimage.gaussian_filter(image, 2.0, mode="mirror", radius=4)
    np.testing.assert_allclose(smoothing @ image @ smoothing.T, expected, atol=1e-5)


def test_blur_mixes_an_image_with_its_smoothed_version() -> None:
    image = np.random.default_rng(0).uniform(size=(IMAGE_SIZE, IMAGE_SIZE))
    smooth = ndimage.gaussian_filter(image, 2.0, mode="mirror", radius=4)
    images = np.tile(image, (64, 1, 1))[..., None].astype("float32")
    changed = changed_images(images, blur=0.5)[..., 0]
    # The proportion is random for each image and the same for all its pixels.
    share = np.median((changed - image) / (smooth - image), axis=(1, 2))
    expected = image + share[:, None, None] * (smooth - image)
    np.testing.assert_allclose(changed, expected, atol=1e-3)
    assert 0.3 < (np.abs(share) < 1e-3).mean() < 0.7
    assert share.max() > 0.8


def test_blur_spreads_a_spot_and_keeps_its_sum() -> None:
    spot = np.zeros((60, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)
    spot[:, 40, 50] = 1.0
    changed = changed_images(spot, blur=0.5)[..., 0]
    np.testing.assert_allclose(changed.sum((1, 2)), 1.0, rtol=1e-3)
    np.testing.assert_allclose(changed[:, 40, 48], changed[:, 40, 52], atol=1e-6)
    peaks = changed[:, 40, 50]
    assert 0.3 < (peaks == 1.0).mean() < 0.7
    assert peaks.min() < 0.3


def test_blur_does_not_darken_the_edges() -> None:
    grey = np.full((8, IMAGE_SIZE, IMAGE_SIZE, 1), 0.7, np.float32)
    np.testing.assert_allclose(changed_images(grey, blur=1.0), 0.7, rtol=1e-4)
