"""Reading CVAT's "for images 1.1" XML: which points somebody put into which photo.

A face is a ``<points>`` shape, or a ``<skeleton>`` of single points, with 15 points in any order:
names inside the file are not trusted, matching is ``evaluate``'s. What cannot be used is reported
and left out; only a file that cannot be read at all is an error. Other formats are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fkd_kaggle.photos.images import SkippedInput


@dataclass(frozen=True)
class AnnotatedPhoto:
    """A photo with the faces somebody marked in it."""

    name: str
    """As the file calls it, folders included."""
    size: tuple[int, int] | None
    """Width and height as the file says; None where it does not."""
    faces: tuple[np.ndarray, ...]
    """(15, 2) float64 each: photo pixels in any order."""


@dataclass(frozen=True)
class Annotations:
    """What an annotation file holds."""

    photos: tuple[AnnotatedPhoto, ...]
    skipped: tuple[SkippedInput, ...]
    label: str
    """The label whose shapes were taken."""
