"""Augmentation: draws random views of faces and changes their grey values.

A view (``nn.warp.View``) is an affine map with an optional mirror. The network predicts in the
pixels of the view, and ``View.to_face`` maps the predictions back to face pixels. The loss is
therefore computed in face pixels: labels are not warped and may be missing. All functions except
``gaussian_smoothing`` use ``keras.ops`` and run inside the training step on any device and backend.
"""

from __future__ import annotations

import functools
from math import pi
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn.warp import CENTRE, View, make_view
from fkd_kaggle.recipes.schema import Augmentation


def draw_view(batch: Any, strength: Augmentation, seed: keras.random.SeedGenerator) -> View:
    """Return a random view for each face of a batch.

    Parameters
    ----------
    batch
        Number of faces B, an int or a scalar tensor.
    strength
        Strength of each part of the augmentation.
    seed
        Source of random numbers; its state changes.
    """

    def symmetric(spread: float) -> Any:
        if strength.distribution == "uniform":
            return keras.random.uniform((batch,), -spread, spread, seed=seed)
        return spread * ops.clip(keras.random.normal((batch,), seed=seed), -2.5, 2.5)

    def uniform(low: float, high: float) -> Any:
        return keras.random.uniform((batch,), low, high, seed=seed)

    zoom = ops.exp(symmetric(strength.scale))
    shift_x, shift_y = symmetric(strength.shift), symmetric(strength.shift)
    if strength.zoom_out:
        # Imitates the wide crop of an inaccurate face detector. The whole image stays visible.
        size = ops.where(uniform(0, 1) < strength.zoom_out, uniform(0.5, 1), ops.ones((batch,)))
        margin = (1 - size) * CENTRE
        zoom = zoom * size
        shift_x = shift_x * size + margin * uniform(-1, 1)
        shift_y = shift_y * size + margin * uniform(-1, 1)
    return make_view(
        angle=symmetric(strength.rotation * pi / 180),
        zoom=zoom,
        aspect=ops.exp(symmetric(strength.stretch)),
        shear=symmetric(strength.shear),
        shift_x=shift_x,
        shift_y=shift_y,
        mirrored=keras.random.uniform((batch,), seed=seed) < strength.flip,
    )


def change_lighting(images: Any, strength: Augmentation, seed: keras.random.SeedGenerator) -> Any:
    """Change lighting and focus of images at random, add noise and erase rectangles.

    Parameters
    ----------
    images
        (B, 96, 96, 1) float32 grey values in [0, 1].
    strength
        Strength of each part of the augmentation.
    seed
        Source of random numbers; its state changes.

    Returns
    -------
    (B, 96, 96, 1) float32; values may lie outside [0, 1].
    """
    batch = ops.shape(images)[0]

    def uniform(half_range: float) -> Any:
        return keras.random.uniform((batch, 1, 1, 1), -half_range, half_range, seed=seed)

    if strength.gamma:
        # exp(γ · log x) is twice as fast as ops.power.
        images = ops.exp(ops.exp(uniform(strength.gamma)) * ops.log(ops.maximum(images, 1e-3)))
    # Contrast changes the distance from mid-grey. Contrast, gain and brightness are combined into
    # one factor and one offset, because each pass over all pixels takes time.
    contrast = ops.exp(uniform(strength.contrast))
    factor = contrast * (1.0 + uniform(strength.gain))
    offset = 0.5 - 0.5 * contrast + uniform(strength.brightness)
    images = images * factor + offset
    if strength.lighting_gradient:
        position = (ops.arange(IMAGE_SIZE, dtype="float32") - CENTRE) / CENTRE
        images = images * (1.0 + uniform(strength.lighting_gradient) * position[:, None])
        images = images * (1.0 + uniform(strength.lighting_gradient) * position[:, None, None])
    if strength.blur:
        images = _blur(images, strength.blur, seed)
    if strength.noise:
        # Uniform noise with standard deviation 1 is drawn once for the batch and scaled by a
        # random factor, which may be negative, for each image. Separate noise for each image, or
        # normal noise, takes much longer.
        noise = keras.random.uniform((IMAGE_SIZE, IMAGE_SIZE, 1), -(3**0.5), 3**0.5, seed=seed)
        images = images + uniform(strength.noise) * noise
    if strength.random_erasing:
        images = _erase_rectangle(images, strength.random_erasing, seed)
    return images


def gaussian_smoothing(sigma: float, radius: int) -> np.ndarray:
    """Return a matrix that smooths columns of 96 pixels with a Gaussian.

    Parameters
    ----------
    sigma
        Standard deviation in pixels.
    radius
        Distance in pixels at which the Gaussian is cut off. Edges are reflected.

    Returns
    -------
    (96, 96) float32.
    """
    weights = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / sigma))
    padded = np.pad(np.eye(IMAGE_SIZE), [(radius, radius), (0, 0)], mode="reflect")
    moved = [weight * padded[start : start + IMAGE_SIZE] for start, weight in enumerate(weights)]
    return (np.sum(moved, 0) / weights.sum()).astype(np.float32)


def _blur(images: Any, probability: float, seed: keras.random.SeedGenerator) -> Any:
    """Mix a random selection of the images with their smoothed versions, in random proportion."""
    smoothing = _blur_matrix()
    # Matrix products, because a convolution of one channel takes several times as long.
    smooth = ops.matmul(ops.matmul(smoothing, images[..., 0]), smoothing.T)[..., None]
    shape = (ops.shape(images)[0], 1, 1, 1)
    chosen = keras.random.uniform(shape, seed=seed) < probability
    share = keras.random.uniform(shape, seed=seed)
    return images + ops.where(chosen, share, ops.zeros_like(share)) * (smooth - images)


@functools.cache
def _blur_matrix() -> np.ndarray:
    return gaussian_smoothing(sigma=2.0, radius=4)


def _erase_rectangle(images: Any, probability: float, seed: keras.random.SeedGenerator) -> Any:
    """Fill a random rectangle with a random grey value, in a random selection of the images."""
    batch = ops.shape(images)[0]

    def uniform(low: float, high: float) -> Any:
        return keras.random.uniform((batch, 1), low, high, seed=seed)

    pixels = ops.arange(IMAGE_SIZE, dtype="float32")[None]
    half_x, half_y = uniform(4, 16), uniform(4, 16)
    inside_x = ops.abs(pixels - uniform(0, IMAGE_SIZE)) < half_x
    inside_y = ops.abs(pixels - uniform(0, IMAGE_SIZE)) < half_y
    chosen = uniform(0, 1) < probability
    erased = ops.logical_and(inside_y[:, :, None], ops.logical_and(inside_x, chosen)[:, None])
    return ops.where(erased[..., None], ops.reshape(uniform(0, 1), (batch, 1, 1, 1)), images)
