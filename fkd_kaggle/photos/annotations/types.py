"""Types of annotated photos, shared by the readers of annotation files and the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fkd_kaggle.photos.skipped_inputs import SkippedInput

__all__ = ["AnnotatedPhoto", "Annotations", "SkippedInput"]


@dataclass(frozen=True)
class AnnotatedPhoto:
    """A photo with its annotated faces."""

    name: str
    """File name as written in the annotation file, folders included."""
    size: tuple[int, int] | None
    """Width and height in pixels as written in the annotation file; None if not written."""
    faces: tuple[np.ndarray, ...]
    """One (15, 2) float64 array per face: photo pixels, keypoints in any order."""
    subset: str = ""
    """Subset of a CVAT project that the photo belongs to; empty without."""


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation file."""

    photos: tuple[AnnotatedPhoto, ...]
    """Photos with at least one usable face."""
    skipped: tuple[SkippedInput, ...]
    """Photos and shapes that are not used."""
    label: str
    """The label of the shapes that are used; empty if faces are assembled from several labels."""
