"""Faces found in photos: box, points, expected error; and their form in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BOX_COLUMNS = ("left", "top", "width", "height")


@dataclass(frozen=True)
class PhotoFace:
    """A face in a photo."""

    number: int
    """From 1, the largest face first; in a video, the same number follows a face."""
    box: tuple[float, float, float, float]
    """Left, top, width and height in photo pixels."""
    points: np.ndarray
    """(P, 2) float64 photo pixels."""
    expected_error: float
    """Expected RMSE per coordinate in photo pixels; NaN if the run is not calibrated."""
    confidence: float
    """Of the face detector, 0 to 1; NaN without a detection of its own."""

    def to_json(self, point_names: Sequence[str]) -> dict[str, Any]:
        """Return JSON values: rounded to hundredths of a pixel, None instead of NaN.

        Parameters
        ----------
        point_names
            (P,) names of the points.
        """
        return {
            "face": self.number,
            "box": {
                name: round(value, 2) for name, value in zip(BOX_COLUMNS, self.box, strict=True)
            },
            "expected_error": _rounded(self.expected_error),
            "confidence": _rounded(self.confidence, 4),
            "points": {
                name: [_rounded(float(x)), _rounded(float(y))]
                for name, (x, y) in zip(point_names, self.points, strict=True)
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PhotoFace:
        """Return the face of which ``values`` are ``to_json()``.

        Raises
        ------
        KeyError, TypeError, ValueError
            A value is missing or of the wrong type.
        """
        box = values["box"]
        left, top, width, height = (float(box[name]) for name in BOX_COLUMNS)
        return cls(
            int(values["face"]),
            (left, top, width, height),
            np.array(
                [[_number(x), _number(y)] for x, y in values["points"].values()], np.float64
            ).reshape(-1, 2),
            _number(values["expected_error"]),
            _number(values["confidence"]),
        )


def box_of_points(points: np.ndarray) -> tuple[float, float, float, float]:
    """Return left, top, width and height of the smallest box around (P, 2) points."""
    low, high = points.min(0), points.max(0)
    width, height = high - low
    return float(low[0]), float(low[1]), float(width), float(height)


def _rounded(value: float, digits: int = 2) -> float | None:
    """Return a rounded number, None for NaN."""
    return None if math.isnan(value) else round(value, digits)


def _number(value: Any) -> float:
    """Return a number, NaN for None."""
    return math.nan if value is None else float(value)
