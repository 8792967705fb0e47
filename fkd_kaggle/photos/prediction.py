"""A run's keypoints for all faces in a photo, with boxes and expected errors.

``PhotoModel`` loads a run's networks once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fkd_kaggle.ensemble.prediction import Predictor
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COMPLETE, KEYPOINT_NAMES
from fkd_kaggle.photos.crops import Crop, crop_aligned
from fkd_kaggle.photos.detection import DETECTED_KEYPOINTS, Detection, detect_faces
from fkd_kaggle.photos.expected_error import find_calibration
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.images import read_photo, to_grey
from fkd_kaggle.photos.localization import LocatedFace, locate_keypoints
from fkd_kaggle.photos.mean_face import MeanFace, load_mean_face, point_radius
from fkd_kaggle.runs.calibration import Calibration
from fkd_kaggle.runs.folder import Run

_SAME_FACE = 0.35
"""Two predictions are of one face if their centres are nearer than this fraction of the radius."""


@dataclass(frozen=True)
class PhotoModel:
    """The networks of a run behind the face detector."""

    predictor: Predictor
    mean_face: MeanFace
    calibration: Calibration | None
    """None: the expected errors are NaN."""
    annotator: int = COMPLETE
    """Annotator whose conventions the points follow: 0 complete, 1 partial."""

    @classmethod
    def open(
        cls, run: Run, *, annotator: int = COMPLETE, data_dir: Path | None = None
    ) -> PhotoModel:
        """Load the networks of a run.

        Parameters
        ----------
        run
            A blended run that predicts all 15 keypoints.
        annotator
            Annotator whose conventions the points follow.
        data_dir
            Folder of the data set that the run was trained on. If the run is of an earlier version
            and has no calibration of the expected errors, the calibration is measured with it and
            stored in the run.

        Raises
        ------
        RunError
            The run has no weights, was not blended or does not predict all 15 keypoints.
        """
        return cls.from_predictor(Predictor(run), annotator=annotator, data_dir=data_dir)

    @classmethod
    def from_predictor(
        cls, predictor: Predictor, *, annotator: int = COMPLETE, data_dir: Path | None = None
    ) -> PhotoModel:
        """Return a model with networks that are loaded already; see ``open``."""
        mean_face = load_mean_face(predictor.run)
        return cls(predictor, mean_face, find_calibration(predictor, data_dir), annotator)

    @property
    def point_names(self) -> tuple[str, ...]:
        """Return the names of the 15 keypoints."""
        return KEYPOINT_NAMES

    def predict(self, photo: Path | np.ndarray) -> list[PhotoFace]:
        """Return the faces in a photo, the largest first.

        Parameters
        ----------
        photo
            Path of an image file, or (H, W, 3) or (H, W) uint8 pixels.

        Raises
        ------
        DataError
            The file cannot be read, or the array is not a photo.
        """
        return self.find_faces([as_photo(photo)])[0]

    def find_faces(self, photos: Sequence[np.ndarray]) -> list[list[PhotoFace]]:
        """Return the faces in photos, the largest first.

        Parameters
        ----------
        photos
            (H, W, 3) uint8 RGB photos.
        """
        owners: list[int] = []
        detections: list[Detection] = []
        for index, photo in enumerate(photos):
            found = detect_faces(photo)
            owners += [index] * len(found)
            detections += found
        greys = {index: to_grey(photos[index]) for index in set(owners)}
        crops = [
            crop_aligned(face.points, self.mean_face, DETECTED_KEYPOINTS) for face in detections
        ]
        located = locate_keypoints(
            [greys[index] for index in owners], crops, self.predict_crops, self.mean_face
        )
        errors = self.expected_errors(
            [greys[index] for index in owners], [face.crop for face in located]
        )
        result: list[list[PhotoFace]] = [[] for _ in photos]
        for index, detection, face, error in zip(owners, detections, located, errors, strict=True):
            if not any(_is_same_face(face, other) for other in result[index]):
                number = len(result[index]) + 1
                result[index].append(
                    PhotoFace(
                        number, detection.box, face.points, float(error), detection.confidence
                    )
                )
        return result

    def predict_crops(self, images: np.ndarray) -> np.ndarray:
        """Return (N, 15, 2) float32 crop pixels for (N, 96, 96) uint8 crops."""
        return self.predictor(images, self.annotator)

    def expected_errors(self, greys: Sequence[np.ndarray], crops: Sequence[Crop]) -> np.ndarray:
        """Return the expected RMSE of faces.

        Parameters
        ----------
        greys
            N photos, (H, W) float32 grey.
        crops
            N crops, in which the faces are upright.

        Returns
        -------
        (N,) float64 photo pixels; NaN if the run is not calibrated, or has no network for the
        annotator that predicts mirror images too.
        """
        if self.calibration is None or not crops:
            return np.full(len(crops), math.nan)
        images = np.stack([crop.extract(grey) for crop, grey in zip(crops, greys, strict=True)])
        annotators = np.full(len(images), self.annotator, np.uint8)
        disagreement = self.predictor.disagreement(images, annotators)
        if disagreement is None:
            return np.full(len(crops), math.nan)
        scales = np.array([crop.scale for crop in crops])
        return self.calibration.expected_rmse(disagreement) * scales


def as_photo(photo: Path | str | np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of a path, of (H, W, 3) or of (H, W) uint8 pixels.

    Raises
    ------
    DataError
        The file cannot be read, or the array has another shape or type.
    """
    if not isinstance(photo, np.ndarray):
        return read_photo(Path(photo))
    if photo.dtype != np.uint8 or photo.size == 0:
        raise DataError(f"a photo is a uint8 array with pixels, not {photo.dtype} {photo.shape}")
    if photo.ndim == 2:
        return np.repeat(photo[:, :, None], 3, axis=2)
    if photo.ndim != 3 or photo.shape[2] != 3:
        raise DataError(f"a photo has the shape (H, W, 3) or (H, W), not {photo.shape}")
    return photo


def _is_same_face(face: LocatedFace, other: PhotoFace) -> bool:
    """Return whether two predictions of one photo are for the same face."""
    centre, other_centre = face.points.mean(0), other.points.mean(0)
    radius = float(point_radius(other.points, other_centre))
    return bool(np.hypot(*(centre - other_centre)) < _SAME_FACE * radius)
