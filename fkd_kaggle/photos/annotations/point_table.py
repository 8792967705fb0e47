"""``face_keypoints.csv``: photos and any number of points each, written, read and cleaned.

    image_name,point_1_x,point_1_y,…,point_K_x,point_K_y
    00001.png,61.20,47.85,…,-1,-1

Coordinates are pixels of the photo, the centre of the top left pixel at (0, 0); -1 where a point
was not found. Points may have names instead of numbers (``left_eye_center_x``). A file whose
coordinates all lie between 0 and 1 is taken for one in shares of width and height.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from fkd_kaggle import files
from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.images import SkippedInput

FILE_NAME = "face_keypoints.csv"

NOT_FOUND = -1


@dataclass(frozen=True)
class PointTable:
    """Photos by name with their points."""

    images: tuple[str, ...]
    points: np.ndarray
    """(N, K, 2) float64: pixels, or shares of width and height; NaN where not found."""
    names: tuple[str, ...]
    """(K,) what the header calls the points: point_1 …, or names of their own."""
    skipped: tuple[SkippedInput, ...] = ()
    """Rows that could not be read, by line."""

    @property
    def shares(self) -> bool:
        """Say whether coordinates are shares of width and height, not pixels."""
        known = self.points[np.isfinite(self.points)]
        return bool(known.size) and bool(((known >= 0) & (known <= 1)).all())

    def complete(self) -> PointTable:
        """Return the rows in which every point was found."""
        keep = np.isfinite(self.points).all((1, 2))
        images = tuple(name for name, kept in zip(self.images, keep, strict=True) if kept)
        return PointTable(images, self.points[keep], self.names, self.skipped)


def table_columns(names: Sequence[str]) -> list[str]:
    """Return the header for points of these names."""
    return ["image_name", *(f"{name}_{axis}" for name in names for axis in "xy")]


def table_row(image: str, points: np.ndarray | None, count: int) -> list[str]:
    """Return the cells of a photo with (K, 2) points; -1 where there are none or a point is NaN."""
    if points is None:
        points = np.full((count, 2), np.nan)
    known = np.isfinite(points).all(1)
    return [
        image,
        *(
            f"{value:.2f}" if found else str(NOT_FOUND)
            for point, found in zip(points, known, strict=True)
            for value in point
        ),
    ]


def write_table(path: Path, table: PointTable) -> None:
    """Write a table, whole or not at all."""
    rows = [
        table_row(image, points, len(table.names))
        for image, points in zip(table.images, table.points, strict=True)
    ]
    files.write_csv(path, table_columns(table.names), rows)


def read_table(path: Path) -> PointTable:
    """Read a table; rows that cannot be read are left out and named.

    Raises
    ------
    DataError
        The file is missing, its header is another, or not a single row can be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            names = _names(path, next(reader, []))
            images, rows, skipped = [], [], []
            for cells in reader:
                where = f"line {reader.line_num}"
                if not any(cell.strip() for cell in cells):
                    continue
                found = _points(cells, len(names))
                if isinstance(found, str):
                    skipped.append(SkippedInput(where, found))
                else:
                    images.append(cells[0].strip())
                    rows.append(found)
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist: `fkd-kaggle annotate FOLDER` makes one from photos"
        ) from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: give the {FILE_NAME} in it") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file: {error}") from None
    if not rows:
        why = f" ({skipped[0]})" if skipped else ""
        raise DataError(f"{path} has no row that can be read{why}")
    return PointTable(tuple(images), np.stack(rows), names, tuple(skipped))


def flip_order(names: Sequence[str], points: np.ndarray) -> tuple[int, ...] | None:
    """Return (K,) which point is which in a mirrored photo; None where that cannot be told.

    By names where they say left and right; else by the mean shape, in which each point is matched
    with the mirror image of its partner.

    Parameters
    ----------
    points
        (N, K, 2) shares of width and height, all of them known.
    """
    by_name = _flip_by_name(names)
    return by_name if by_name is not None else _flip_by_shape(points)


def _names(path: Path, header: list[str]) -> tuple[str, ...]:
    cells = [cell.strip() for cell in header]
    names = [cell.removesuffix("_x") for cell in cells[1::2]]
    if len(cells) < 3 or cells[1:] != table_columns(names)[1:]:
        wanted = "image_name, point_1_x, point_1_y, …"
        odd = next(
            (
                f", column {place} is {cell!r}"
                for place, (cell, other) in enumerate(
                    zip(cells[1:], table_columns(names)[1:], strict=False), start=2
                )
                if cell != other
            ),
            "",
        )
        raise DataError(f"{path}: the header must be {wanted}{odd}")
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise DataError(f"{path}: point {twice!r} is in the header twice")
    return tuple(names)


def _points(cells: list[str], count: int) -> np.ndarray | str:
    """Return (K, 2) points, NaN where not found, or what is wrong with the row."""
    if len(cells) != 1 + 2 * count:
        return f"{len(cells)} cells where the header has {1 + 2 * count}"
    if not cells[0].strip():
        return "names no image"
    try:
        values = np.array([float(cell) if cell.strip() else NOT_FOUND for cell in cells[1:]])
    except ValueError:
        odd = next(cell for cell in cells[1:] if not _is_number(cell))
        return f"{odd!r} is not a number"
    points = values.reshape(count, 2)
    points[(points == NOT_FOUND).any(1) | ~np.isfinite(points).all(1)] = np.nan
    return points


def _is_number(cell: str) -> bool:
    try:
        float(cell or "0")
    except ValueError:
        return False
    return True


def _flip_by_name(names: Sequence[str]) -> tuple[int, ...] | None:
    swap = {"left": "right", "right": "left"}
    mirrored = ["_".join(swap.get(part, part) for part in name.split("_")) for name in names]
    if list(names) == mirrored or not set(mirrored) <= set(names):
        return None
    return tuple(list(names).index(name) for name in mirrored)


_ASYMMETRY = 0.25
"""Share of the cloud's radius that a point may be away from its partner's mirror image."""

_OFF_CENTRE = 0.6
"""Share of it that the clouds may lie beside the photos' middle: an eye alone is symmetric too,
but its mirror image is the other eye."""


def _flip_by_shape(points: np.ndarray) -> tuple[int, ...] | None:
    middles = points.mean(1, keepdims=True)
    sizes = np.sqrt(np.square(points - middles).sum(-1).mean(-1))
    usable = sizes > 0
    if not usable.any() or abs(middles[..., 0].mean() - 0.5) > _OFF_CENTRE * sizes.mean():
        return None
    mean = ((points - middles)[usable] / sizes[usable, None, None]).mean(0)
    apart = np.hypot(*np.moveaxis(mean[:, None] - (mean * (-1, 1))[None], -1, 0))
    _, partner = linear_sum_assignment(np.square(apart))
    there_and_back = (partner[partner] == np.arange(len(partner))).all()
    if not there_and_back or apart[np.arange(len(partner)), partner].max() > _ASYMMETRY:
        return None
    return tuple(int(place) for place in partner)
