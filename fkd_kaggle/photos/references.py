"""Models that put points on a photo's largest face, by name.

``run`` is a run of ours behind the face detector, or a network of ``train-photos`` on its own;
``mtcnn`` the detector's five points; ``mediapipe`` Google's face landmarks, where that package is
installed. Each answers for points by the names of ``keypoints.NAMES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fkd_kaggle.ensemble import prediction
from fkd_kaggle.errors import FkdError, RunError, unknown_name
from fkd_kaggle.keypoints import KEYPOINT_NAMES, index
from fkd_kaggle.nn import backend
from fkd_kaggle.photos import RUN_NOTE, crops, detection, images
from fkd_kaggle.photos.crops import FaceShape
from fkd_kaggle.photos.localization import locate_keypoints
from fkd_kaggle.runs.folder import Run, find_run

_SMALLEST = 8.0
"""Pixels: a run whose faces are smaller answers with one place for all points; ours have 24."""


def run_shape(run: Run) -> FaceShape:
    """Measure training faces as a run saw them: its out-of-fold answers for each of them.

    They follow the labels closely and have all 15 points where labels have four; and the run
    carries them with it, so photos need no data set.

    Raises
    ------
    RunError
        The run was never blended.
    """
    try:
        with np.load(run.path / "out_of_fold.npz") as kept:
            answers = kept["predictions"]
    except (OSError, KeyError, ValueError) as error:
        raise RunError(
            f"run {run.name} has no out-of-fold predictions to measure faces by: "
            f"go on with `fkd-kaggle train-ensemble --resume {run.name}`"
        ) from error
    whole = np.isfinite(answers).all((1, 2))
    if not whole.any():
        raise RunError(f"run {run.name} answers for some keypoints only: photos need all 15")
    shape = FaceShape.measure(answers[whole])
    if not shape.radius > _SMALLEST:
        raise RunError(f"run {run.name} has not learned what a face is: train it for longer")
    return shape


MODELS = ("run", "mtcnn", "mediapipe")

FIVE = (
    "left_eye_center",
    "right_eye_center",
    "nose_tip",
    "mouth_left_corner",
    "mouth_right_corner",
)
"""The points of ffhq-transfer: what ``--points five`` means."""


class ReferenceModel(Protocol):
    """A model that finds a face's points."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the points it can answer for."""

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (K, 2) photo pixels of each (H, W, 3) uint8 photo's largest face, None if none."""


@dataclass(frozen=True)
class RunReference:
    """A run's networks behind the face detector."""

    predict: prediction.Predictor
    shape: crops.FaceShape
    names: tuple[str, ...] = KEYPOINT_NAMES

    @classmethod
    def open(cls, run: Run) -> RunReference:
        """Load a run's networks."""
        return cls(prediction.Predictor(run), run_shape(run))

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (15, 2) photo pixels of each photo's largest face, None if none."""
        result: list[np.ndarray | None] = [None] * len(photos)
        seen, starts = [], []
        for place, photo in enumerate(photos):
            found = detection.detect_faces(photo)
            if found:
                seen.append(place)
                starts.append(crops.crop_aligned(found[0].points, self.shape, detection.POINTS))
        greys = [images.to_grey(photos[place]) for place in seen]
        located = locate_keypoints(greys, starts, self.predict, self.shape)
        for place, face in zip(seen, located, strict=True):
            result[place] = face.points
        return result


@dataclass(frozen=True)
class DetectorReference:
    """The five points that MTCNN itself gives."""

    names: tuple[str, ...] = tuple(KEYPOINT_NAMES[point] for point in detection.POINTS)

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (5, 2) photo pixels of each photo's largest face, None if none."""
        found = [detection.detect_faces(photo) for photo in photos]
        return [faces[0].points if faces else None for faces in found]


def choose_points(text: str | None, names: Sequence[str]) -> tuple[str, ...]:
    """Return the points meant by "five", "all" or names with commas between.

    None means the five where the model has them, else all it has.

    Raises
    ------
    FkdError
        A point is unknown, named twice, or not among the model's ``names``.
    """
    if text is None:
        text = "five" if set(FIVE) <= set(names) else "all"
    if text == "all":
        return tuple(names)
    wanted = FIVE if text == "five" else tuple(part.strip() for part in text.split(","))
    for name in wanted:
        if name not in names:
            raise FkdError(unknown_name("point", name, ("five", "all", *names)))
    if len(set(wanted)) < len(wanted):
        raise FkdError(f"--points names {max(wanted, key=wanted.count)!r} twice")
    return wanted


def find_any_run(name: str | None, runs_dir: Path) -> Path:
    """Return the folder of a run of either kind by name or path; the newest ensemble where None.

    Raises
    ------
    RunError
        There is no such run.
    """
    for path in (runs_dir / name, Path(name)) if name else ():
        if (path / RUN_NOTE).exists():
            return path
    return find_run(name, runs_dir).path


def load_reference(name: str, run: Path | None, model_file: Path | None) -> ReferenceModel:
    """Return a reference model by name.

    Parameters
    ----------
    run
        Folder of a run, for ``run``.
    model_file
        A ``face_landmarker.task``, for ``mediapipe``.

    Raises
    ------
    FkdError
        There is no such model, or it is not usable here.
    """
    if name not in MODELS:
        raise FkdError(unknown_name("model", name, MODELS))
    if name == "mtcnn":
        return DetectorReference()
    if name == "mediapipe":
        from fkd_kaggle.photos.mediapipe import MediaPipeReference

        return MediaPipeReference.open(model_file)
    assert run is not None
    if (run / RUN_NOTE).exists():
        backend.start_keras("auto")  # before anything imports Keras: it has much to say
        from fkd_kaggle.photos import training

        return training.PhotoRun.open(run)
    return RunReference.open(Run.open(run))


def pick_points(
    points: np.ndarray | None, names: Sequence[str], wanted: Sequence[str]
) -> np.ndarray | None:
    """Return (P, 2): the ``wanted`` ones of (K, 2) points called ``names``."""
    if points is None:
        return None
    return points[[list(names).index(name) for name in wanted]]


assert index(*FIVE) == detection.POINTS
