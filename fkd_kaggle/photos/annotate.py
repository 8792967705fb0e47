"""A folder of photos → ``face_keypoints.csv`` by a reference model.

Photos are read a few at a time and each row is kept as soon as it is known, in a file beside the
target: an interrupted annotation goes on where it stopped. Photos without a face are rows of -1;
unreadable files are named and left out.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fkd_kaggle import files
from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.photos import images
from fkd_kaggle.photos.annotations import point_table
from fkd_kaggle.photos.annotations.point_table import PointTable
from fkd_kaggle.photos.images import SkippedInput
from fkd_kaggle.photos.references import ReferenceModel, pick_points
from fkd_kaggle.report.tiles import make_sheet, make_tile

_AT_ONCE = 16

_DRAWN = 60


@dataclass(frozen=True)
class AnnotationResult:
    """What an annotation left."""

    path: Path
    table: PointTable
    skipped: tuple[SkippedInput, ...]
    """Files that could not be read, and photos without a face."""
    picture: Path
    points: tuple[str, ...]
    """What the model calls the table's points."""

    @property
    def found(self) -> int:
        """Return how many photos have a face."""
        return len(self.table.complete().images)


def annotate(
    folder: Path,
    model: ReferenceModel,
    wanted: Sequence[str],
    target: Path,
    *,
    about: str,
    replace: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> AnnotationResult:
    """Write a table of the photos in a folder with the points a model finds.

    Parameters
    ----------
    wanted
        Which of the model's points, by name.
    about
        What tells this model from another: an interrupted annotation by the same goes on.
    replace
        Whether an existing target is replaced.
    on_progress
        Called with (photos done, photos).

    Raises
    ------
    DataError
        There is no photo, or no face in any of them.
    FkdError
        The target exists, or cannot be written.
    """
    if target.exists() and not replace:
        raise FkdError(f"{target} is there already: --force replaces it, --output writes another")
    paths = images.list_photos(folder)
    names = tuple(f"point_{number}" for number in range(1, len(wanted) + 1))
    key = hashlib.sha256(f"{about} {' '.join(wanted)}".encode()).hexdigest()[:8]
    kept = target.with_name(f".{target.name}.{key}.partial")
    done = _finished_rows(kept, names)
    todo = [path for path in paths if _name(path, folder) not in done]
    skipped: list[SkippedInput] = []
    with files.disk_full_as(FkdError(f"disk full while writing {kept}: free some space")):
        target.parent.mkdir(parents=True, exist_ok=True)
        with kept.open("a", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            if not done:
                stream.truncate(0)
                writer.writerow(point_table.table_columns(names))
            for chunk in _chunks(todo, _AT_ONCE):
                if on_progress:
                    on_progress(len(done) + len(skipped), len(paths))
                photos = {}
                for path in chunk:
                    try:
                        photos[_name(path, folder)] = images.read_photo(path)
                    except DataError as error:
                        why = str(error).removeprefix(f"{path}: ")
                        skipped.append(SkippedInput(_name(path, folder), why))
                answers = model(list(photos.values()))
                for name, points in zip(photos, answers, strict=True):
                    done[name] = pick_points(points, model.names, wanted)
                    writer.writerow(point_table.table_row(name, done[name], len(wanted)))
                stream.flush()
    if on_progress:
        on_progress(len(paths), len(paths))
    # A photo that was deleted since an interrupted annotation saw it is none any more.
    order = [name for name in (_name(path, folder) for path in paths) if name in done]
    nowhere = np.full((len(wanted), 2), np.nan)
    rows = [nowhere if points is None else points for points in map(done.__getitem__, order)]
    skipped += [SkippedInput(name, "no face found") for name in order if done[name] is None]
    if all(done[name] is None for name in order):
        kept.unlink(missing_ok=True)
        raise DataError(f"no face in any of the {len(paths)} photos of {folder}: nothing written")
    table = PointTable(tuple(order), np.array(rows), names)
    point_table.write_table(target, table)
    kept.unlink(missing_ok=True)
    picture = target.with_suffix(".png")
    _draw(folder, table, picture)
    in_order = tuple(sorted(skipped, key=lambda item: item.name))
    return AnnotationResult(target, table, in_order, picture, tuple(wanted))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _chunks(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    return (paths[start : start + size] for start in range(0, len(paths), size))


def _finished_rows(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray | None]:
    """Return what an interrupted annotation already knows, by photo."""
    try:
        table = point_table.read_table(path)
    except DataError:
        return {}
    if table.names != names:
        return {}
    return {
        name: points if np.isfinite(points).any() else None
        for name, points in zip(table.images, table.points, strict=True)
    }


def _draw(folder: Path, table: PointTable, target: Path) -> None:
    """Draw up to 60 photos, evenly taken, with their points."""
    places = np.linspace(0, len(table.images) - 1, min(_DRAWN, len(table.images)))
    tiles: list[Image.Image] = []
    for place in np.unique(places.astype(int)):
        points = table.points[place]
        known = points[np.isfinite(points).all(1)]
        photo = images.read_photo(folder / table.images[place])
        caption = table.images[place] + ("" if len(known) else ": no face")
        tiles.append(make_tile(photo, known if len(known) else None, None, caption))
    with files.atomic_path(target) as path:
        make_sheet(tiles).save(path)
