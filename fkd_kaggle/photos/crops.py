"""The square of a photo that looks like a training face, and the way between the two.

The networks have only seen the competition's crops. What those look like is measured in the
training labels: where a face's points lie in the 96×96 square, and how large a face is. Faces in
photos are cut so that theirs lie there too, upright and at that size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fkd_kaggle.keypoints import IMAGE_SIZE


@dataclass(frozen=True)
class FaceShape:
    """Where and how large training faces are in their 96×96 squares."""

    mean: np.ndarray
    """(15, 2) float64 pixels: each keypoint's mean."""
    centre: np.ndarray
    """(2,) float64 pixels: the mean of the faces' centroids."""
    radius: float
    """Pixels: the median over faces of the points' root-mean-square distance from the centroid."""

    @classmethod
    def measure(cls, keypoints: np.ndarray) -> FaceShape:
        """Measure the completely labelled ones among (N, 15, 2) faces."""
        whole = keypoints[np.isfinite(keypoints).all((1, 2))].astype(np.float64)
        centroids = whole.mean(1)
        return cls(
            whole.mean(0),
            centroids.mean(0),
            float(np.median(point_radius(whole, centroids[:, None]))),
        )


@dataclass(frozen=True)
class Crop:
    """A square window on a photo: a similarity that takes crop pixels to photo pixels."""

    matrix: np.ndarray
    """(2, 3) float64: crop pixel (x, y, 1) → photo pixel (x, y)."""

    @property
    def scale(self) -> float:
        """Return photo pixels per crop pixel."""
        return float(np.hypot(*self.matrix[:, 0]))

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Map (…, 2) crop pixels to photo pixels."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """Map (…, 2) photo pixels to crop pixels."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T

    def seen(self, angle: float, zoom: float, shift: tuple[float, float]) -> Crop:
        """Return the same face seen a little differently: turned (radians), larger, moved."""
        middle = (IMAGE_SIZE - 1) / 2
        turn = _rotation(angle) / zoom
        offset = middle - turn @ (middle + np.asarray(shift, np.float64))
        linear = self.matrix[:, :2]
        return Crop(np.column_stack([linear @ turn, linear @ offset + self.matrix[:, 2]]))

    def cut(self, photo: np.ndarray) -> np.ndarray:
        """Return (96, 96) uint8: what an (H, W) grey photo shows there, edges extended.

        Where the photo has more pixels than the crop, each crop pixel is the mean of those it
        covers, as it is in a photo that was made smaller.
        """
        matrix, photo = self.matrix, photo
        while np.hypot(*matrix[:, 0]) > 4:
            photo, matrix = _halved(photo), _halved_matrix(matrix)
        fine = max(1, round(float(np.hypot(*matrix[:, 0]))))
        steps = (np.arange(IMAGE_SIZE * fine) + 0.5) / fine - 0.5
        x, y = np.meshgrid(steps, steps)
        places = matrix[:, :2] @ np.stack([x.ravel(), y.ravel()]) + matrix[:, 2:]
        values = ndimage.map_coordinates(photo, places[::-1], order=1, mode="nearest")
        values = values.reshape(IMAGE_SIZE, fine, IMAGE_SIZE, fine).mean((1, 3))
        return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def crop_around(points: np.ndarray, shape: FaceShape) -> Crop:
    """Return the upright crop in which (P, 2) photo points, in any order, lie as in training."""
    centre = points.mean(0)
    scale = point_radius(points, centre) / shape.radius
    return Crop(np.column_stack([np.eye(2) * scale, centre - scale * shape.centre]))


def crop_aligned(
    points: np.ndarray, shape: FaceShape, which: tuple[int, ...] | None = None
) -> Crop:
    """Return the crop in which (P, 2) photo points fall on their training means.

    The least-squares similarity (Umeyama 1991), so the face stands upright in it.

    Parameters
    ----------
    which
        (P,) the keypoints that ``points`` are; all 15 where None.
    """
    mean = shape.mean if which is None else shape.mean[list(which)]
    source, target = mean - mean.mean(0), points - points.mean(0)
    # In the plane the best rotation and scale are one complex number.
    here, there = source @ [1, 1j], target @ [1, 1j]
    factor = np.vdot(here, there) / np.vdot(here, here).real
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return Crop(np.column_stack([linear, points.mean(0) - linear @ mean.mean(0)]))


def point_radius(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return the root-mean-square distance of (…, P, 2) points from a centre."""
    return np.sqrt(np.square(points - centre).sum(-1).mean(-1))


def _rotation(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _halved(photo: np.ndarray) -> np.ndarray:
    height, width = photo.shape
    photo = np.pad(photo, ((0, height % 2), (0, width % 2)), mode="edge")
    return photo.reshape(photo.shape[0] // 2, 2, photo.shape[1] // 2, 2).mean((1, 3))


def _halved_matrix(matrix: np.ndarray) -> np.ndarray:
    """Return ``matrix`` for the photo at half size; pixel centres move by a quarter."""
    result = matrix / 2
    result[:, 2] -= 0.25
    return result
