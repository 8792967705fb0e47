"""The folder that an evaluation writes: tables, a picture of every face, and a page.

    photos.csv      one row per face: errors in crop and photo pixels, NME, spread of the views
    points.csv      one row per point: annotated and predicted
    skipped.csv     photos and faces that were not scored, and why
    adjusted.csv    photos of another size or orientation than annotated, and how they were mapped
    summary.json    the errors over all faces
    faces/          a picture of every face
    sheet-1.png …   the pictures of all faces, the largest errors first
    index.html      summary and sheets on one page

The folder is written completely before it replaces an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from fkd_kaggle import files
from fkd_kaggle.ensemble.prediction import Predictor
from fkd_kaggle.errors import DataError
from fkd_kaggle.formatting import file_stem
from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.photos.annotations import cvat
from fkd_kaggle.photos.evaluation import evaluate_photos
from fkd_kaggle.photos.evaluation_results import FAILURE_NME, Evaluation, FaceResult
from fkd_kaggle.photos.images import save_picture
from fkd_kaggle.photos.mean_face import load_mean_face
from fkd_kaggle.photos.photo_archive import unpacked_folder
from fkd_kaggle.report import html
from fkd_kaggle.report.tiles import make_sheet, make_tile
from fkd_kaggle.runs.folder import Run

SUMMARY = "summary.json"

_FACE_TABLE: Final = "photos.csv"

_POINT_TABLE: Final = "points.csv"

_TILES_PER_SHEET = 60

_FACE_COLUMNS = (
    "photo",
    "face",
    "rmse_96",
    "mse_96",
    "rmse_photo",
    "mse_photo",
    "nme_percent",
    "spread_96",
    "photo_pixels_per_96",
    "picture",
)

_POINT_COLUMNS = (
    "photo",
    "face",
    "keypoint",
    "annotated_x",
    "annotated_y",
    "predicted_x",
    "predicted_y",
)


_MEANINGS: Final = {
    "crop": "faces are cropped",
    "photos_evaluated": "photos scored",
    "skipped": "photos or faces not scored",
    "adjusted": "photos mapped to the annotated size",
    "missed_by_detector": "faces that the detector missed",
    "rmse_96": "RMSE per coordinate, pixels of the 96×96 crop",
    "mse_96": "MSE, square pixels of the crop",
    "median_rmse_96": "RMSE of the median face, pixels of the crop",
    "worst_rmse_96": "RMSE of the worst face, pixels of the crop",
    "rmse_photo": "RMSE per coordinate, photo pixels",
    "mse_photo": "MSE, square photo pixels",
    "nme_percent": "NME, % of the distance of the eyes",
    "failures_percent": "failures, % of the faces",
}
"""What the values of the summary are called on the page; other keys are words already."""


def write_evaluation(
    target: Path,
    folder: Path,
    annotations: Path | None,
    run: Run,
    *,
    crop: str = "annotated",
    label: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate a run on annotated photos and write a folder of the results.

    Parameters
    ----------
    target
        The folder to write. An earlier evaluation there is replaced.
    folder
        Folder of the photos, or a zip of it.
    annotations
        The annotation file, in the CVAT format "for images 1.1". Default: the one in the folder.
    run
        The run that predicts.
    crop
        One of ``evaluation.CROPS``: where a face's first crop comes from.
    label
        Label of the annotated shapes; see ``cvat.read_cvat``.
    on_progress
        Called with the number of photos done and the number of photos.

    Raises
    ------
    FkdError
        The annotations cannot be read, the run cannot predict, no face could be scored, or
        ``target`` contains other files.
    """
    with unpacked_folder(folder) as place:
        source = annotations or cvat.find_annotations(place)
        if annotations is None and not source.exists():
            raise DataError(f"{folder / source.name} does not exist: name it with --annotations")
        shown = source if annotations or place == folder else folder / source.name
        annotated = cvat.read_cvat(source, label)
        predict, mean_face = Predictor(run), load_mean_face(run)
        with files.atomic_folder(target, SUMMARY, _FACE_TABLE, _POINT_TABLE) as new:
            pictures = _FacePictures(new)
            evaluation = evaluate_photos(
                place,
                annotated,
                predict,
                mean_face,
                crop=crop,
                on_face=pictures.add,
                on_progress=on_progress,
            )
            summary = {
                "run": run.name,
                "photos": str(folder),
                "annotations": str(shown),
                "label": annotated.label,
                **summarize_evaluation(evaluation),
            }
            files.write_json(new / SUMMARY, summary)
            _write_tables(new, evaluation, pictures.names)
            title = f"{run.name} on {folder.name}"
            _write_page(new, title, summary, evaluation, pictures.write_sheets(evaluation.faces))
    return evaluation


def summarize_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Return the errors over all faces as values for JSON.

    Keys with ``_96`` are in pixels of the 96×96 crops, those with ``_photo`` in photo pixels.
    """
    faces = evaluation.faces
    return {
        "crop": evaluation.crop,
        "faces": len(faces),
        "photos_evaluated": len({face.photo for face in faces}),
        "skipped": len(evaluation.skipped),
        "adjusted": len(evaluation.adjusted),
        "missed_by_detector": evaluation.missed,
        "rmse_96": evaluation.crop_rmse,
        "mse_96": evaluation.crop_rmse**2,
        "median_rmse_96": float(np.median([face.crop_rmse for face in faces])),
        "worst_rmse_96": max(face.crop_rmse for face in faces),
        "rmse_photo": evaluation.rmse,
        "mse_photo": evaluation.rmse**2,
        "nme_percent": 100 * evaluation.nme,
        "failures_percent": 100 * evaluation.failures,
    }


class _FacePictures:
    """Draws faces as they are scored, and sheets of all faces at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        """Paths of the pictures in the folder, in the order of the faces."""
        self.tiles: list[Image.Image] = []
        """The pictures at half size."""
        (folder / "faces").mkdir()

    def add(self, result: FaceResult, photo: np.ndarray) -> None:
        """Draw a face's annotated and predicted points in its photo."""
        caption = f"{result.photo} · {result.crop_rmse:.2f} px · {100 * result.nme:.1f} %"
        tile = make_tile(photo, result.located.points, result.annotated, caption)
        name = f"faces/{_file_name(len(self.names) + 1, result)}"
        save_picture(tile, self.folder / name)
        self.names.append(name)
        half = (tile.width // 2, tile.height // 2)
        self.tiles.append(tile.resize(half, Image.Resampling.LANCZOS))

    def write_sheets(self, faces: Sequence[FaceResult]) -> dict[str, str]:
        """Write sheets of all faces, the largest errors first; return captions by file name."""
        order = sorted(range(len(faces)), key=lambda index: -faces[index].crop_rmse)
        tiles = [self.tiles[index] for index in order]
        captions = {}
        for number, start in enumerate(range(0, len(tiles), _TILES_PER_SHEET), start=1):
            name = f"sheet-{number}.png"
            sheet = make_sheet(tiles[start : start + _TILES_PER_SHEET])
            save_picture(sheet, self.folder / name)
            captions[name] = "Annotated (green) and predicted (red), the largest errors first."
        return captions


def _file_name(number: int, result: FaceResult) -> str:
    """Return the name of a face's picture."""
    return f"{number:04d}-{file_stem(Path(result.photo).stem, max_length=60)}.png"


def _write_tables(folder: Path, evaluation: Evaluation, pictures: Sequence[str]) -> None:
    """Write photos.csv, points.csv and skipped.csv."""
    faces = evaluation.faces
    rows = [_face_row(face, picture) for face, picture in zip(faces, pictures, strict=True)]
    files.write_csv(folder / _FACE_TABLE, _FACE_COLUMNS, rows)
    files.write_csv(folder / _POINT_TABLE, _POINT_COLUMNS, _point_rows(faces))
    skipped = [(item.name, item.reason) for item in evaluation.skipped]
    files.write_csv(folder / "skipped.csv", ("name", "why"), skipped)
    adjusted = [(item.name, item.reason) for item in evaluation.adjusted]
    files.write_csv(folder / "adjusted.csv", ("name", "how"), adjusted)


def _face_row(face: FaceResult, picture: str) -> tuple[Any, ...]:
    """Return a face's cells in the order of ``_FACE_COLUMNS``."""
    return (
        face.photo,
        face.face,
        f"{face.crop_rmse:.4f}",
        f"{face.crop_mse:.4f}",
        f"{face.rmse:.4f}",
        f"{face.mse:.4f}",
        f"{100 * face.nme:.3f}",
        f"{face.located.spread:.3f}",
        f"{face.scale:.4f}",
        picture,
    )


def _point_rows(faces: Sequence[FaceResult]) -> Iterable[tuple[Any, ...]]:
    """Yield a row per point in the order of ``_POINT_COLUMNS``."""
    for face in faces:
        points = zip(KEYPOINT_NAMES, face.annotated, face.located.points, strict=True)
        for name, annotated, predicted in points:
            values = (f"{value:.2f}" for value in (*annotated, *predicted))
            yield face.photo, face.face, name, *values


def _write_page(
    folder: Path,
    title: str,
    summary: Mapping[str, Any],
    evaluation: Evaluation,
    captions: Mapping[str, str],
) -> None:
    """Write index.html."""
    rows = [
        (_MEANINGS.get(key, key), f"{value:.3f}" if isinstance(value, float) else str(value))
        for key, value in summary.items()
    ]
    rows += [(f"not scored: {item.name}", item.reason) for item in evaluation.skipped]
    rows += [(f"mapped: {item.name}", item.reason) for item in evaluation.adjusted]
    html.write_page(
        folder / "index.html",
        "evaluation.html",
        title=title,
        rows=rows,
        figures=captions,
        failure_percent=f"{100 * FAILURE_NME:.0f}",
    )
