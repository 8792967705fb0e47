"""Files with one row or entry for each face: ``--csv`` and ``--json``."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fkd_kaggle import files
from fkd_kaggle.photos.found_faces import BOX_COLUMNS, PhotoFace

FacesByPhoto = Mapping[str, Sequence[PhotoFace]]
"""The faces of each photo, by its name."""


def face_columns(point_names: Sequence[str], first: Sequence[str] = ("image_name",)) -> list[str]:
    """Return the column names of the file of faces."""
    coordinates = [f"{name}_{axis}" for name in point_names for axis in "xy"]
    return [*first, "face", *BOX_COLUMNS, "expected_error", "confidence", *coordinates]


def face_row(face: PhotoFace, first: Sequence[str]) -> list[str]:
    """Return the cells of a face; numbers that are not known are empty."""
    return [
        *first,
        str(face.number),
        *(_cell(value) for value in face.box),
        _cell(face.expected_error),
        _cell(face.confidence, 4),
        *(_cell(float(value)) for point in face.points for value in point),
    ]


def write_faces_csv(target: Path, faces: FacesByPhoto, point_names: Sequence[str]) -> None:
    """Write one row for each face; ``-`` is standard output.

    Parameters
    ----------
    target
        The file.
    faces
        The faces by photo; photos without a face get no row.
    point_names
        Names of the points of each face.
    """
    columns = face_columns(point_names)
    rows = (face_row(face, [name]) for name, found in faces.items() for face in found)
    files.write_csv(target, columns, rows)


def write_faces_json(
    target: Path, faces: FacesByPhoto, point_names: Sequence[str], skipped: Mapping[str, str]
) -> None:
    """Write the faces by photo, and the photos without a result; ``-`` is standard output.

    Parameters
    ----------
    target
        The file.
    faces, point_names
        As for ``write_faces_csv``.
    skipped
        The reason for each photo that could not be read.
    """
    value: dict[str, Any] = {
        "unit": "pixels of the photo; the centre of the top left pixel is (0, 0)",
        "expected_error": "root mean square error per coordinate that is expected for the face",
        "photos": {
            name: [face.to_json(point_names) for face in found] for name, found in faces.items()
        },
        "skipped": dict(skipped),
    }
    if target == files.STANDARD_OUTPUT:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")
    else:
        files.write_json(target, value)


def _cell(value: float, digits: int = 2) -> str:
    """Return a rounded number, nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"
