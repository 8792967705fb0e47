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
from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle import backend
from fkd_kaggle.keypoints import SIZE
from fkd_kaggle.recipes import Augmentation

CENTRE = (SIZE - 1) / 2


@dataclass(frozen=True)
class View:
    """One look at each of B faces."""

    matrix: Any
    """(B, 2, 3) float32: view pixel (x, y, 1) → face pixel (x, y)."""
    mirrored: Any
    """(B,) bool: the view shows the face's mirror image."""

    def warp(self, images: Any) -> Any:
        """Return (B, 96, 96, 1) ``images`` as the view shows them, bilinear, edges extended."""
        return warp(images, self.matrix)

    def to_face(self, points: Any, flip: Sequence[int]) -> Any:
        """Map (B, P, 2) points in view pixels back to face pixels.

        ``flip`` (P,) says which output answers for which once left and right are swapped.
        """
        swapped = ops.take(points, ops.convert_to_tensor(list(flip), "int32"), axis=1)
        return moved(ops.where(self.mirrored[:, None, None], swapped, points), self.matrix)

    def to_view(self, points: Any, flip: Sequence[int]) -> Any:
        """Map (B, P, 2) points in face pixels into the view: the inverse of ``to_face``."""
        points = moved_back(points, self.matrix)
        swapped = ops.take(points, ops.convert_to_tensor(list(flip), "int32"), axis=1)
        return ops.where(self.mirrored[:, None, None], swapped, points)


def warp(images: Any, matrix: Any) -> Any:
    """Return (B, S, S, 1) ``images`` through (B, 2, 3) maps new pixel → old pixel, bilinear."""
    if keras.backend.backend() == "tensorflow" and backend.compiles():
        return _sampled(images, matrix)
    batch = ops.shape(matrix)[0]
    rows = ops.reshape(matrix, (batch, 6))
    transform = ops.concatenate([rows, ops.zeros((batch, 2), rows.dtype)], axis=1)
    return ops.image.affine_transform(
        images, transform, interpolation="bilinear", fill_mode="nearest"
    )


def _sampled(images: Any, matrix: Any) -> Any:
    """Do as ``warp`` in small steps: XLA has no kernel for TensorFlow's image transformation."""
    batch, size = ops.shape(matrix)[0], images.shape[1]
    last = size - 1
    pixels = np.arange(size, dtype=np.float32)
    x, y = pixels[None, None, :], pixels[None, :, None]

    def place(row: Any) -> tuple[Any, Any, Any]:
        """Return the two neighbours of where the new pixels come from, and how far between."""
        at = row[:, 0, None, None] * x + row[:, 1, None, None] * y + row[:, 2, None, None]
        at = ops.clip(at, 0.0, last)
        before = ops.floor(at)
        return before, ops.minimum(before + 1.0, last), at - before

    left, right, across = place(matrix[:, 0])
    top, bottom, down = place(matrix[:, 1])
    flat = ops.reshape(images, (-1,))
    starts = ops.reshape(ops.arange(batch, dtype="int32") * size**2, (batch, 1, 1))

    def grey(row: Any, column: Any) -> Any:
        return ops.take(flat, starts + ops.cast(row * size + column, "int32"))

    above = grey(top, left) * (1.0 - across) + grey(top, right) * across
    below = grey(bottom, left) * (1.0 - across) + grey(bottom, right) * across
    return (above * (1.0 - down) + below * down)[..., None]


def composed(outer: Any, inner: Any) -> Any:
    """Return the (B, 2, 3) map that does what ``inner`` does and then what ``outer`` does."""
    linear = ops.matmul(outer[:, :, :2], inner[:, :, :2])
    return ops.concatenate([linear, moved(inner[:, None, :, 2], outer)[:, 0, :, None]], -1)


def halved(matrix: Any) -> Any:
    """Return the (B, 2, 3) map between images of half the size, each pixel the mean of four."""
    linear, offset = matrix[:, :, :2], matrix[:, :, 2]
    # Pixel p of the small image has its centre at 2p + 0.5 of the large one.
    offset = (ops.sum(linear, -1) * 0.5 + offset - 0.5) / 2
    return ops.concatenate([linear, offset[..., None]], -1)


def moved(points: Any, matrix: Any) -> Any:
    """Return (B, P, 2) ``points`` as the (B, 2, 3) affine ``matrix`` maps them."""
    linear, offset = matrix[:, :, :2], matrix[:, :, 2]
    return ops.sum(linear[:, None] * points[:, :, None, :], axis=-1) + offset[:, None]


def moved_back(points: Any, matrix: Any) -> Any:
    """Return what ``moved`` takes to ``points``."""
    linear, offset = matrix[:, :, :2], matrix[:, :, 2]
    a, b, c, d = linear[:, 0, 0], linear[:, 0, 1], linear[:, 1, 0], linear[:, 1, 1]
    adjugate = ops.stack([ops.stack([d, -b], -1), ops.stack([-c, a], -1)], 1)
    inverse = adjugate / (a * d - b * c)[:, None, None]
    return ops.sum(inverse[:, None] * (points - offset[:, None])[:, :, None, :], axis=-1)


def compose(
    angle: Any, zoom: Any, aspect: Any, shear: Any, shift_x: Any, shift_y: Any, mirrored: Any
) -> View:
    """Build a view from its parameters, each (B,) float32; angles in radians, shifts in pixels.

    The face is mirrored, stretched, sheared, zoomed and turned about the image centre, then
    shifted; a ``zoom`` above 1 shows the face larger.
    """
    cos, sin = ops.cos(angle), ops.sin(angle)
    sign = ops.where(mirrored, -1.0, 1.0)
    x, y = ops.sqrt(aspect) / zoom, 1.0 / (ops.sqrt(aspect) * zoom)
    # face = mirror · scale · shear · rotate · (view - centre - shift) + centre
    a = sign * x * (cos + shear * sin)
    b = sign * x * (-sin + shear * cos)
    c, d = y * sin, y * cos
    off_x, off_y = -CENTRE - shift_x, -CENTRE - shift_y
    top = ops.stack([a, b, a * off_x + b * off_y + CENTRE], -1)
    bottom = ops.stack([c, d, c * off_x + d * off_y + CENTRE], -1)
    return View(ops.cast(ops.stack([top, bottom], 1), "float32"), mirrored)


def draw(batch: Any, strength: Augmentation, seed: keras.random.SeedGenerator) -> View:
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
    return compose(
        angle=stray(strength.rotation * pi / 180),
        zoom=zoom,
        aspect=ops.exp(stray(strength.stretch)),
        shear=stray(strength.shear),
        shift_x=shift_x,
        shift_y=shift_y,
        mirrored=keras.random.uniform((batch,), seed=seed) < strength.flip,
    )


def relight(images: Any, strength: Augmentation, seed: keras.random.SeedGenerator) -> Any:
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
        across = (ops.arange(SIZE, dtype="float32") - CENTRE) / CENTRE
        images = images * (1.0 + uniform(strength.shade) * across[:, None])
        images = images * (1.0 + uniform(strength.shade) * across[:, None, None])
    if strength.blur:
        images = _blur(images, strength.blur, seed)
    if strength.noise:
        # One grain a batch, more or less of it, or of its negative; and uniform with a standard
        # deviation of one: other numbers for each image, and normal ones, take their time.
        grain = keras.random.uniform((SIZE, SIZE, 1), -(3**0.5), 3**0.5, seed=seed)
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
    padded = np.pad(np.eye(SIZE), [(reach, reach), (0, 0)], mode="reflect")
    moved = [weight * padded[start : start + SIZE] for start, weight in enumerate(weights)]
    return (np.sum(moved, 0) / weights.sum()).astype(np.float32)


def _erase(images: Any, probability: float, seed: keras.random.SeedGenerator) -> Any:
    batch = ops.shape(images)[0]

    def uniform(low: float, high: float) -> Any:
        return keras.random.uniform((batch, 1), low, high, seed=seed)

    pixels = ops.arange(SIZE, dtype="float32")[None]
    half_x, half_y = uniform(4, 16), uniform(4, 16)
    inside_x = ops.abs(pixels - uniform(0, SIZE)) < half_x
    inside_y = ops.abs(pixels - uniform(0, SIZE)) < half_y
    chosen = uniform(0, 1) < probability
    hole = ops.logical_and(inside_y[:, :, None], ops.logical_and(inside_x, chosen)[:, None])
    return ops.where(hole[..., None], ops.reshape(uniform(0, 1), (batch, 1, 1, 1)), images)
