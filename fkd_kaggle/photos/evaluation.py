"""A run's keypoints against other people's, on photos (the external test of farhat's report).

Annotated points come in any order, so they are matched to the predicted ones by the optimal
assignment; that is the test's own rule and flatters a little, since a swap costs nothing. Truth
is used for the crop where asked for (``annotated``), never for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from fkd_kaggle.data import metrics
from fkd_kaggle.errors import DataError, FkdError, unknown_name
from fkd_kaggle.photos import crops, images
from fkd_kaggle.photos.annotations.types import AnnotatedPhoto, Annotations
from fkd_kaggle.photos.crops import Crop, FaceShape
from fkd_kaggle.photos.detection import POINTS, Detection, detect_faces
from fkd_kaggle.photos.images import SkippedInput
from fkd_kaggle.photos.localization import CHUNK, LocatedFaces, Predict, locate_keypoints

CROPS = ("annotated", "detect")
"""Where a face's first crop comes from: its annotated points, or the face detector."""

FAILURE = 0.1
"""A face whose NME is above this counts as failed, as in the 300-W challenge."""


@dataclass(frozen=True)
class FaceResult:
    """One annotated face and what the run says of it."""

    photo: str
    face: int
    """Its number among the photo's annotated faces, from 1."""
    annotated: np.ndarray
    """(15, 2) photo pixels, in the competition's order as the matching found it."""
    located: LocatedFaces
    scale: float
    """Photo pixels per pixel of the 96×96 crop around the annotated points."""

    @property
    def mse(self) -> float:
        """Return the mean squared error per coordinate, in squared photo pixels."""
        return float(np.square(self.located.points - self.annotated).mean())

    @property
    def rmse(self) -> float:
        """Return the root of ``mse``, in photo pixels."""
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
        """Return the mean distance of the points as a share of that between the eye centres."""
        value = metrics.compute_metric("nme", self.located.points[None], self.annotated[None])
        return float("inf") if value is None else value / 100


@dataclass(frozen=True)
class Evaluation:
    """All annotated faces that could be scored, and what was left out."""

    faces: tuple[FaceResult, ...]
    skipped: tuple[SkippedInput, ...]
    crop: str
    missed: int
    """Annotated faces the detector did not find; they are among ``skipped`` and not scored."""

    @property
    def crop_rmse(self) -> float:
        """Return the RMSE per coordinate over all faces, pixels of the 96×96 crop."""
        return float(np.mean([face.crop_mse for face in self.faces]) ** 0.5)

    @property
    def rmse(self) -> float:
        """Return the RMSE per coordinate over all faces, photo pixels."""
        return float(np.mean([face.mse for face in self.faces]) ** 0.5)

    @property
    def nme(self) -> float:
        """Return the mean NME of the faces."""
        return float(np.mean([face.nme for face in self.faces]))

    @property
    def failures(self) -> float:
        """Return the share of annotated faces that are missed or beyond ``FAILURE``."""
        bad = sum(face.nme > FAILURE for face in self.faces) + self.missed
        return bad / (len(self.faces) + self.missed)


@dataclass(frozen=True)
class _Task:
    photo: str
    face: int
    pixels: np.ndarray
    points: np.ndarray
    crop: Crop


def evaluate_run(
    folder: Path,
    annotations: Annotations,
    predict: Predict,
    shape: FaceShape,
    *,
    crop: str = "annotated",
    on_face: Callable[[FaceResult, np.ndarray], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a run on annotated photos.

    Parameters
    ----------
    folder
        Where the photos are; the file's names are looked up in it, with and without their folders.
    on_face
        Called with each result and its (H, W, 3) uint8 photo, to draw it.
    on_progress
        Called with (photos done, photos).

    Raises
    ------
    FkdError
        ``crop`` is unknown, or not a single face could be scored.
    """
    if crop not in CROPS:
        raise FkdError(unknown_name("crop", crop, CROPS))
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of photos")
    skipped = list(annotations.skipped)
    results: list[FaceResult] = []
    waiting: list[_Task] = []
    for number, photo in enumerate(annotations.photos):
        if on_progress:
            on_progress(number, len(annotations.photos))
        try:
            pixels = _read_as_annotated(_find_photo(folder, photo.name), photo.size)
        except DataError as error:
            skipped.append(SkippedInput(photo.name, str(error).split(": ", 1)[-1]))
            continue
        waiting += _tasks(photo, pixels, shape, crop, skipped)
        if len(waiting) >= CHUNK:
            results += _scored(waiting, predict, shape, on_face)
            waiting = []
    results += _scored(waiting, predict, shape, on_face)
    if on_progress:
        on_progress(len(annotations.photos), len(annotations.photos))
    if not results:
        why = "; ".join(map(str, skipped[:3]))
        more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        raise DataError(f"no face in {folder} could be evaluated ({why}{more})")
    missed = sum(item.why.endswith(_NOT_FOUND) for item in skipped)
    return Evaluation(tuple(results), tuple(skipped), crop, missed)


def match_points(predicted: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Return ``annotated`` (P, 2), reordered so that it fits ``predicted`` (P, 2) best.

    The assignment with the least sum of squared distances.
    """
    squares = np.square(predicted[:, None] - annotated[None]).sum(-1)
    return annotated[linear_sum_assignment(squares)[1]]


_NOT_FOUND = "was not found by the face detector"


def _find_photo(folder: Path, name: str) -> Path:
    """Return where a photo is that an annotation file names, perhaps from another folder."""
    parts = Path(name.replace("\\", "/")).parts
    for start in range(len(parts)):
        path = folder.joinpath(*parts[start:])
        if path.is_file():
            return path
    raise DataError(f"{folder / name}: there is no such photo")


def _read_as_annotated(path: Path, size: tuple[int, int] | None) -> np.ndarray:
    """Return a photo as it stood when it was annotated: upright, unless its size says otherwise."""
    pixels = images.read_photo(path)
    if size not in (None, pixels.shape[1::-1]):
        stored = images.read_photo(path, upright=False)
        if stored.shape[1::-1] == size:
            return stored
    return pixels


def _tasks(
    photo: AnnotatedPhoto,
    pixels: np.ndarray,
    shape: FaceShape,
    crop: str,
    skipped: list[SkippedInput],
) -> Iterator[_Task]:
    """Yield a photo's annotated faces with the crops to begin with; note what is left out."""
    height, width = pixels.shape[:2]
    numbered = []
    for face, points in enumerate(photo.faces, start=1):
        centre = points.mean(0)
        if (centre < 0).any() or (centre > (width, height)).any():
            other = f"; annotated at {photo.size[0]}×{photo.size[1]}" if photo.size else ""
            why = f"face {face} lies outside the photo ({width}×{height}{other})"
            skipped.append(SkippedInput(photo.name, why))
        else:
            numbered.append((face, points))
    if crop == "annotated":
        for face, points in numbered:
            yield _Task(photo.name, face, pixels, points, crops.crop_around(points, shape))
        return
    found = detect_faces(pixels)
    partner = _partners([points for _, points in numbered], found)
    for (face, points), detection in zip(numbered, partner, strict=True):
        if detection is None:
            skipped.append(SkippedInput(photo.name, f"face {face} {_NOT_FOUND}"))
        else:
            start = crops.crop_aligned(detection.points, shape, POINTS)
            yield _Task(photo.name, face, pixels, points, start)


def _partners(annotated: list[np.ndarray], found: list[Detection]) -> list[Detection | None]:
    """Return the detection of each annotated face: which is which, nothing more, is told."""
    if not annotated or not found:
        return [None] * len(annotated)
    centres = np.array([points.mean(0) for points in annotated])
    sizes = crops.point_radius(np.array(annotated), centres[:, None])
    places = np.array([face.points.mean(0) for face in found])
    apart = np.hypot(*np.moveaxis(centres[:, None] - places[None], -1, 0)) / sizes[:, None]
    partner: list[Detection | None] = [None] * len(annotated)
    for face, detection in zip(*linear_sum_assignment(np.minimum(apart, 9)), strict=True):
        if apart[face, detection] < 1:
            partner[face] = found[detection]
    return partner


def _scored(
    tasks: list[_Task],
    predict: Predict,
    shape: FaceShape,
    on_face: Callable[[FaceResult, np.ndarray], None] | None,
) -> list[FaceResult]:
    greys = [images.to_grey(task.pixels) for task in tasks]
    results = []
    for task, located in zip(
        tasks, locate_keypoints(greys, [task.crop for task in tasks], predict, shape), strict=True
    ):
        result = FaceResult(
            task.photo, task.face, match_points(located.points, task.points), located,
            crops.crop_around(task.points, shape).scale,
        )  # fmt: skip
        if on_face:
            on_face(result, task.pixels)
        results.append(result)
    return results
