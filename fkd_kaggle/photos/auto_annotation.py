"""Automatic annotation: photos → tables of points, by a reference model.

Results are written as soon as they are known to a partial file beside the first target, so that an
interrupted annotation can be continued. Files that cannot be read are reported.

=============  =====================================================================================
table          one row for each photo, its largest face; -1 for a photo without a face; beside it
               a figure of some photos with their points, with the suffix ``.png``
csv, json      every face with box, points and expected error (``face_files``)
draw           the photos with the faces drawn on them (``face_drawing``)
=============  =====================================================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from fkd_kaggle import files
from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.photos import face_files
from fkd_kaggle.photos.annotations import point_table
from fkd_kaggle.photos.annotations.point_table import PointTable
from fkd_kaggle.photos.annotations.types import SkippedInput
from fkd_kaggle.photos.face_drawing import DrawingFolder, drawing_names
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.images import read_photo, save_picture
from fkd_kaggle.photos.photo_inputs import PhotoInputs, collect_inputs
from fkd_kaggle.photos.references import ReferenceModel, find_faces, select_points
from fkd_kaggle.report.tiles import make_sheet, make_tile

_BATCH_SIZE = 16
"""Photos given to the model at a time."""

_MAX_TILES = 60
"""Photos drawn for checking."""


@dataclass(frozen=True)
class Targets:
    """The files to write; None for those that are not wanted."""

    table: Path | None = None
    csv: Path | None = None
    json: Path | None = None
    draw: Path | None = None
    """A folder."""

    @property
    def picture(self) -> Path | None:
        """Return the table's figure, a PNG of some photos with their points."""
        return None if self.table is None else self.table.parent / f"{self.table.stem}.png"

    def check(self, photos: Iterable[Path] = (), *, replace: bool) -> None:
        """Refuse to replace files that exist, unless requested.

        Parameters
        ----------
        photos
            The photos to annotate, which the table's figure never replaces.
        replace
            Whether to replace existing files.

        Raises
        ------
        FkdError
            A file exists, two targets are the same, or the table's figure has the name of a target
            or of a photo.
        """
        targets = [path for path in (self.table, self.csv, self.json) if path is not None]
        targets = [path for path in targets if path != files.STANDARD_OUTPUT]
        if len(set(targets)) < len(targets):
            raise FkdError(f"{max(targets, key=targets.count)} is named for two files")
        if self.picture is not None:
            self._check_picture(self.picture, photos)
            targets.append(self.picture)
        for path in targets:
            if path.is_dir():
                raise FkdError(f"{path} is a folder: name a file")
            if path.exists() and not replace:
                raise FkdError(
                    f"{path} is there already: --force replaces it, another name keeps both"
                )

    def _check_picture(self, picture: Path, photos: Iterable[Path]) -> None:
        """Refuse a figure with the name of another target or of a photo."""
        for path in (self.table, self.csv, self.json, self.draw):
            if path is not None and path.resolve() == picture.resolve():
                raise FkdError(
                    f"{path} is also the name of the table's figure: choose another name"
                )
        # samefile also recognises links, and names that differ in upper and lower case on macOS.
        if picture.exists() and any(path.exists() and path.samefile(picture) for path in photos):
            raise FkdError(
                f"the figure of the table {self.table} would replace the photo {picture}: choose "
                "another name for the table"
            )

    def partial_file(self, key: str) -> Path | None:
        """Return the file of partial results; None if nothing is written."""
        for path in (self.table, self.csv, self.json, self.draw):
            if path is not None and path != files.STANDARD_OUTPUT:
                digest = hashlib.sha256(key.encode()).hexdigest()[:8]
                return path.with_name(f".{path.name}.{digest}.partial")
        return None


@dataclass(frozen=True)
class AnnotationResult:
    """The outcome of an annotation."""

    faces: dict[str, list[PhotoFace]]
    """The faces of each photo that could be read."""
    skipped: tuple[SkippedInput, ...]
    """Files that could not be read and photos without a face, sorted by name."""
    table: PointTable
    """The table of the largest faces, as written."""
    picture: Path | None
    """A PNG of some photos with their points; None without a table."""
    model_point_names: tuple[str, ...]
    """The model's names of the table's points."""

    @property
    def found(self) -> int:
        """Return the number of photos with a face."""
        return sum(bool(faces) for faces in self.faces.values())


def annotate_photos(
    photos: Path | PhotoInputs,
    model: ReferenceModel,
    point_names: Sequence[str],
    targets: Path | Targets,
    *,
    model_id: str,
    face_point_names: Sequence[str] | None = None,
    replace: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> AnnotationResult:
    """Find the faces in photos and write the files that are wanted.

    Parameters
    ----------
    photos
        A folder of photos, subfolders included, or ``photo_inputs.collect_inputs``.
    model
        Predicts the points.
    point_names
        Which of the model's points to write into the table.
    targets
        The files to write, or the path of the table alone.
    model_id
        Text that identifies the model. An interrupted annotation to the same target by the same
        model is continued; with drawings, only if folder and points of the drawings are the same.
    face_point_names
        Which of the model's points to write and draw for each face. Default: all.
    replace
        Whether to replace existing files.
    on_progress
        Called with the number of photos done and the number of photos.

    Raises
    ------
    DataError
        There is no photo, no photo contains a face, or the only photo cannot be read.
    FkdError
        A target exists, or cannot be written.
    """
    inputs = photos if isinstance(photos, PhotoInputs) else collect_inputs([photos])
    targets = targets if isinstance(targets, Targets) else Targets(table=targets)
    targets.check(inputs.photos.values(), replace=replace)
    face_points = tuple(face_point_names or model.point_names)
    key = f"{model_id} {' '.join(model.point_names)}"
    if targets.draw is not None:
        key += f" {targets.draw.resolve()} {' '.join(face_points)}"
    partial = targets.partial_file(key)
    continued = partial is not None and partial.exists()
    folder = _drawing_folder(targets.draw, inputs, replace=replace or continued)
    annotator = _Annotator(inputs.photos, model, face_points, partial, folder)
    with files.disk_full_as(FkdError(f"disk full while writing {partial}: free some space")):
        annotator.run(on_progress)
    # Photos deleted since an interrupted annotation are in the partial file, but not here.
    faces = {name: annotator.faces[name] for name in inputs.photos if name in annotator.faces}
    if not any(faces.values()):
        if partial is not None:
            partial.unlink(missing_ok=True)
        if folder is not None:
            folder.remove(faces)
        raise _no_face(annotator.skipped, inputs)
    nothing = [SkippedInput(name, "no face found") for name, found in faces.items() if not found]
    table = _make_table(select_face_points(faces, model.point_names, point_names), point_names)
    faces = select_face_points(faces, model.point_names, face_points)
    if targets.table is not None:
        point_table.write_table(targets.table, table)
    if targets.picture is not None:
        _draw_sheet(inputs.photos, table, targets.picture)
    if targets.csv is not None:
        face_files.write_faces_csv(targets.csv, faces, face_points)
    if targets.json is not None:
        reasons = {item.name: item.reason for item in (*inputs.skipped, *annotator.skipped)}
        face_files.write_faces_json(targets.json, faces, face_points, reasons)
    if partial is not None:
        partial.unlink(missing_ok=True)
    unused = [*annotator.skipped, *nothing, *inputs.skipped]
    skipped = tuple(sorted(unused, key=lambda item: item.name))
    return AnnotationResult(faces, skipped, table, targets.picture, tuple(point_names))


def select_face_points(
    faces: dict[str, list[PhotoFace]], names: Sequence[str], selected: Sequence[str]
) -> dict[str, list[PhotoFace]]:
    """Return faces with the selected points only.

    Parameters
    ----------
    faces
        Faces by photo.
    names
        Names of their points.
    selected
        Names of the points to keep.
    """

    def select(face: PhotoFace) -> PhotoFace:
        points = select_points(face.points, names, selected)
        assert points is not None
        return dataclasses.replace(face, points=points)

    return {name: [select(face) for face in found] for name, found in faces.items()}


@dataclass
class _Annotator:
    """Annotates the photos that the partial file does not contain, and appends them to it."""

    photos: dict[str, Path]
    model: ReferenceModel
    drawn_points: tuple[str, ...]
    """Names of the points that are drawn."""
    partial: Path | None
    drawings: DrawingFolder | None
    faces: dict[str, list[PhotoFace]] = field(default_factory=dict)
    """Results by photo, the partial file's photos included."""
    skipped: list[SkippedInput] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._drawing_names = drawing_names(list(self.photos))

    def run(self, on_progress: Callable[[int, int], None] | None) -> None:
        """Annotate all photos."""
        self.faces = self._read_partial()
        remaining = [name for name in self.photos if name not in self.faces]
        if self.partial is not None:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(remaining), _BATCH_SIZE):
            if on_progress:
                on_progress(len(self.faces) + len(self.skipped), len(self.photos))
            photos = self._read_photos(remaining[start : start + _BATCH_SIZE])
            found = dict(zip(photos, find_faces(self.model, list(photos.values())), strict=True))
            self._store(photos, found)
        if on_progress:
            on_progress(len(self.photos), len(self.photos))

    def _store(self, photos: dict[str, np.ndarray], found: dict[str, list[PhotoFace]]) -> None:
        """Keep the results of a batch, draw them and append them to the partial file."""
        if self.partial is not None:
            self.partial.touch()  # before the drawings: the same command may then replace them
        if self.drawings:
            self.drawings.create()
            drawn = select_face_points(found, self.model.point_names, self.drawn_points)
            for name, faces in drawn.items():
                self.drawings.save(name, photos[name], faces)
        self.faces.update(found)
        if self.partial is None:
            return
        with self.partial.open("a", encoding="utf-8") as stream:
            for name, faces in found.items():
                values = [face.to_json(self.model.point_names) for face in faces]
                record = {"name": name, **self._stamps(name), "faces": values}
                stream.write(json.dumps(record) + "\n")

    def _stamps(self, name: str) -> dict[str, list[int]]:
        """Return the stamps of a photo and, if photos are drawn, of its drawing."""
        stamps = {"file": _stamp(self.photos[name])}
        if self.drawings:
            stamps["drawing"] = _stamp(self.drawings.path / self._drawing_names[name])
        return stamps

    def _read_partial(self) -> dict[str, list[PhotoFace]]:
        """Return the results of an interrupted annotation.

        Photos that have changed are left out, and photos whose drawing is missing or has changed.
        """
        try:
            lines = self.partial.read_text(encoding="utf-8").splitlines() if self.partial else []
        except (OSError, ValueError):
            return {}
        faces = {}
        for line in lines:
            try:
                record = json.loads(line)
                name = record["name"]
                if all(record[key] == stamp for key, stamp in self._stamps(name).items()):
                    faces[name] = [PhotoFace.from_json(values) for values in record["faces"]]
            except (ValueError, KeyError, TypeError, OSError):
                continue  # a line that was cut, or a file that is gone: annotate it again
        return faces

    def _read_photos(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the photos by name; note those that cannot be read."""
        photos = {}
        for name in names:
            path = self.photos[name]
            try:
                photos[name] = read_photo(path)
            except DataError as error:
                reason = str(error).removeprefix(f"{path}: ")
                self.skipped.append(SkippedInput(name, reason))
        return photos


def _stamp(path: Path) -> list[int]:
    """Return size and time of a file, which change if the file is replaced."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _drawing_folder(
    path: Path | None, inputs: PhotoInputs, *, replace: bool
) -> DrawingFolder | None:
    """Return the folder of drawn photos, checked."""
    return None if path is None else DrawingFolder(path, inputs.photos, replace=replace)


def _no_face(skipped: Sequence[SkippedInput], inputs: PhotoInputs) -> DataError:
    """Return the error that no photo contains a face."""
    count = len(inputs.photos)
    if count == 1 and skipped:
        return DataError(str(skipped[0]))
    if count == 1 and inputs.folder is None:
        return DataError(f"{next(iter(inputs.photos.values()))}: no face found, nothing written")
    return DataError(
        f"no face in any of the {count} photos of {inputs.describe()}: nothing written"
    )


def _make_table(faces: dict[str, list[PhotoFace]], point_names: Sequence[str]) -> PointTable:
    """Return a table of the largest face of each photo; NaN for photos without a face."""
    missing = np.full((len(point_names), 2), np.nan)
    rows = [found[0].points if found else missing for found in faces.values()]
    numbered = tuple(f"point_{number}" for number in range(1, len(point_names) + 1))
    return PointTable(tuple(faces), np.array(rows), numbered)


def _draw_sheet(paths: dict[str, Path], table: PointTable, target: Path) -> None:
    """Draw up to 60 photos, evenly spaced in the table, with their points."""
    count = len(table.image_names)
    tiles: list[Image.Image] = []
    for index in np.unique(np.linspace(0, count - 1, min(_MAX_TILES, count)).astype(int)):
        name, points = table.image_names[index], table.points[index]
        known = points[np.isfinite(points).all(1)]
        photo = read_photo(paths[name])
        caption = name + ("" if len(known) else ": no face")
        tiles.append(make_tile(photo, known if len(known) else None, None, caption))
    save_picture(make_sheet(tiles), target)
