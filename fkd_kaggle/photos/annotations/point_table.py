"""Reader and writer of ``face_keypoints.csv``: photos with any number of points each.

    image_name,point_1_x,point_1_y,…,point_K_x,point_K_y
    00001.png,61.20,47.85,…,-1,-1

Coordinates are pixels of the photo; the centre of the top left pixel is (0, 0). A point that was
not found is -1,-1. Points may have names instead of numbers (``left_eye_center_x``). If all
coordinates of a file lie between -0.5 and 2, they are normalized by width and height: 0 and 1 are
the edges of the photo, and points can lie outside of it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import csv_text
from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.annotations.types import SkippedInput

FILE_NAME = "face_keypoints.csv"

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

_NORMALIZED: Final = (-0.5, 2.0)
"""Range of normalized coordinates. No face has all of its points in the first two pixels."""

NOT_FOUND = -1
"""Both coordinates of a point that was not found, as written in the file."""


@dataclass(frozen=True)
class PointTable:
    """Photos and their points."""

    image_names: tuple[str, ...]
    """(N,) file names of the photos."""
    points: np.ndarray
    """(N, K, 2) float64: photo pixels, or normalized coordinates; NaN where not found."""
    point_names: tuple[str, ...]
    """(K,) names of the points from the header, such as point_1."""
    skipped: tuple[SkippedInput, ...] = ()
    """Rows of the file that could not be read, named by line."""

    def is_normalized(self) -> bool:
        """Return whether the coordinates are normalized by width and height, not pixels.

        Raises
        ------
        DataError
            The coordinates of most rows are normalized, but not those of all rows.
        """
        known = np.isfinite(self.points)
        low, high = _NORMALIZED
        fits = ~known | ((self.points >= low) & (self.points <= high))
        rows = np.flatnonzero(known.any((1, 2)))
        others = rows[~fits[rows].all((1, 2))]
        if 0 < 2 * len(others) < len(rows):
            row = others[0]
            value = self.points[row][~fits[row]][0]
            raise DataError(
                f"{self.image_names[row]}: the coordinate {value:g} is no share of the width or "
                "height, but those of most rows are (0 to 1): correct this row or delete it"
            )
        return bool(len(rows)) and not len(others)

    def complete_rows(self) -> PointTable:
        """Return a table of the rows in which every point was found."""
        complete = np.isfinite(self.points).all((1, 2))
        names = tuple(name for name, kept in zip(self.image_names, complete, strict=True) if kept)
        return PointTable(names, self.points[complete], self.point_names, self.skipped)


def table_columns(point_names: Sequence[str]) -> list[str]:
    """Return the column names of a table with these points."""
    return ["image_name", *(f"{name}_{axis}" for name in point_names for axis in "xy")]


def table_row(image_name: str, points: np.ndarray | None, count: int) -> list[str]:
    """Return the cells of one row.

    Parameters
    ----------
    image_name
        File name of the photo.
    points
        (K, 2) pixels; NaN where a point was not found, None if no point was found.
    count
        Number of points K.
    """
    if points is None:
        points = np.full((count, 2), np.nan)
    known = np.isfinite(points).all(1)
    return [
        image_name,
        *(
            f"{value:.2f}" if found else str(NOT_FOUND)
            for point, found in zip(points, known, strict=True)
            for value in point
        ),
    ]


def write_table(path: Path, table: PointTable) -> None:
    """Write a table atomically."""
    rows = [
        table_row(name, points, len(table.point_names))
        for name, points in zip(table.image_names, table.points, strict=True)
    ]
    files.write_csv(path, table_columns(table.point_names), rows)


def read_table(path: Path) -> PointTable:
    """Read a table. Rows that cannot be read are reported in ``PointTable.skipped``.

    Raises
    ------
    DataError
        The file is missing or not a CSV file, its header is wrong, or it has no readable row.
    """
    lines, decimal = _read_rows(path)
    point_names = _parse_header(path, lines[0][1] if lines else [])
    image_names: list[str] = []
    rows: list[np.ndarray] = []
    skipped: list[SkippedInput] = []
    for number, cells in lines[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        points = _parse_row(cells, len(point_names), decimal)
        if isinstance(points, str):
            skipped.append(SkippedInput(f"line {number}", points))
        else:
            image_names.append(cells[0].strip())
            rows.append(points)
    if not rows:
        reason = f" ({skipped[0]})" if skipped else ""
        raise DataError(f"{path} has no row that can be read{reason}")
    return PointTable(tuple(image_names), np.stack(rows), point_names, tuple(skipped))


def _read_rows(path: Path) -> tuple[list[tuple[int, list[str]]], str]:
    """Return a file's rows with their line numbers, and the decimal sign of its numbers."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist: `fkd-kaggle annotate FOLDER` makes one from photos"
        ) from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: give the {FILE_NAME} in it") from None
    try:
        text = csv_text.to_utf8(path, content).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a CSV file: {error}") from None
    head = text[: text.find("\n")] if "\n" in text else text
    # Excel separates cells by semicolons where the decimal sign is a comma.
    delimiter = next((sign for sign in ",;\t" if sign in head), ",")
    decimal = "," if delimiter == ";" else "."
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, cells) for cells in reader], decimal
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}") from None


def _parse_header(path: Path, header: list[str]) -> tuple[str, ...]:
    """Return the point names of a header."""
    cells = [cell.strip() for cell in header]
    names = [cell.removesuffix("_x") for cell in cells[1::2]]
    expected = table_columns(names)
    if len(cells) < 3 or cells[1:] != expected[1:]:
        columns = enumerate(zip(cells[1:], expected[1:], strict=False), start=2)
        wrong = [
            f", column {number} is {cell!r}" for number, (cell, name) in columns if cell != name
        ]
        first = wrong[0] if wrong else ""
        raise DataError(f"{path}: the header must be image_name, point_1_x, point_1_y, …{first}")
    if len(set(names)) < len(names):
        repeated = max(names, key=names.count)
        raise DataError(f"{path}: point {repeated!r} is in the header twice")
    return tuple(names)


def _parse_row(cells: list[str], count: int, decimal: str) -> np.ndarray | str:
    """Return (K, 2) points, NaN where not found, or a description of the row's error."""
    if len(cells) != 1 + 2 * count:
        return f"{len(cells)} cells where the header has {1 + 2 * count}"
    if not cells[0].strip():
        return "names no image"
    values = []
    for cell in cells[1:]:
        text = cell.strip().replace(decimal, ".")
        if text.lower() in ("", "nan", "na", "null", "none"):
            values.append(float(NOT_FOUND))
        elif _NUMBER.fullmatch(text):
            values.append(float(text))
        else:
            return f"{cell!r} is not a number"
    points = np.array(values, np.float64).reshape(count, 2)
    points[(points == NOT_FOUND).any(1) | ~np.isfinite(points).all(1)] = np.nan
    return points
