"""Evaluation of a run on annotated photos (the external test of the recipe ``farhat``).

Annotated points have no order, so they are matched with the predicted points by the assignment with
the smallest squared distances. This rule is part of the test. It makes errors slightly smaller,
because exchanged points cost nothing. The annotation is used for the first crop only if requested
(``crop="annotated"``), and never for the prediction. ``evaluation_results`` computes errors,
``evaluation_page`` writes files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from fkd_kaggle.errors import DataError, FkdError, unknown_name
from fkd_kaggle.photos import photo_folder
from fkd_kaggle.photos.annotated_photos import PlacedPhoto, match_files, place_faces
from fkd_kaggle.photos.annotations.types import AnnotatedPhoto, Annotations
from fkd_kaggle.photos.crops import Crop, crop_aligned, crop_around
from fkd_kaggle.photos.detection import DETECTED_KEYPOINTS, Detection, detect_faces
from fkd_kaggle.photos.evaluation_results import Evaluation, FaceResult
from fkd_kaggle.photos.images import load_photo, to_grey
from fkd_kaggle.photos.localization import BATCH_SIZE, Predict, locate_keypoints
from fkd_kaggle.photos.mean_face import MeanFace, point_radius
from fkd_kaggle.photos.skipped_inputs import SkippedInput, by_relevance, summarize_reasons

CROPS = ("annotated", "detect")
"""Where a face's first crop comes from: the annotated points, or the face detector."""

_SMALLEST: Final = 2.0
"""Smallest radius of a face in pixels; smaller ones are no faces that a crop could show."""

OnFace = Callable[[FaceResult, np.ndarray], None]
"""Called with a face's result and its photo, (H, W, 3) uint8 RGB."""


def evaluate_photos(
    folder: Path,
    annotations: Annotations,
    predict: Predict,
    mean_face: MeanFace,
    *,
    crop: str = "annotated",
    on_face: OnFace | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare a run's predictions with annotated photos.

    Parameters
    ----------
    folder
        Folder of the photos; see ``photo_names`` for how their names are matched.
    annotations
        The annotated photos.
    predict
        Predicts the keypoints of crops.
    mean_face
        The mean face of the training data of ``predict``.
    crop
        One of ``CROPS``.
    on_face
        Called with each result and its photo.
    on_progress
        Called with the number of photos done and the number of photos.

    Raises
    ------
    FkdError
        ``crop`` is unknown.
    DataError
        ``folder`` is not a folder, or no face could be scored.
    """
    if crop not in CROPS:
        raise FkdError(unknown_name("crop", crop, CROPS))
    paths = match_files(photo_folder.scan_folder(folder), annotations.photos)
    omitted = _Omitted(list(annotations.skipped))
    adjusted: list[SkippedInput] = []
    results: list[FaceResult] = []
    pending: list[_FaceTask] = []
    for number, (photo, path) in enumerate(zip(annotations.photos, paths, strict=True)):
        if on_progress:
            on_progress(number, len(annotations.photos))
        if isinstance(path, str):
            omitted.add(photo.name, path)
            continue
        try:
            placed = place_faces(photo, load_photo(path), mean_face)
        except DataError as error:
            omitted.add(photo.name, str(error).removeprefix(f"{path}: "))
            continue
        if placed.adjustment:
            adjusted.append(SkippedInput(photo.name, placed.adjustment))
        pending += _face_tasks(photo, placed, mean_face, crop, omitted)
        if len(pending) >= BATCH_SIZE:
            results += _score(pending, predict, mean_face, on_face)
            pending = []
    results += _score(pending, predict, mean_face, on_face)
    if on_progress:
        on_progress(len(annotations.photos), len(annotations.photos))
    if not results:
        reasons = summarize_reasons(omitted.skipped)
        raise DataError(f"no face in {folder} could be evaluated ({reasons})")
    skipped = tuple(by_relevance(omitted.skipped))
    return Evaluation(tuple(results), skipped, crop, omitted.missed, tuple(adjusted))


def match_points(predicted: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Reorder annotated points by the assignment with the smallest sum of squared distances.

    Parameters
    ----------
    predicted
        (P, 2) coordinates.
    annotated
        (P, 2) coordinates in any order.

    Returns
    -------
    (P, 2): ``annotated`` in the order of ``predicted``.
    """
    squares = np.square(predicted[:, None] - annotated[None]).sum(-1)
    return annotated[linear_sum_assignment(squares)[1]]


@dataclass(frozen=True)
class _FaceTask:
    """An annotated face to be scored."""

    photo: str
    face: int
    """Number of the face in the photo, from 1."""
    pixels: np.ndarray
    """The photo, (H, W, 3) uint8 RGB."""
    points: np.ndarray
    """(15, 2) annotated photo pixels."""
    crop: Crop
    """The first crop."""


@dataclass
class _Omitted:
    """Collects what is not scored."""

    skipped: list[SkippedInput] = field(default_factory=list)
    missed: int = 0
    """Faces that the detector did not find."""

    def add(self, photo: str, reason: str) -> None:
        """Record a photo or a face that is not scored."""
        self.skipped.append(SkippedInput(photo, reason))

    def add_missed(self, photo: str, face: int) -> None:
        """Record a face that the detector did not find."""
        self.missed += 1
        self.add(photo, f"face {face} was not found by the face detector")


def _face_tasks(
    photo: AnnotatedPhoto,
    placed: PlacedPhoto,
    mean_face: MeanFace,
    crop: str,
    omitted: _Omitted,
) -> Iterator[_FaceTask]:
    """Yield the photo's annotated faces with their first crops."""
    pixels = placed.pixels
    height, width = pixels.shape[:2]
    faces: list[tuple[int, np.ndarray]] = []
    for number, points in enumerate(placed.faces, start=1):
        centre = points.mean(0)
        same = [first for first, other in faces if np.abs(other - points).max() < 1]
        if (centre < 0).any() or (centre > (width, height)).any():
            omitted.add(photo.name, f"face {number} lies outside the photo ({width}×{height})")
        elif point_radius(points, centre) < _SMALLEST:
            omitted.add(
                photo.name,
                f"face {number} lies within {np.ptp(points, axis=0).max():.2g} pixels: its points "
                "may be shares of the photo's size, where pixels are due",
            )
        elif same:
            omitted.add(photo.name, f"face {number} is face {same[0]} again")
        else:
            faces.append((number, points))
    if crop == "annotated":
        for number, points in faces:
            first_crop = crop_around(points, mean_face)
            yield _FaceTask(photo.name, number, pixels, points, first_crop)
        return
    detections = _match_detections([points for _, points in faces], detect_faces(pixels))
    for (number, points), detection in zip(faces, detections, strict=True):
        if detection is None:
            omitted.add_missed(photo.name, number)
        else:
            first_crop = crop_aligned(detection.points, mean_face, DETECTED_KEYPOINTS)
            yield _FaceTask(photo.name, number, pixels, points, first_crop)


def _match_detections(
    annotated: list[np.ndarray], detections: list[Detection]
) -> list[Detection | None]:
    """Return the detection of each annotated face, None if no detection is near it.

    The annotation is used only to tell faces apart.
    """
    if not annotated or not detections:
        return [None] * len(annotated)
    centres = np.array([points.mean(0) for points in annotated])
    radii = point_radius(np.array(annotated), centres[:, None])
    positions = np.array([face.points.mean(0) for face in detections])
    distances = np.hypot(*np.moveaxis(centres[:, None] - positions[None], -1, 0)) / radii[:, None]
    matched: list[Detection | None] = [None] * len(annotated)
    for face, detection in zip(*linear_sum_assignment(np.minimum(distances, 9)), strict=True):
        if distances[face, detection] < 1:
            matched[face] = detections[detection]
    return matched


def _score(
    tasks: list[_FaceTask], predict: Predict, mean_face: MeanFace, on_face: OnFace | None
) -> list[FaceResult]:
    """Predict the faces' keypoints and compare them with the annotated points."""
    greys = [to_grey(task.pixels) for task in tasks]
    located_faces = locate_keypoints(greys, [task.crop for task in tasks], predict, mean_face)
    results = []
    for task, located in zip(tasks, located_faces, strict=True):
        annotated = match_points(located.points, task.points)
        scale = crop_around(task.points, mean_face).scale
        result = FaceResult(task.photo, task.face, annotated, located, scale)
        if on_face:
            on_face(result, task.pixels)
        results.append(result)
    return results
