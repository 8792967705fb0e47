"""Results of an evaluation on annotated photos: errors of each face and over all faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fkd_kaggle.data import metrics
from fkd_kaggle.photos.annotations.types import SkippedInput
from fkd_kaggle.photos.localization import LocatedFace

FAILURE_NME = 0.1
"""A face with a larger NME is a failure, as in the 300-W challenge."""


@dataclass(frozen=True)
class FaceResult:
    """The prediction for one annotated face."""

    photo: str
    """Name of the photo in the annotation file."""
    face: int
    """Number of the face among the photo's annotated faces, from 1."""
    annotated: np.ndarray
    """(15, 2) float64 photo pixels, matched with the competition's order of keypoints."""
    located: LocatedFace
    """The prediction."""
    scale: float
    """Photo pixels per pixel of the 96×96 crop around the annotated points."""

    @property
    def mse(self) -> float:
        """Return the mean squared error per coordinate in squared photo pixels."""
        return float(np.square(self.located.points - self.annotated).mean())

    @property
    def rmse(self) -> float:
        """Return the root of ``mse`` in photo pixels."""
        return self.mse**0.5

    @property
    def crop_mse(self) -> float:
        """Return ``mse`` in squared pixels of the 96×96 crop, the competition's unit."""
        return self.mse / self.scale**2

    @property
    def crop_rmse(self) -> float:
        """Return ``rmse`` in pixels of the 96×96 crop."""
        return self.rmse / self.scale

    @property
    def nme(self) -> float:
        """Return the mean distance of the points, divided by the distance of the eye centres."""
        value = metrics.compute_metric("nme", self.located.points[None], self.annotated[None])
        return float("inf") if value is None else value / 100


@dataclass(frozen=True)
class Evaluation:
    """The results of all annotated faces."""

    faces: tuple[FaceResult, ...]
    """Results in the order of the annotation file."""
    skipped: tuple[SkippedInput, ...]
    """Photos and faces that were not scored."""
    crop: str
    """One of ``evaluation.CROPS``."""
    missed: int
    """Number of annotated faces that the detector did not find; they are among ``skipped``."""
    adjusted: tuple[SkippedInput, ...] = ()
    """Photos of another size or orientation than annotated, and how their points were mapped."""

    @property
    def crop_rmse(self) -> float:
        """Return the RMSE per coordinate over all faces in pixels of the 96×96 crop."""
        return float(np.mean([face.crop_mse for face in self.faces]) ** 0.5)

    @property
    def rmse(self) -> float:
        """Return the RMSE per coordinate over all faces in photo pixels."""
        return float(np.mean([face.mse for face in self.faces]) ** 0.5)

    @property
    def nme(self) -> float:
        """Return the mean NME of the faces."""
        return float(np.mean([face.nme for face in self.faces]))

    @property
    def failures(self) -> float:
        """Return the share of faces that were missed or have an NME above ``FAILURE_NME``."""
        failures = sum(face.nme > FAILURE_NME for face in self.faces) + self.missed
        return failures / (len(self.faces) + self.missed)
