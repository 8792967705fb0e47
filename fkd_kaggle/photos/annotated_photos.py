"""Annotated faces in the frame of their photo: which file, which orientation, which size.

Photos are resized, turned and renamed after they were annotated. The annotated width and height
tell; where they do not, the shape of a face does. What does not fit is refused, not scored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.annotations.types import AnnotatedPhoto
from fkd_kaggle.photos.detection import detect_faces
from fkd_kaggle.photos.images import Photo, read_sizes, turn_upright
from fkd_kaggle.photos.mean_face import MeanFace, point_radius
from fkd_kaggle.photos.photo_folder import PhotoFolder
from fkd_kaggle.photos.photo_names import PhotoName, Size, find_photos

_CLEARLY_BETTER: Final = 0.6
"""A turned face is preferred if its distance from the mean face is smaller by this factor."""

_MIRRORED: Final = 2
"""EXIF orientation of a photo that is stored mirrored."""

_SAME_FACE: Final = 0.5
"""Distance in radii below which two annotations are of the same face."""


@dataclass(frozen=True)
class PlacedPhoto:
    """A photo with its annotated faces in its own pixels."""

    pixels: np.ndarray
    """(H, W, 3) uint8 RGB, upright."""
    faces: tuple[np.ndarray, ...]
    """(15, 2) float64 pixels of the upright photo each."""
    adjustment: str
    """How the annotated points were mapped; empty if they were taken as they are."""


def match_files(folder: PhotoFolder, photos: Sequence[AnnotatedPhoto]) -> list[Path | str]:
    """Return the file of each annotated photo, or why it has none.

    A photo that is annotated twice is used once.
    """
    names = [PhotoName(photo.name, photo.subset, photo.size) for photo in photos]
    found = find_photos(folder, names, read_sizes)
    entries: dict[Path, list[int]] = defaultdict(list)
    for number, path in enumerate(found):
        if isinstance(path, Path):
            entries[path].append(number)
    for path, numbers in entries.items():
        if len(numbers) > 1:
            for number, reason in _repeated(path, numbers, photos).items():
                found[number] = reason
    return found


def place_faces(annotated: AnnotatedPhoto, photo: Photo, mean_face: MeanFace) -> PlacedPhoto:
    """Map the annotated points to the photo as it is shown.

    Parameters
    ----------
    annotated
        The annotation. Its points refer to the photo as stored (CVAT before version 2.2) or as its
        EXIF orientation shows it, at the annotated width and height.
    photo
        The photo.
    mean_face
        An upright face; decides where the sizes fit both orientations.

    Raises
    ------
    DataError
        The photo has another aspect ratio than the annotated one.
    """
    frames = _fitting_frames(annotated.size, photo)
    if not frames:
        shown = " or ".join(f"{width}×{height}" for width, height in _frame_sizes(photo))
        size = annotated.size or (0, 0)
        raise DataError(
            f"is annotated at {size[0]}×{size[1]}, but the photo here is {shown}: "
            "another photo, or cropped"
        )
    options = [_in_frame(annotated.faces, annotated.size, photo, frame) for frame in frames]
    chosen = 0
    if len(options) > 1:
        upright, turned = (_distance_from_mean(faces, mean_face) for faces in options)
        chosen = int(turned < _CLEARLY_BETTER * upright)
        if photo.orientation == _MIRRORED:  # a mirrored face has the same shape
            chosen = _nearer_to_detections(options, photo)
    adjustment = _adjustment(annotated.size, photo, frames[chosen])
    if frames == ["stored"]:
        faces = _scaled(annotated.faces, annotated.size, photo.stored_size)
        turned = _distance_from_mean(options[0], mean_face)
        if _distance_from_mean(faces, mean_face) < _CLEARLY_BETTER * turned:
            # A wrong EXIF orientation: the photo is upright as it is stored.
            return PlacedPhoto(photo.stored_pixels(), faces, "its EXIF orientation is wrong")
    return PlacedPhoto(photo.pixels, options[chosen], adjustment)


def _repeated(path: Path, numbers: list[int], photos: Sequence[AnnotatedPhoto]) -> dict[int, str]:
    """Return why entries of the same photo are not used; the first usable one is not returned."""
    sizes = read_sizes(path)
    # Faces outside of the photo are reported when they are placed.
    numbers = [number for number in numbers if not _is_outside(photos[number], sizes)]
    if len(numbers) < 2:
        return {}
    fitting = [number for number in numbers if photos[number].size in sizes] or numbers
    first, *others = fitting
    reasons = {
        number: f"is annotated twice, the other time at the photo's size {_text(sizes[0])}"
        for number in set(numbers) - set(fitting)
    }
    if all(_covers(photos[first].faces, photos[number].faces) for number in others):
        reasons |= dict.fromkeys(others, "is annotated twice: the first time is used")
    else:
        unclear = f"is annotated {len(fitting)} times with different faces"
        reasons |= dict.fromkeys(fitting, f"{unclear}: not clear which belong to the photo here")
    return reasons


def _is_outside(photo: AnnotatedPhoto, sizes: Sequence[Size]) -> bool:
    """Say whether all faces of an entry without a size lie outside of the photo."""
    if photo.size is not None or not sizes:
        return False
    centres = np.array([points.mean(0) for points in photo.faces])
    return bool(((centres < 0) | (centres > max(map(max, sizes)))).any(1).all())


def _covers(faces: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    """Say whether each of the other faces is one of the faces."""
    for other in others:
        distances = [
            np.hypot(*(face.mean(0) - other.mean(0))) / point_radius(face, face.mean(0))
            for face in faces
        ]
        if min(distances) >= _SAME_FACE:
            return False
    return True


def _frame_sizes(photo: Photo) -> tuple[Size, ...]:
    """Return the photo's size upright and, if it differs, as stored."""
    return tuple(dict.fromkeys((photo.size, photo.stored_size)))


def _fitting_frames(size: Size | None, photo: Photo) -> list[str]:
    """Return which of the frames "upright" and "stored" have the annotated size or shape."""
    frames = {"upright": photo.size}
    if photo.orientation != 1:
        frames["stored"] = photo.stored_size
    if size is None:
        return list(frames)
    exact = [frame for frame, present in frames.items() if present == size]
    return exact or [frame for frame, present in frames.items() if _same_shape(size, present)]


def _same_shape(annotated: Size, present: Size) -> bool:
    """Say whether a size is another one scaled and rounded to whole pixels."""
    difference = abs(annotated[0] * present[1] - annotated[1] * present[0])
    # Whole sides differ by less than one pixel from the scaled ones, both in the same direction if
    # they are cut off, by half a pixel if they are rounded.
    return difference <= max(*annotated, *present)


def _in_frame(
    faces: Sequence[np.ndarray], size: Size | None, photo: Photo, frame: str
) -> tuple[np.ndarray, ...]:
    """Return the faces, (15, 2) each, in pixels of the upright photo."""
    present = photo.size if frame == "upright" else photo.stored_size
    scaled = _scaled(faces, size, present)
    if frame == "upright":
        return scaled
    return tuple(turn_upright(points, present, photo.orientation) for points in scaled)


def _scaled(
    faces: Sequence[np.ndarray], size: Size | None, present: Size
) -> tuple[np.ndarray, ...]:
    """Return faces, (15, 2) each, of a photo with one size in pixels of the present size."""
    # The centre of the top left pixel is (0, 0).
    factor = np.array(present) / (size or present)
    return tuple((points + 0.5) * factor - 0.5 for points in faces)


def _distance_from_mean(faces: Sequence[np.ndarray], mean_face: MeanFace) -> float:
    """Return the RMS distance of faces from the mean face, in radii, points in any order."""
    mean = _normalized(mean_face.points)
    squares = []
    for points in faces:
        distances = np.square(_normalized(points)[:, None] - mean[None]).sum(-1)
        squares.append(distances[linear_sum_assignment(distances)].mean())
    return float(np.mean(squares) ** 0.5)


def _nearer_to_detections(options: Sequence[Sequence[np.ndarray]], photo: Photo) -> int:
    """Return the index of the faces that lie nearer to what the face detector finds; 0 if equal."""
    centres = [np.array([points.mean(0) for points in faces]) for faces in options]
    if np.abs(centres[0] - centres[1]).max() < 0.05 * max(photo.size):
        return 0  # the faces lie in the middle, where mirroring moves them little
    detections = detect_faces(photo.pixels)
    if not detections:
        return 0
    found = np.array([face.points.mean(0) for face in detections])
    distances = [
        np.hypot(*np.moveaxis(each[:, None] - found[None], -1, 0)).min(1).mean() for each in centres
    ]
    return int(np.argmin(distances))


def _normalized(points: np.ndarray) -> np.ndarray:
    """Return (P, 2) points about their centre, in radii."""
    centre = points.mean(0)
    return (points - centre) / max(float(point_radius(points, centre)), 1e-9)


def _adjustment(size: Size | None, photo: Photo, frame: str) -> str:
    """Return how points of a frame were mapped to the upright photo."""
    present = photo.size if frame == "upright" else photo.stored_size
    steps = []
    if size not in (None, present):
        steps.append(f"scaled from {_text(size)} to {_text(present)}")
    if frame == "stored":
        steps.append("turned as the photo's EXIF orientation says")
    return ", ".join(steps)


def _text(size: Size | None) -> str:
    """Return a size such as 640×480."""
    return f"{size[0]}×{size[1]}" if size else "unknown size"
