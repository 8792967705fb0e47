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

from fkd_kaggle import backend, ensemble
from fkd_kaggle.errors import FkdError, unknown
from fkd_kaggle.keypoints import NAMES, index
from fkd_kaggle.photos import RUN_NOTE, crops, detect, images
from fkd_kaggle.photos.locate import locate
from fkd_kaggle.photos.page import run_shape
from fkd_kaggle.run import Run, find

MODELS = ("run", "mtcnn", "mediapipe")

FIVE = (
    "left_eye_center",
    "right_eye_center",
    "nose_tip",
    "mouth_left_corner",
    "mouth_right_corner",
)
"""The points of ffhq-transfer: what ``--points five`` means."""


class Reference(Protocol):
    """A model that finds a face's points."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the points it can answer for."""

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (K, 2) photo pixels of each (H, W, 3) uint8 photo's largest face, None if none."""


@dataclass(frozen=True)
class OfRun:
    """A run's networks behind the face detector."""

    predict: ensemble.Predictor
    shape: crops.FaceShape
    names: tuple[str, ...] = NAMES

    @classmethod
    def open(cls, run: Run) -> OfRun:
        """Load a run's networks."""
        return cls(ensemble.Predictor(run), run_shape(run))

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (15, 2) photo pixels of each photo's largest face, None if none."""
        result: list[np.ndarray | None] = [None] * len(photos)
        seen, starts = [], []
        for place, photo in enumerate(photos):
            found = detect.detect(photo)
            if found:
                seen.append(place)
                starts.append(crops.aligned(found[0].points, self.shape, detect.POINTS))
        greys = [images.grey(photos[place]) for place in seen]
        located = locate(greys, starts, self.predict, self.shape)
        for place, face in zip(seen, located, strict=True):
            result[place] = face.points
        return result


@dataclass(frozen=True)
class OfDetector:
    """The five points that MTCNN itself gives."""

    names: tuple[str, ...] = tuple(NAMES[point] for point in detect.POINTS)

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (5, 2) photo pixels of each photo's largest face, None if none."""
        found = [detect.detect(photo) for photo in photos]
        return [faces[0].points if faces else None for faces in found]


def choose(text: str | None, names: Sequence[str]) -> tuple[str, ...]:
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
            raise FkdError(unknown("point", name, ("five", "all", *names)))
    if len(set(wanted)) < len(wanted):
        raise FkdError(f"--points names {max(wanted, key=wanted.count)!r} twice")
    return wanted


def find_run(name: str | None, runs_dir: Path) -> Path:
    """Return the folder of a run of either kind by name or path; the newest ensemble where None.

    Raises
    ------
    RunError
        There is no such run.
    """
    for path in (runs_dir / name, Path(name)) if name else ():
        if (path / RUN_NOTE).exists():
            return path
    return find(name, runs_dir).path


def load(name: str, run: Path | None, model_file: Path | None) -> Reference:
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
        raise FkdError(unknown("model", name, MODELS))
    if name == "mtcnn":
        return OfDetector()
    if name == "mediapipe":
        from fkd_kaggle.photos.mediapipe_face import OfMediaPipe

        return OfMediaPipe.open(model_file)
    assert run is not None
    if (run / RUN_NOTE).exists():
        backend.start("auto")  # before anything imports Keras: it has much to say
        from fkd_kaggle.photos import transfer

        return transfer.PhotoRun.open(run)
    return OfRun.open(Run.open(run))


def pick(
    points: np.ndarray | None, names: Sequence[str], wanted: Sequence[str]
) -> np.ndarray | None:
    """Return (P, 2): the ``wanted`` ones of (K, 2) points called ``names``."""
    if points is None:
        return None
    return points[[list(names).index(name) for name in wanted]]


assert index(*FIVE) == detect.POINTS
