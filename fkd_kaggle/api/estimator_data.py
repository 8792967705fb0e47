"""How ``KeypointRegressor`` turns its arrays into faces and keypoints, and back.

The networks see 96×96 grey images with values from 0 to 255 and predict pixels of these images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from fkd_kaggle.keypoints import IMAGE_SIZE, NUM_KEYPOINTS, PARTIAL_KEYPOINTS

_VALUES = 2 * NUM_KEYPOINTS

_NORMALIZED = 2.0
"""Targets that all lie within ±2 are not pixels."""


@dataclass(frozen=True)
class ImageScaler:
    """Maps rows of pixels to faces."""

    shape: tuple[int, int]
    """Height and width of the images."""
    low: float
    """Value of black."""
    high: float
    """Value of white."""

    def to_faces(self, rows: np.ndarray) -> np.ndarray:
        """Return (N, 96, 96) uint8 images from (N, H·W) values; values outside are clipped."""
        span = (self.high - self.low) or 1.0
        grey = (np.asarray(rows, np.float64) - self.low) * (255 / span)
        images = np.rint(np.clip(grey, 0, 255)).astype(np.uint8).reshape(-1, *self.shape)
        if self.shape == (IMAGE_SIZE, IMAGE_SIZE):
            return images
        size = (IMAGE_SIZE, IMAGE_SIZE)
        return np.stack(
            [
                np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
                for image in images
            ]
        )


@dataclass(frozen=True)
class TargetScaler:
    """Maps targets to keypoints of a 96×96 image, and predictions back."""

    shape: tuple[int, ...]
    """Shape of a target without its first axis: (15, 2), (30,), (K,) or ()."""
    scale: np.ndarray
    """(30,) or (K,): pixels of the 96×96 image per unit of the target."""
    offset: np.ndarray
    """(30,) or (K,): pixels of the 96×96 image at target 0."""
    positions: np.ndarray
    """(30,) or (K,): positions of the targets among the 30 coordinates."""

    def to_keypoints(self, targets: np.ndarray) -> np.ndarray:
        """Return (N, 15, 2) float32 pixels; NaN where there is no target."""
        result = np.full((len(targets), _VALUES), np.nan, np.float32)
        values = targets.reshape(len(targets), -1) * self.scale + self.offset
        result[:, self.positions] = values
        if len(self.positions) % 2:
            # The last point has only one target: its other coordinate is the image's middle.
            last = int(self.positions[-1])
            known = np.isfinite(result[:, last])
            result[known, last ^ 1] = (IMAGE_SIZE - 1) / 2
        points = result.reshape(-1, NUM_KEYPOINTS, 2)
        # A point with one unknown coordinate is not labelled.
        points[np.isnan(points).any(2)] = np.nan
        return points

    def from_keypoints(self, points: np.ndarray) -> np.ndarray:
        """Return float64 predictions in the shape of the targets from (N, 15, 2) pixels."""
        values = points.reshape(len(points), -1)[:, self.positions].astype(np.float64)
        result = (values - self.offset) / self.scale
        return result.reshape(len(points), *self.shape)

    def default_annotator(self, targets: np.ndarray) -> str:
        """Return "partial" if no target has more than the partial annotator's keypoints."""
        points = self.to_keypoints(targets)
        others = np.setdiff1d(np.arange(NUM_KEYPOINTS), PARTIAL_KEYPOINTS)
        return "complete" if np.isfinite(points[:, others]).any() else "partial"


def fit_images(rows: np.ndarray, shape: tuple[int, int]) -> ImageScaler:
    """Return the scaler for (N, H·W) values: 0 to 255, 0 to 1, or their own range."""
    low, high = float(rows.min()), float(rows.max())
    if low >= 0 and (high > 1 or rows.dtype.kind in "iu") and high <= 255:
        return ImageScaler(shape, 0.0, 255.0)
    if low >= 0 and high <= 1:
        return ImageScaler(shape, 0.0, 1.0)
    return ImageScaler(shape, low, high)


def fit_targets(targets: np.ndarray, image_shape: tuple[int, int]) -> TargetScaler:
    """Return the scaler for targets.

    Parameters
    ----------
    targets
        (N, 15, 2) or (N, 30) pixels of the images, or (N,) or (N, K) other values with K < 30.
    image_shape
        Height and width of the images.

    Raises
    ------
    ValueError
        Another shape, no label, or keypoints that are not in pixels.
    """
    shape = targets.shape[1:]
    count = int(np.prod(shape))
    if len(shape) > 2 or not 1 <= count <= _VALUES or (len(shape) == 2 and shape[1] != 2):
        raise ValueError(
            f"y has shape {targets.shape}, but must have (N, 15, 2), (N, 30) or fewer columns"
        )
    if not np.isfinite(targets).any():
        raise ValueError("y has no label: all values are NaN")
    if count == _VALUES:
        if np.nanmax(np.abs(targets)) <= _NORMALIZED:
            raise ValueError("y must be in pixels of the images, and all its values are within ±2")
        height, width = image_shape
        factor = np.tile([IMAGE_SIZE / width, IMAGE_SIZE / height], NUM_KEYPOINTS)
        # The centre of the first pixel is at 0, its left edge at -0.5.
        return TargetScaler(shape, factor, (factor - 1) / 2, np.arange(_VALUES))
    values = targets.reshape(len(targets), -1)
    middle, half = _column_ranges(values)
    scale = IMAGE_SIZE / 4 / half
    # First the keypoints that only the complete annotator labels, so that all rows are complete.
    others = np.setdiff1d(np.arange(NUM_KEYPOINTS), PARTIAL_KEYPOINTS)
    order = np.concatenate([others, PARTIAL_KEYPOINTS])
    positions = (2 * order[:, None] + [0, 1]).ravel()[:count]
    return TargetScaler(shape, scale, (IMAGE_SIZE - 1) / 2 - middle * scale, positions)


def _column_ranges(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle and half the range of each column; 1 for a constant or empty column."""
    known = np.isfinite(values)
    low = np.where(known, values, np.inf).min(0)
    high = np.where(known, values, -np.inf).max(0)
    empty = ~known.any(0)
    low, high = np.where(empty, 0, low), np.where(empty, 0, high)
    half = (high - low) / 2
    return (low + high) / 2, np.where(half > 0, half, 1.0)
