"""Views: random looks at a face that know their own inverse.

A view is an affine map (with an optional mirror) plus photometric changes. The network predicts in
the view's frame and ``to_face`` maps its points back, so the loss is taken where the labels are:
targets are never warped and missing labels need no care. Averaging ``to_face`` over several views
at prediction *is* test-time augmentation. Everything here is ``keras.ops`` and runs inside the
training step on whatever device and backend the model runs on.

The map is kept in the direction an image warp needs, view pixel → face pixel; that is also exactly
what takes predictions back, so no matrix is ever inverted.
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
    """Draw a random view for each of ``batch`` faces."""

    def stray(spread: float) -> Any:
        if strength.distribution == "uniform":
            return keras.random.uniform((batch,), -spread, spread, seed=seed)
        return spread * ops.clip(keras.random.normal((batch,), seed=seed), -2.5, 2.5)

    def uniform(low: float, high: float) -> Any:
        return keras.random.uniform((batch,), low, high, seed=seed)

    zoom = ops.exp(stray(strength.scale))
    shift_x, shift_y = stray(strength.shift), stray(strength.shift)
    if strength.far:
        # Cut as wide as a careless detector does; what was the picture stays in the picture.
        size = ops.where(uniform(0, 1) < strength.far, uniform(0.5, 1), ops.ones((batch,)))
        room = (1 - size) * CENTRE
        zoom = zoom * size
        shift_x = shift_x * size + room * uniform(-1, 1)
        shift_y = shift_y * size + room * uniform(-1, 1)
    return make_view(
        angle=stray(strength.rotation * pi / 180),
        zoom=zoom,
        aspect=ops.exp(stray(strength.stretch)),
        shear=stray(strength.shear),
        shift_x=shift_x,
        shift_y=shift_y,
        mirrored=keras.random.uniform((batch,), seed=seed) < strength.flip,
    )


def change_lighting(images: Any, strength: Augmentation, seed: keras.random.SeedGenerator) -> Any:
    """Change the light, and add the noise, of (B, 96, 96, 1) float images in [0, 1]."""
    batch = ops.shape(images)[0]

    def uniform(reach: float) -> Any:
        return keras.random.uniform((batch, 1, 1, 1), -reach, reach, seed=seed)

    if strength.gamma:
        # Twice as fast as a power.
        images = ops.exp(ops.exp(uniform(strength.gamma)) * ops.log(ops.maximum(images, 1e-3)))
    # Contrast is about mid-grey. All of it as one factor and one offset: a pass over all pixels is
    # what costs time.
    contrast = ops.exp(uniform(strength.contrast))
    factor = contrast * (1.0 + uniform(strength.gain))
    offset = 0.5 - 0.5 * contrast + uniform(strength.brightness)
    images = images * factor + offset
    if strength.shade:
        across = (ops.arange(IMAGE_SIZE, dtype="float32") - CENTRE) / CENTRE
        images = images * (1.0 + uniform(strength.shade) * across[:, None])
        images = images * (1.0 + uniform(strength.shade) * across[:, None, None])
    if strength.blur:
        images = _blur(images, strength.blur, seed)
    if strength.noise:
        # One grain a batch, more or less of it, or of its negative; and uniform with a standard
        # deviation of one: other numbers for each image, and normal ones, take their time.
        grain = keras.random.uniform((IMAGE_SIZE, IMAGE_SIZE, 1), -(3**0.5), 3**0.5, seed=seed)
        images = images + uniform(strength.noise) * grain
    if strength.erase:
        images = _erase(images, strength.erase, seed)
    return images


def _blur(images: Any, probability: float, seed: keras.random.SeedGenerator) -> Any:
    """Mix some images with what a Gaussian of two pixels makes of them."""
    across = _smoothing(sigma=2.0, reach=4)
    # Products of matrices: a convolution of one channel takes several times as long.
    soft = ops.matmul(ops.matmul(across, images[..., 0]), across.T)[..., None]
    shape = (ops.shape(images)[0], 1, 1, 1)
    chosen = keras.random.uniform(shape, seed=seed) < probability
    share = keras.random.uniform(shape, seed=seed)
    return images + ops.where(chosen, share, ops.zeros_like(share)) * (soft - images)


@functools.cache
def _smoothing(sigma: float, reach: int) -> np.ndarray:
    """Return the (96, 96) float32 matrix that smooths columns of pixels, mirrored at the ends."""
    weights = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma))
    padded = np.pad(np.eye(IMAGE_SIZE), [(reach, reach), (0, 0)], mode="reflect")
    moved = [weight * padded[start : start + IMAGE_SIZE] for start, weight in enumerate(weights)]
    return (np.sum(moved, 0) / weights.sum()).astype(np.float32)


def _erase(images: Any, probability: float, seed: keras.random.SeedGenerator) -> Any:
    batch = ops.shape(images)[0]

    def uniform(low: float, high: float) -> Any:
        return keras.random.uniform((batch, 1), low, high, seed=seed)

    pixels = ops.arange(IMAGE_SIZE, dtype="float32")[None]
    half_x, half_y = uniform(4, 16), uniform(4, 16)
    inside_x = ops.abs(pixels - uniform(0, IMAGE_SIZE)) < half_x
    inside_y = ops.abs(pixels - uniform(0, IMAGE_SIZE)) < half_y
    chosen = uniform(0, 1) < probability
    hole = ops.logical_and(inside_y[:, :, None], ops.logical_and(inside_x, chosen)[:, None])
    return ops.where(hole[..., None], ops.reshape(uniform(0, 1), (batch, 1, 1, 1)), images)
