"""Reference models: models by name that predict the points of faces in photos.

==========  ==================================================================================
run         a run's networks behind the face detector, or a network of ``train-photos``
mtcnn       the five points of the face detector
mediapipe   MediaPipe's face landmarks (module ``mediapipe``), if MediaPipe is installed
==========  ==================================================================================

Except for networks of ``train-photos``, points have the names in ``keypoints.KEYPOINT_NAMES``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from fkd_kaggle.errors import FkdError, unknown_name
from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.nn import backend
from fkd_kaggle.photos.detection import DETECTED_KEYPOINTS, detect_faces
from fkd_kaggle.photos.found_faces import PhotoFace, box_of_points
from fkd_kaggle.photos.mediapipe import MediaPipeReference
from fkd_kaggle.photos.prediction import PhotoModel
from fkd_kaggle.runs.folder import Run, find_run
from fkd_kaggle.runs.photo_run import is_photo_run, open_photo_run

REFERENCE_NAMES = ("run", "mtcnn", "mediapipe")

FIVE_POINTS = tuple(KEYPOINT_NAMES[keypoint] for keypoint in DETECTED_KEYPOINTS)
"""Eye centres, nose tip and mouth corners: the points of the recipe ffhq-transfer."""


class ReferenceModel(Protocol):
    """A model that predicts the points of a face in a photo."""

    @property
    def point_names(self) -> tuple[str, ...]:
        """Return the (K,) names of the points that it predicts."""

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Predict the points of the largest face in each photo.

        Parameters
        ----------
        photos
            (H, W, 3) uint8 RGB photos.

        Returns
        -------
        For each photo (K, 2) photo pixels, or None if there is no face.
        """


@runtime_checkable
class FaceFinder(Protocol):
    """A reference model that finds all faces of a photo."""

    def find_faces(self, photos: Sequence[np.ndarray]) -> list[list[PhotoFace]]:
        """Return the faces in each photo, the largest first."""


def find_faces(model: ReferenceModel, photos: Sequence[np.ndarray]) -> list[list[PhotoFace]]:
    """Return the faces that a reference model finds in photos, the largest first.

    Parameters
    ----------
    model
        A reference model. One that is no ``FaceFinder`` finds at most one face in a photo.
    photos
        (H, W, 3) uint8 RGB photos.
    """
    if isinstance(model, FaceFinder):
        return model.find_faces(photos)
    return [
        [] if points is None else [PhotoFace(1, box_of_points(points), points, math.nan, math.nan)]
        for points in model(photos)
    ]


@dataclass(frozen=True)
class RunReference:
    """A run's networks behind the face detector."""

    model: PhotoModel
    point_names: tuple[str, ...] = KEYPOINT_NAMES

    @classmethod
    def open(cls, run: Run, data_dir: Path | None = None) -> RunReference:
        """Load a run's networks.

        Parameters
        ----------
        run
            The run.
        data_dir
            Folder of its data set, to calibrate expected errors; see ``PhotoModel.open``.

        Raises
        ------
        RunError
            The run cannot predict all 15 keypoints.
        """
        return cls(PhotoModel.open(run, data_dir=data_dir))

    def find_faces(self, photos: Sequence[np.ndarray]) -> list[list[PhotoFace]]:
        """Return the faces in (H, W, 3) uint8 RGB photos, the largest first."""
        return self.model.find_faces(photos)

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (15, 2) photo pixels for each photo's largest face, None if there is no face."""
        return [faces[0].points if faces else None for faces in self.find_faces(photos)]


@dataclass(frozen=True)
class DetectorReference:
    """The five points that the face detector MTCNN predicts."""

    point_names: tuple[str, ...] = FIVE_POINTS

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (5, 2) photo pixels for each photo's largest face, None if there is no face.

        Parameters
        ----------
        photos
            (H, W, 3) uint8 RGB photos.
        """
        return [faces[0].points if faces else None for faces in self.find_faces(photos)]

    def find_faces(self, photos: Sequence[np.ndarray]) -> list[list[PhotoFace]]:
        """Return the faces in (H, W, 3) uint8 RGB photos, the largest first."""
        return [
            [
                PhotoFace(number, face.box, face.points, math.nan, face.confidence)
                for number, face in enumerate(detect_faces(photo), start=1)
            ]
            for photo in photos
        ]


def load_reference(
    name: str, run: Path | None, model_file: Path | None, data_dir: Path | None = None
) -> ReferenceModel:
    """Load a reference model by name.

    Parameters
    ----------
    name
        One of ``REFERENCE_NAMES``.
    run
        Folder of a run or of a photo run. Needed for "run".
    model_file
        A ``face_landmarker.task``. Optional, for "mediapipe".
    data_dir
        Folder of the run's data set, to calibrate expected errors. Optional, for "run".

    Raises
    ------
    FkdError
        The name is unknown, or the model cannot be loaded.
    """
    if name not in REFERENCE_NAMES:
        raise FkdError(unknown_name("model", name, REFERENCE_NAMES))
    if name == "mtcnn":
        return DetectorReference()
    if name == "mediapipe":
        return MediaPipeReference.open(model_file)
    if run is None:
        raise FkdError("the model 'run' needs the folder of a run")
    if is_photo_run(run):
        photo_run = open_photo_run(run)
        backend.start_keras("auto")  # before the first import of Keras, which logs a lot otherwise
        from fkd_kaggle.photos.photo_network import PhotoRunReference

        return PhotoRunReference.open(photo_run)
    return RunReference.open(Run.open(run), data_dir)


def find_any_run(name: str | None, runs_dir: Path) -> Path:
    """Return the folder of a run or a photo run.

    Parameters
    ----------
    name
        Name or path of the run. Default: the newest run that is not a photo run.
    runs_dir
        Folder of the runs.

    Raises
    ------
    RunError
        There is no such run.
    """
    for path in (runs_dir / name, Path(name)) if name else ():
        if is_photo_run(path):
            return path
    return find_run(name, runs_dir).path


def parse_point_names(text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the points that ``--points`` selects.

    Parameters
    ----------
    text
        "five" (``FIVE_POINTS``), "all", or names separated by commas. Default: "five" if the
        model predicts these, else "all".
    known
        Names of the points that the model predicts.

    Raises
    ------
    FkdError
        A name is unknown, or given twice.
    """
    if text is None:
        text = "five" if set(FIVE_POINTS) <= set(known) else "all"
    if text == "all":
        return tuple(known)
    names = FIVE_POINTS if text == "five" else tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in known:
            raise FkdError(unknown_name("point", name, ("five", "all", *known)))
    if len(set(names)) < len(names):
        raise FkdError(f"--points names {max(names, key=names.count)!r} twice")
    return names


def select_points(
    points: np.ndarray | None, names: Sequence[str], selected: Sequence[str]
) -> np.ndarray | None:
    """Return the points with the selected names.

    Parameters
    ----------
    points
        (K, 2) coordinates, or None if there is no face.
    names
        (K,) names of ``points``.
    selected
        (P,) names of the points to return.

    Returns
    -------
    (P, 2) coordinates, or None if ``points`` is None.
    """
    if points is None:
        return None
    return points[[list(names).index(name) for name in selected]]
