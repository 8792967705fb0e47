"""Square crops of photos as similarity transforms: how to place them and how to sample them.

A crop is placed so that a face has the position, size and orientation of the mean training face
(see ``mean_face``). This module does not find faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fkd_kaggle.data.geometry import similarity_factor, similarity_matrix, to_complex
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.photos.mean_face import MeanFace, point_radius


@dataclass(frozen=True)
class Crop:
    """A square window of a photo, 96×96 crop pixels, as a similarity transform."""

    matrix: np.ndarray
    """(2, 3) float64: maps crop pixels (x, y, 1) to photo pixels (x, y)."""

    @property
    def scale(self) -> float:
        """Return the number of photo pixels per crop pixel."""
        return float(np.hypot(*self.matrix[:, 0]))

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Map (…, 2) crop pixels to photo pixels."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def transformed(self, angle: float, zoom: float, shift: tuple[float, float]) -> Crop:
        """Return a crop in which the face is rotated, enlarged and moved about the crop's centre.

        Parameters
        ----------
        angle
            Rotation in radians.
        zoom
            Enlargement; 1 keeps the size.
        shift
            Displacement (x, y) in crop pixels.
        """
        centre = (IMAGE_SIZE - 1) / 2
        rotation = _rotation(angle) / zoom
        offset = centre - rotation @ (centre + np.asarray(shift, np.float64))
        linear = self.matrix[:, :2]
        return Crop(np.column_stack([linear @ rotation, linear @ offset + self.matrix[:, 2]]))

    def extract(self, photo: np.ndarray) -> np.ndarray:
        """Sample the crop from a photo; the photo's edge pixels are repeated outside of it.

        If the photo has a higher resolution than the crop, a crop pixel is the mean of the photo
        pixels that it covers, as in a photo that was reduced in size.

        Parameters
        ----------
        photo
            (H, W) grey, 0 to 255.

        Returns
        -------
        (96, 96) uint8.
        """
        matrix = self.matrix
        while np.hypot(*matrix[:, 0]) > 4:
            photo, matrix = _halve_photo(photo), _halve_matrix(matrix)
        samples = max(1, round(float(np.hypot(*matrix[:, 0]))))
        steps = (np.arange(IMAGE_SIZE * samples) + 0.5) / samples - 0.5
        x, y = np.meshgrid(steps, steps)
        positions = matrix[:, :2] @ np.stack([x.ravel(), y.ravel()]) + matrix[:, 2:]
        values = ndimage.map_coordinates(photo, positions[::-1], order=1, mode="nearest")
        values = values.reshape(IMAGE_SIZE, samples, IMAGE_SIZE, samples).mean((1, 3))
        return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def crop_around(points: np.ndarray, face: MeanFace) -> Crop:
    """Return an upright crop by the centre and radius of a face's points, whatever their order.

    Parameters
    ----------
    points
        (P, 2) photo pixels of the face's keypoints, in any order.
    face
        The mean training face.
    """
    centre = points.mean(0)
    scale = point_radius(points, centre) / face.radius
    return Crop(np.column_stack([np.eye(2) * scale, centre - scale * face.centre]))


def crop_aligned(
    points: np.ndarray, face: MeanFace, keypoints: tuple[int, ...] | None = None
) -> Crop:
    """Return the crop that maps the mean training face to a face's points, by least squares.

    The face is upright in this crop.

    Parameters
    ----------
    points
        (P, 2) photo pixels.
    face
        The mean training face.
    keypoints
        (P,) indices of the keypoints that ``points`` are. Default: all 15 in order.
    """
    mean = face.points if keypoints is None else face.points[list(keypoints)]
    mean_centre, centre = mean.mean(0), points.mean(0)
    factor = similarity_factor(to_complex(mean - mean_centre), to_complex(points - centre))
    linear = similarity_matrix(complex(factor), np.zeros(2))[:, :2]
    return Crop(np.column_stack([linear, centre - linear @ mean_centre]))


def _rotation(angle: float) -> np.ndarray:
    """Return the (2, 2) rotation matrix of an angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _halve_photo(photo: np.ndarray) -> np.ndarray:
    """Return an (H, W) photo at half its size; each pixel is the mean of four."""
    height, width = photo.shape
    photo = np.pad(photo, ((0, height % 2), (0, width % 2)), mode="edge")
    return photo.reshape(photo.shape[0] // 2, 2, photo.shape[1] // 2, 2).mean((1, 3))


def _halve_matrix(matrix: np.ndarray) -> np.ndarray:
    """Return a crop's matrix for the photo at half its size.

    The centre of the first pixel of the smaller photo is at (0.5, 0.5) of the larger photo.
    """
    result = matrix / 2
    result[:, 2] -= 0.25
    return result
