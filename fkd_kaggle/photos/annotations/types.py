"""Types of annotated photos, shared by the readers of annotation files and the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SkippedInput:
    """A photo, face or row of the input that is not used."""

    name: str
    """The photo's name, or the position in the file."""
    reason: str
    """Why it is not used."""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class AnnotatedPhoto:
    """A photo with its annotated faces."""

    name: str
    """File name as written in the annotation file, folders included."""
    size: tuple[int, int] | None
    """Width and height in pixels as written in the annotation file; None if not written."""
    faces: tuple[np.ndarray, ...]
    """One (15, 2) float64 array per face: photo pixels, keypoints in any order."""


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation file."""

    photos: tuple[AnnotatedPhoto, ...]
    """Photos with at least one usable face."""
    skipped: tuple[SkippedInput, ...]
    """Photos and shapes that are not used."""
    label: str
    """The label of the shapes that are used."""
