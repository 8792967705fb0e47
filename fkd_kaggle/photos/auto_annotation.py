"""Automatic annotation: a folder of photos → ``face_keypoints.csv``, by a reference model.

Each row is written as soon as it is known to a partial file beside the target, so that an
interrupted annotation can be continued. A photo without a face becomes a row of -1. Files that
cannot be read are reported and get no row.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fkd_kaggle import files
from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.photos.annotations import point_table
from fkd_kaggle.photos.annotations.point_table import PointTable
from fkd_kaggle.photos.annotations.types import SkippedInput
from fkd_kaggle.photos.images import list_photos, read_photo
from fkd_kaggle.photos.references import ReferenceModel, select_points
from fkd_kaggle.report.tiles import make_sheet, make_tile

_BATCH_SIZE = 16
"""Photos given to the model at a time."""

_MAX_TILES = 60
"""Photos drawn for checking."""


@dataclass(frozen=True)
class AnnotationResult:
    """The outcome of an annotation."""

    table: PointTable
    """The table as written."""
    skipped: tuple[SkippedInput, ...]
    """Files that could not be read and photos without a face, sorted by name."""
    picture: Path
    """A PNG of some photos with their points."""
    model_point_names: tuple[str, ...]
    """The model's names of the table's points."""

    @property
    def found(self) -> int:
        """Return the number of photos with a face."""
        return len(self.table.complete_rows().image_names)


def annotate_photos(
    folder: Path,
    model: ReferenceModel,
    point_names: Sequence[str],
    target: Path,
    *,
    model_id: str,
    replace: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> AnnotationResult:
    """Write a table of the photos in a folder with the points that a model predicts.

    Parameters
    ----------
    folder
        Folder of the photos, subfolders included.
    model
        Predicts the points.
    point_names
        Which of the model's points to write.
    target
        The CSV file.
    model_id
        Text that identifies the model. An interrupted annotation to the same target by the same
        model is continued.
    replace
        Whether to replace an existing target.
    on_progress
        Called with the number of photos done and the number of photos.

    Raises
    ------
    DataError
        The folder contains no photo, or no photo contains a face.
    FkdError
        The target exists, or cannot be written.
    """
    if target.exists() and not replace:
        raise FkdError(f"{target} is there already: --force replaces it, --output writes another")
    paths = list_photos(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    digest = hashlib.sha256(f"{model_id} {' '.join(point_names)}".encode()).hexdigest()[:8]
    partial = target.with_name(f".{target.name}.{digest}.partial")
    with files.disk_full_as(FkdError(f"disk full while writing {partial}: free some space")):
        points, skipped = _annotate_remaining(
            dict(zip(names, paths, strict=True)), model, point_names, partial, on_progress
        )
    # Photos deleted since an interrupted annotation are in the partial file, but not in ``names``.
    annotated = [name for name in names if name in points]
    skipped += [SkippedInput(name, "no face found") for name in annotated if points[name] is None]
    if all(points[name] is None for name in annotated):
        partial.unlink(missing_ok=True)
        raise DataError(f"no face in any of the {len(paths)} photos of {folder}: nothing written")
    table = _make_table({name: points[name] for name in annotated}, len(point_names))
    point_table.write_table(target, table)
    partial.unlink(missing_ok=True)
    picture = target.with_suffix(".png")
    _draw_sheet(folder, table, picture)
    by_name = tuple(sorted(skipped, key=lambda item: item.name))
    return AnnotationResult(table, by_name, picture, tuple(point_names))


def _annotate_remaining(
    paths: dict[str, Path],
    model: ReferenceModel,
    point_names: Sequence[str],
    partial: Path,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, np.ndarray | None], list[SkippedInput]]:
    """Annotate the photos that the partial file does not contain, and append them to it.

    Returns
    -------
    By photo, the partial file's photos included: (K, 2) photo pixels, or None if there is no face.
    And the files that could not be read.
    """
    count = len(point_names)
    points = _read_partial(partial, count)
    skipped: list[SkippedInput] = []
    remaining = [name for name in paths if name not in points]
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        if not points:
            stream.truncate(0)
            writer.writerow(point_table.table_columns(_numbered_names(count)))
        for start in range(0, len(remaining), _BATCH_SIZE):
            if on_progress:
                on_progress(len(points) + len(skipped), len(paths))
            batch = remaining[start : start + _BATCH_SIZE]
            photos = _read_photos(((name, paths[name]) for name in batch), skipped)
            predictions = model(list(photos.values()))
            for name, prediction in zip(photos, predictions, strict=True):
                points[name] = select_points(prediction, model.point_names, point_names)
                writer.writerow(point_table.table_row(name, points[name], count))
            stream.flush()
    if on_progress:
        on_progress(len(paths), len(paths))
    return points, skipped


def _make_table(points: dict[str, np.ndarray | None], count: int) -> PointTable:
    """Return a table of (K, 2) points by photo; NaN for photos without a face."""
    missing = np.full((count, 2), np.nan)
    rows = [missing if row is None else row for row in points.values()]
    return PointTable(tuple(points), np.array(rows), _numbered_names(count))


def _read_partial(path: Path, count: int) -> dict[str, np.ndarray | None]:
    """Return the points of an interrupted annotation by photo, None for photos without a face."""
    try:
        table = point_table.read_table(path)
    except DataError:
        return {}
    if table.point_names != _numbered_names(count):
        return {}
    return {
        name: points if np.isfinite(points).any() else None
        for name, points in zip(table.image_names, table.points, strict=True)
    }


def _read_photos(
    paths: Iterable[tuple[str, Path]], skipped: list[SkippedInput]
) -> dict[str, np.ndarray]:
    """Return the photos by name; append those that cannot be read to ``skipped``."""
    photos = {}
    for name, path in paths:
        try:
            photos[name] = read_photo(path)
        except DataError as error:
            skipped.append(SkippedInput(name, str(error).removeprefix(f"{path}: ")))
    return photos


def _numbered_names(count: int) -> tuple[str, ...]:
    """Return point_1 to point_K, the names of the points in the file."""
    return tuple(f"point_{number}" for number in range(1, count + 1))


def _draw_sheet(folder: Path, table: PointTable, target: Path) -> None:
    """Draw up to 60 photos, evenly spaced in the table, with their points."""
    count = len(table.image_names)
    tiles: list[Image.Image] = []
    for index in np.unique(np.linspace(0, count - 1, min(_MAX_TILES, count)).astype(int)):
        points = table.points[index]
        known = points[np.isfinite(points).all(1)]
        photo = read_photo(folder / table.image_names[index])
        caption = table.image_names[index] + ("" if len(known) else ": no face")
        tiles.append(make_tile(photo, known if len(known) else None, None, caption))
    with files.atomic_path(target) as path:
        make_sheet(tiles).save(path)
