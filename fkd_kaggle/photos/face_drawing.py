"""Faces drawn on whole photos and video frames: box, number, points and expected error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fkd_kaggle import files
from fkd_kaggle.errors import FkdError
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.photo_folder import DRAWN_MARKER

_RED: Final = (255, 40, 40)
_WHITE: Final = (255, 255, 255)
_BLACK: Final = (0, 0, 0)
_COLOURS: Final = (
    (255, 200, 0),
    (0, 200, 255),
    (120, 255, 90),
    (255, 120, 220),
    (255, 140, 60),
    (170, 150, 255),
)
"""Colours of boxes, by the number of the face."""

DRAWN_VIDEO_SUFFIX: Final = ".points.mp4"
"""End of the names of drawn videos."""


def draw_faces(photo: np.ndarray, faces: Sequence[PhotoFace]) -> Image.Image:
    """Return a photo with its faces.

    Parameters
    ----------
    photo
        (H, W, 3) uint8 RGB.
    faces
        The faces to draw. Points outside of the photo are left out.

    Returns
    -------
    RGB image of the size of the photo.
    """
    image = Image.fromarray(np.ascontiguousarray(photo))
    draw = ImageDraw.Draw(image)
    line = max(1, round(min(image.size) / 400))
    for face in faces:
        colour = _COLOURS[(face.number - 1) % len(_COLOURS)]
        left, top, width, height = face.box
        draw.rectangle(_ordered(left, top, width, height), outline=colour, width=line)
        radius = max(1.0, width / 80)
        for x, y in face.points:
            if not (math.isfinite(x) and math.isfinite(y)):
                continue
            # Pillow's coordinates start at the corner of pixel 0, whose centre is at 0.5.
            centre_x, centre_y = x + 0.5, y + 0.5
            corners = (centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius)
            draw.ellipse(corners, fill=_RED, outline=_WHITE if radius > 2 else None)
        _write_label(draw, image.size, face, colour)
    return image


def drawing_names(names: Sequence[str]) -> dict[str, str]:
    """Return the relative path of the drawn photo for each photo's name, without ``..``.

    No two photos get the same path: ``a.jpg`` and ``../a.jpg`` become ``a.jpg`` and ``a-2.jpg``.
    """
    paths = []
    for name in names:
        parts = [part for part in PurePosixPath(name).parts if part not in ("..", "/", ".")]
        path = PurePosixPath(*parts)
        paths.append(path if path.suffix.lower() in (".jpg", ".jpeg") else f"{path}.jpg")
    return dict(zip(names, different_names(map(str, paths)), strict=True))


def different_names(names: Iterable[str]) -> list[str]:
    """Return file names, with a number before the suffix of those that occurred before.

    Upper and lower case count as the same, as on macOS and Windows.
    """
    taken: set[str] = set()
    different = []
    for name in names:
        path, number, chosen = PurePosixPath(name), 1, name
        while chosen.lower() in taken:
            number += 1
            chosen = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        taken.add(chosen.lower())
        different.append(chosen)
    return different


def check_drawing_folder(path: Path, inputs: Iterable[Path]) -> None:
    """Check that drawings can be written to a folder: a new, an empty or a marked one.

    A folder without the marker that contains drawn videos only is accepted too: earlier versions
    did not mark it.

    Parameters
    ----------
    path
        The folder; need not exist.
    inputs
        The photos and videos; ``path`` may be none of their folders.

    Raises
    ------
    FkdError
        The folder contains an input, or other files, or is a file.
    """
    if path.exists() and not path.is_dir():
        raise FkdError(f"--draw {path} is a file: give a folder for the drawings")
    for folder, name in {file.parent: file.name for file in inputs}.items():
        if path.resolve() == folder.resolve():
            raise FkdError(f"--draw {path} is the folder of {name}: give another folder")
    if _has_photos(path) and not (path / DRAWN_MARKER).exists():
        raise FkdError(f"--draw {path} contains other files: give another folder")


def mark_drawing_folder(path: Path) -> None:
    """Create a folder if needed, and mark it as one of drawings unless it has other files."""
    if not (path / DRAWN_MARKER).exists() and not _has_photos(path):
        files.write_text(
            path / DRAWN_MARKER, "Photos and videos with drawn points; not annotated.\n"
        )


class DrawingFolder:
    """A folder of drawn photos, marked so that its pictures are not annotated themselves.

    Parameters
    ----------
    path
        The folder; created if it does not exist.
    photos
        Path of each photo by its name; ``path`` may be none of their folders.
    replace
        Whether to replace drawn photos of an earlier call.

    Raises
    ------
    FkdError
        As for ``check_drawing_folder``, or the folder contains drawn photos and ``replace`` is
        false.
    """

    def __init__(self, path: Path, photos: Mapping[str, Path], *, replace: bool) -> None:
        self.path = path
        self._names = drawing_names(list(photos))
        self._is_new = not path.exists()
        check_drawing_folder(path, photos.values())
        if _has_photos(path) and not replace:
            raise FkdError(f"--draw {path} contains drawn photos: --force replaces them")

    def create(self) -> None:
        """Create the folder and its marker, unless the marker exists."""
        mark_drawing_folder(self.path)

    def save(self, name: str, photo: np.ndarray, faces: Sequence[PhotoFace]) -> None:
        """Draw a photo and write it as JPEG.

        Parameters
        ----------
        name
            Name of the photo.
        photo, faces
            As for ``draw_faces``.
        """
        with files.atomic_path(self.path / self._names[name]) as path:
            draw_faces(photo, faces).save(path, format="JPEG", quality=92)

    def remove(self, names: Iterable[str]) -> None:
        """Remove the drawings of photos, and the folder if it is new and contains nothing else.

        Parameters
        ----------
        names
            Names of the photos.
        """
        for name in names:
            drawing = self.path / self._names[name]
            drawing.unlink(missing_ok=True)
            for folder in drawing.parents:
                if folder == self.path or not _remove_empty(folder):
                    break
        if self._is_new and not _content(self.path):
            (self.path / DRAWN_MARKER).unlink(missing_ok=True)
            _remove_empty(self.path)


def _content(folder: Path) -> list[Path]:
    """Return the files and folders in a folder without its marker; none if it does not exist."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name != DRAWN_MARKER]


def _has_photos(folder: Path) -> bool:
    """Say whether a folder contains something else than the marker and drawn videos."""
    return any(not path.name.endswith(DRAWN_VIDEO_SUFFIX) for path in _content(folder))


def _remove_empty(folder: Path) -> bool:
    """Remove a folder if it is empty; say whether it was removed."""
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def _ordered(left: float, top: float, width: float, height: float) -> tuple[float, ...]:
    """Return the corners of a box as Pillow needs them."""
    return left, top, left + max(width, 0), top + max(height, 0)


def _write_label(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    face: PhotoFace,
    colour: tuple[int, int, int],
) -> None:
    """Write number and expected error above the box, or in it at the upper edge of the photo."""
    text = f"{face.number}"
    if not math.isnan(face.expected_error):
        text += f"  ±{face.expected_error:.1f} px"
    left, top, width, _ = face.box
    font = ImageFont.load_default(size=float(np.clip(width / 9, 11, max(12, size[0] / 25))))
    box = draw.textbbox((0, 0), text, font=font)
    text_width, text_height = box[2] - box[0], box[3] - box[1]
    x = min(max(left, 0), max(0, size[0] - text_width - 6))
    y = top - text_height - 8
    if y < 0:
        y = max(top, 0)
    draw.rectangle((x, y, x + text_width + 6, y + text_height + 6), fill=colour)
    draw.text((x + 3 - box[0], y + 3 - box[1]), text, font=font, fill=_BLACK)
