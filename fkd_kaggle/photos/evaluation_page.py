"""The folder an evaluation leaves: a table, a picture of every face, and a page of them.

    photos.csv      a row a face: its errors in crop and photo pixels, NME, spread of the views
    points.csv      a row a point: annotated and predicted
    skipped.csv     what was left out, by name, and why
    summary.json    the figures over all faces
    faces/          a picture of every face
    sheet-1.png …   all of them, the worst first
    index.html      figures and sheets on one page

The folder appears when all of it is written, in place of an earlier one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fkd_kaggle import files
from fkd_kaggle.ensemble import prediction
from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.photos.annotations import cvat
from fkd_kaggle.photos.evaluation import FAILURE, Evaluation, FaceResult, evaluate_run
from fkd_kaggle.photos.references import run_shape
from fkd_kaggle.report import html, tiles
from fkd_kaggle.runs.folder import Run

SUMMARY = "summary.json"

_ON_SHEET = 60

_WORDS = (
    "rmse_96 is per coordinate in pixels of the 96×96 crop around the annotated points, the "
    "competition's unit; NME the mean distance as a share of that between the eyes; failures are "
    f"faces above {100 * FAILURE:.0f} % NME or not found."
)

_COLUMNS = (
    "photo", "face", "rmse_96", "mse_96", "rmse_photo", "mse_photo", "nme_percent",
    "spread_96", "photo_pixels_per_96", "picture",
)  # fmt: skip


def write_evaluation(
    target: Path,
    folder: Path,
    annotations: Path,
    run: Run,
    *,
    crop: str = "annotated",
    label: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate a run on annotated photos and leave a folder that shows it.

    Raises
    ------
    FkdError
        The annotations cannot be read, the run cannot predict, nothing could be evaluated, or
        ``target`` holds other things.
    """
    marked = cvat.read_cvat(annotations, label)
    predict, shape = prediction.Predictor(run), run_shape(run)
    with files.atomic_folder(target, SUMMARY) as fresh:
        (fresh / "faces").mkdir()
        drawn: list[str] = []
        small: list[Image.Image] = []

        def draw(result: FaceResult, photo: np.ndarray) -> None:
            caption = f"{result.photo} · {result.crop_rmse:.2f} px · {100 * result.nme:.1f} %"
            tile = tiles.make_tile(photo, result.located.points, result.annotated, caption)
            drawn.append(f"faces/{_file_name(len(drawn) + 1, result)}")
            tile.save(fresh / drawn[-1])
            small.append(tile.resize((tile.width // 2, tile.height // 2), Image.Resampling.LANCZOS))

        evaluation = evaluate_run(
            folder, marked, predict, shape, crop=crop, on_face=draw, on_progress=on_progress
        )
        faces = evaluation.faces
        worst = sorted(range(len(faces)), key=lambda place: -faces[place].crop_rmse)
        rows = [_row(face, picture) for face, picture in zip(faces, drawn, strict=True)]
        files.write_csv(fresh / "photos.csv", _COLUMNS, rows)
        files.write_csv(fresh / "points.csv", _POINT_COLUMNS, _point_rows(faces))
        skipped = [(item.name, item.why) for item in evaluation.skipped]
        files.write_csv(fresh / "skipped.csv", ("name", "why"), skipped)
        summary = {"run": run.name, "photos": str(folder), "annotations": str(annotations)}
        summary |= {"label": marked.label, **evaluation_summary(evaluation)}
        (fresh / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        lines = [
            (key, f"{value:.3f}" if isinstance(value, float) else str(value))
            for key, value in summary.items()
        ]
        html.write_page(
            fresh / "index.html",
            f"{run.name} on {folder.name}",
            _WORDS,
            [*lines, *((f"left out: {name}", why) for name, why in skipped)],
            _sheets(fresh, [small[place] for place in worst]),
        )
    return evaluation


def evaluation_summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation's figures over all faces, as plain JSON values."""
    faces = evaluation.faces
    return {
        "crop": evaluation.crop,
        "faces": len(faces),
        "photos_evaluated": len({face.photo for face in faces}),
        "skipped": len(evaluation.skipped),
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


_POINT_COLUMNS = (
    "photo", "face", "keypoint", "annotated_x", "annotated_y", "predicted_x", "predicted_y"
)  # fmt: skip


def _row(face: FaceResult, picture: str) -> tuple[Any, ...]:
    return (
        face.photo, face.face, f"{face.crop_rmse:.4f}", f"{face.crop_mse:.4f}", f"{face.rmse:.4f}",
        f"{face.mse:.4f}", f"{100 * face.nme:.3f}", f"{face.located.spread:.3f}",
        f"{face.scale:.4f}", picture,
    )  # fmt: skip


def _point_rows(faces: Sequence[FaceResult]) -> Iterable[tuple[Any, ...]]:
    for face in faces:
        for name, there, here in zip(
            KEYPOINT_NAMES, face.annotated, face.located.points, strict=True
        ):
            values = (f"{value:.2f}" for value in (*there, *here))
            yield face.photo, face.face, name, *values


def _file_name(number: int, result: FaceResult) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", Path(result.photo).stem)[:60]
    return f"{number:04d}-{stem}.png"


def _sheets(folder: Path, small: Sequence[Image.Image]) -> dict[str, str]:
    """Draw tiles on as many sheets as it takes; return their captions by file name."""
    captions = {}
    for number, start in enumerate(range(0, len(small), _ON_SHEET), start=1):
        name = f"sheet-{number}.png"
        tiles.make_sheet(small[start : start + _ON_SHEET]).save(folder / name)
        captions[name] = "Annotated (green) and predicted (red), the worst faces first."
    return captions
