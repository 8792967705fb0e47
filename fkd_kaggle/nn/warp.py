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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn import backend

CENTRE = (IMAGE_SIZE - 1) / 2


@dataclass(frozen=True)
class View:
    """One look at each of B faces."""

    matrix: Any
    """(B, 2, 3) float32: view pixel (x, y, 1) → face pixel (x, y)."""
    mirrored: Any
    """(B,) bool: the view shows the face's mirror image."""

    def warp(self, images: Any) -> Any:
        """Return (B, 96, 96, 1) ``images`` as the view shows them, bilinear, edges extended."""
        return warp_images(images, self.matrix)

    def to_face(self, points: Any, flip: Sequence[int]) -> Any:
        """Map (B, P, 2) points in view pixels back to face pixels.

        ``flip`` (P,) says which output answers for which once left and right are swapped.
        """
        swapped = ops.take(points, ops.convert_to_tensor(list(flip), "int32"), axis=1)
        return transform_points(
            ops.where(self.mirrored[:, None, None], swapped, points), self.matrix
        )

    def to_view(self, points: Any, flip: Sequence[int]) -> Any:
        """Map (B, P, 2) points in face pixels into the view: the inverse of ``to_face``."""
        points = inverse_transform_points(points, self.matrix)
        swapped = ops.take(points, ops.convert_to_tensor(list(flip), "int32"), axis=1)
        return ops.where(self.mirrored[:, None, None], swapped, points)


def warp_images(images: Any, matrix: Any) -> Any:
    """Return (B, S, S, 1) ``images`` through (B, 2, 3) maps new pixel → old pixel, bilinear."""
    if keras.backend.backend() == "tensorflow" and backend.uses_xla():
        return _warp_by_gather(images, matrix)
    batch = ops.shape(matrix)[0]
    rows = ops.reshape(matrix, (batch, 6))
    transform = ops.concatenate([rows, ops.zeros((batch, 2), rows.dtype)], axis=1)
    return ops.image.affine_transform(
        images, transform, interpolation="bilinear", fill_mode="nearest"
    )


def _warp_by_gather(images: Any, matrix: Any) -> Any:
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


def to_grey(faces: Any) -> Any:
    """Return (B, 96, 96, 1) float32 grey values in [0, 1] of (B, 96, 96) uint8 images."""
    return ops.cast(faces, "float32")[..., None] / 255.0


def compose_maps(outer: Any, inner: Any) -> Any:
    """Return the (B, 2, 3) map that does what ``inner`` does and then what ``outer`` does."""
    linear = ops.matmul(outer[:, :, :2], inner[:, :, :2])
    return ops.concatenate(
        [linear, transform_points(inner[:, None, :, 2], outer)[:, 0, :, None]], -1
    )


def halve_map(matrix: Any) -> Any:
    """Return the (B, 2, 3) map between images of half the size, each pixel the mean of four."""
    linear, offset = matrix[:, :, :2], matrix[:, :, 2]
    # Pixel p of the small image has its centre at 2p + 0.5 of the large one.
    offset = (ops.sum(linear, -1) * 0.5 + offset - 0.5) / 2
    return ops.concatenate([linear, offset[..., None]], -1)


def transform_points(points: Any, matrix: Any) -> Any:
    """Return (B, P, 2) ``points`` as the (B, 2, 3) affine ``matrix`` maps them."""
    linear, offset = matrix[:, :, :2], matrix[:, :, 2]
    return ops.sum(linear[:, None] * points[:, :, None, :], axis=-1) + offset[:, None]


def inverse_transform_points(points: Any, matrix: Any) -> Any:
    """Return what ``moved`` takes to ``points``."""
    linear, offset = matrix[:, :, :2], matrix[:, :, 2]
    a, b, c, d = linear[:, 0, 0], linear[:, 0, 1], linear[:, 1, 0], linear[:, 1, 1]
    adjugate = ops.stack([ops.stack([d, -b], -1), ops.stack([-c, a], -1)], 1)
    inverse = adjugate / (a * d - b * c)[:, None, None]
    return ops.sum(inverse[:, None] * (points - offset[:, None])[:, :, None, :], axis=-1)


def make_view(
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
