"""Affine warps of face images and of points, and views.

A ``View`` is an affine map of the face image, optionally mirrored. The network predicts in view
pixels, ``View.to_face`` maps its points back, and the loss is computed in face pixels, where the
labels are. The mean of ``to_face`` over several views is test-time augmentation. Random views are
drawn in ``training.augmentation``.

A map is a (B, 2, 3) float32 matrix from output pixels (x, y, 1) to input pixels (x, y): the
direction that interpolation of an image needs, and the direction from predictions to face pixels.
All functions use ``keras.ops`` and run inside the compiled training step.
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
"""Coordinate of the centre of an image in pixels."""


@dataclass(frozen=True)
class View:
    """An affine view of each of B faces."""

    matrix: Any
    """(B, 2, 3) float32: view pixel (x, y, 1) → face pixel (x, y)."""
    mirrored: Any
    """(B,) bool: the view shows the face's mirror image."""

    def warp(self, images: Any) -> Any:
        """Return the views of (B, 96, 96, 1) float images, in the same shape (``warp_images``)."""
        return warp_images(images, self.matrix)

    def to_face(self, points: Any, flip: Sequence[int]) -> Any:
        """Return (B, P, 2) points in face pixels from points in view pixels.

        ``flip`` has P indices: the output that predicts the mirror partner of each point.
        """
        swapped = ops.take(points, ops.convert_to_tensor(list(flip), "int32"), axis=1)
        return transform_points(
            ops.where(self.mirrored[:, None, None], swapped, points), self.matrix
        )

    def to_view(self, points: Any, flip: Sequence[int]) -> Any:
        """Return (B, P, 2) points in view pixels from points in face pixels; see ``to_face``."""
        points = inverse_transform_points(points, self.matrix)
        swapped = ops.take(points, ops.convert_to_tensor(list(flip), "int32"), axis=1)
        return ops.where(self.mirrored[:, None, None], swapped, points)


def warp_images(images: Any, matrix: Any, size: int | None = None) -> Any:
    """Return (B, S, S, 1) images warped by (B, 2, 3) maps of new pixels to old pixels.

    Interpolation is bilinear. Beyond its edges an image continues with the pixels of the edge.

    Parameters
    ----------
    images
        (B, S, S, 1) float32.
    matrix
        (B, 2, 3) float32 maps.
    size
        Height and width of the results, at most S; None for S. Smaller results show the same part
        of the image: maps are given for results of the full size.
    """
    full = images.shape[1]
    if size is not None and size != full:
        # The image transformation returns the full size only.
        return warp_images(images, scale_map(matrix, full / size))[:, :size, :size]
    if keras.backend.backend() == "tensorflow" and backend.uses_xla():
        return _warp_by_gather(images, matrix)
    batch = ops.shape(matrix)[0]
    rows = ops.reshape(matrix, (batch, 6))
    transform = ops.concatenate([rows, ops.zeros((batch, 2), rows.dtype)], axis=1)
    return ops.image.affine_transform(
        images, transform, interpolation="bilinear", fill_mode="nearest"
    )


def _warp_by_gather(images: Any, matrix: Any) -> Any:
    """Do the same with ``ops.take``: XLA has no kernel for TensorFlow's image transformation."""
    batch, size = ops.shape(matrix)[0], images.shape[1]
    last = size - 1
    pixels = np.arange(size, dtype=np.float32)
    x, y = pixels[None, None, :], pixels[None, :, None]

    def neighbours(row: Any) -> tuple[Any, Any, Any]:
        """Return along one axis both old pixels of each new pixel and the weight of the second."""
        at = row[:, 0, None, None] * x + row[:, 1, None, None] * y + row[:, 2, None, None]
        at = ops.clip(at, 0.0, last)
        before = ops.floor(at)
        return before, ops.minimum(before + 1.0, last), at - before

    left, right, across = neighbours(matrix[:, 0])
    top, bottom, down = neighbours(matrix[:, 1])
    flat = ops.reshape(images, (-1,))
    starts = ops.reshape(ops.arange(batch, dtype="int32") * size**2, (batch, 1, 1))

    def grey(row: Any, column: Any) -> Any:
        """Return the grey values of old pixels."""
        return ops.take(flat, starts + ops.cast(row * size + column, "int32"))

    above = grey(top, left) * (1.0 - across) + grey(top, right) * across
    below = grey(bottom, left) * (1.0 - across) + grey(bottom, right) * across
    return (above * (1.0 - down) + below * down)[..., None]


def to_grey(faces: Any) -> Any:
    """Return (B, 96, 96, 1) float32 grey values in [0, 1] of (B, 96, 96) uint8 images."""
    return ops.cast(faces, "float32")[..., None] / 255.0


def compose_maps(outer: Any, inner: Any) -> Any:
    """Return the (B, 2, 3) map that applies ``inner`` and then ``outer``, both (B, 2, 3)."""
    linear = ops.matmul(outer[:, :, :2], inner[:, :, :2])
    return ops.concatenate(
        [linear, transform_points(inner[:, None, :, 2], outer)[:, 0, :, None]], -1
    )


def scale_map(matrix: Any, step: float) -> Any:
    """Return the (B, 2, 3) map for new pixels that are ``step`` times as large."""
    linear, offset = matrix[:, :, :2], matrix[:, :, 2]
    # The centre of a large pixel p is at step · (p + 0.5) - 0.5.
    offset = ops.sum(linear, -1) * ((step - 1) / 2) + offset
    return ops.concatenate([linear * step, offset[..., None]], -1)


def halve_map(matrix: Any) -> Any:
    """Return the (B, 2, 3) map for images of half the size, whose pixels are means of four."""
    # The centre of pixel p of the small image is at 2p + 0.5 in the large image.
    return (scale_map(matrix, 2.0) - ops.convert_to_tensor([0.0, 0.0, 0.5])) / 2


def transform_points(points: Any, matrix: Any) -> Any:
    """Return (B, P, 2) points after the map ``matrix``, (B, 2, 3)."""
    linear, offset = matrix[:, :, :2], matrix[:, :, 2]
    return ops.sum(linear[:, None] * points[:, :, None, :], axis=-1) + offset[:, None]


def inverse_transform_points(points: Any, matrix: Any) -> Any:
    """Return the (B, P, 2) points that the map ``matrix``, (B, 2, 3), takes to ``points``."""
    linear, offset = matrix[:, :, :2], matrix[:, :, 2]
    a, b, c, d = linear[:, 0, 0], linear[:, 0, 1], linear[:, 1, 0], linear[:, 1, 1]
    adjugate = ops.stack([ops.stack([d, -b], -1), ops.stack([-c, a], -1)], 1)
    inverse = adjugate / (a * d - b * c)[:, None, None]
    return ops.sum(inverse[:, None] * (points - offset[:, None])[:, :, None, :], axis=-1)


def make_view(
    angle: Any, zoom: Any, aspect: Any, shear: Any, shift_x: Any, shift_y: Any, mirrored: Any
) -> View:
    """Return the view with the given parameters, each (B,) float32, or bool for ``mirrored``.

    The face is mirrored, stretched, sheared, zoomed and rotated about the centre of the image, and
    then shifted.

    Parameters
    ----------
    angle
        Radians.
    zoom
        Scale factor; above 1 the face is larger in the view.
    aspect
        Factor on height over width.
    shear
        Horizontal shear factor.
    shift_x, shift_y
        Pixels.
    mirrored
        Whether the view shows the mirror image.
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
