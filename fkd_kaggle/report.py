"""Pictures of a run: curves, predictions, errors per keypoint, doubtful labels, and a page of them.

Draws into files through ``pictures``; computes only what it draws.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fkd_kaggle import faces, pictures
from fkd_kaggle.events import Scores
from fkd_kaggle.faces import Faces
from fkd_kaggle.keypoints import COMPLETE, NAMES, PARTIAL_SOURCE
from fkd_kaggle.run import Run

_PICTURES = {
    "curves.png": "Training curves: loss, and RMSE in pixels on each member's held-out faces.",
    "faces.png": "Held-out faces: labels (green) and out-of-fold predictions (red).",
    "keypoints.png": "Out-of-fold RMSE of each keypoint, by annotation source.",
    "doubtful.png": "Where labels and predictions disagree most: look for wrong labels here.",
}


def write(run: Run, data_dir: Path) -> Path:
    """Draw a run's pictures into its folder and return the page that holds them.

    The run must have been blended: ``ensemble.train`` leaves it so.
    """
    everything = faces.read_training(data_dir)
    with np.load(run.path / "out_of_fold.npz") as kept:
        predictions = kept["predictions"]
    draw_curves(sorted((run.path / "members").glob("*/history.csv")), run.path / "curves.png")
    best_first = by_residual(predictions, everything.keypoints)
    # From the 5th to the 95th percentile: what to expect, not what to boast of.
    shown = np.linspace(0.05, 0.95, 12) * (len(best_first) - 1)
    draw_faces(everything, predictions, best_first[shown.astype(int)], run.path / "faces.png")
    draw_keypoints(everything, predictions, run.path / "keypoints.png")
    draw_faces(everything, predictions, best_first[::-1][:18], run.path / "doubtful.png")
    page = run.path / "report.html"
    run = Run.open(run.path)
    pictures.write_page(
        page,
        f"run {run.name}",
        f"{run.status}, made {run.info['created']}, RMSE in pixels, cross-validated:",
        [(label, "–" if value is None else f"{value:.3f}")
         for label, value in _score_rows(run.scores)],
        _PICTURES,
    )  # fmt: skip
    return page


def residuals(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N,) float32: each face's RMSE in pixels over its labelled keypoints, NaN if none.

    Parameters
    ----------
    predictions, labels
        (N, 15, 2) float32 pixels.
    """
    squares = np.square(predictions - labels).reshape(len(labels), -1)
    known = np.isfinite(squares)
    counts = known.sum(1)
    mean = np.where(known, squares, 0).sum(1) / np.maximum(counts, 1)
    return np.where(counts > 0, np.sqrt(mean), np.nan)


def by_residual(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the positions of the faces that have a residual, the smallest first."""
    errors = residuals(predictions, labels)
    known = np.flatnonzero(np.isfinite(errors))
    return known[np.argsort(errors[known], kind="stable")]


def draw_curves(histories: list[Path], target: Path) -> None:
    """Draw loss and held-out RMSE over epochs, a line a member and a colour a recipe.

    Parameters
    ----------
    histories
        ``members/<member>/history.csv`` of each member.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    loss, score = figure.subplots(1, 2)
    recipes = list(dict.fromkeys(_recipe_of(path) for path in histories))
    labelled: set[str] = set()
    for path in histories:
        recipe = _recipe_of(path)
        style = {
            "color": f"C{recipes.index(recipe) % 10}", "marker": ".", "markersize": 4,
            "linewidth": 1, "label": None if recipe in labelled else recipe,
        }  # fmt: skip
        labelled.add(recipe)
        history = read_history(path)
        loss.plot(history["epoch"], history["loss"], **style)
        seen = np.isfinite(history["rmse"])
        score.plot(history["epoch"][seen], history["rmse"][seen], **style)
    loss.set_title("training loss (recipes may differ in what it is)")
    score.set_title("RMSE on held-out faces, pixels")
    for axes in (loss, score):
        pictures.logarithmic(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3, which="both")
    if histories:
        score.legend(fontsize=8)
    pictures.save(figure, target)


def draw_faces(everything: Faces, predictions: np.ndarray, rows: np.ndarray, target: Path) -> None:
    """Draw faces with labels in green and predictions in red, titled with row and error.

    Parameters
    ----------
    everything
        N faces with their labels.
    predictions
        (N, 15, 2) float32 pixels.
    rows
        (K,) positions of the faces to draw, six in a line.
    """
    errors = residuals(predictions[rows], everything.keypoints[rows])
    pictures.draw_faces(
        everything.images[rows],
        [f"row {everything.ids[row]}: {error:.2f} px"
         for row, error in zip(rows, errors, strict=True)],
        target,
        [pictures.answers(predictions[rows]), pictures.labels(everything.keypoints[rows])],
    )  # fmt: skip


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a member's history.csv, (E,) float64; NaN where nothing was measured.

    Those of ``training.HISTORY``; an older run's history may lack some, which are all NaN then.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = ("epoch", "loss", "rmse", "seconds", "images")
    return {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in columns}


def draw_keypoints(everything: Faces, predictions: np.ndarray, target: Path) -> None:
    """Draw each keypoint's RMSE in pixels, a bar a source."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    squares = np.square(predictions - everything.keypoints)
    places = np.arange(len(NAMES))
    for source, label, shift in ((COMPLETE, "complete", -0.2), (PARTIAL_SOURCE, "partial", 0.2)):
        block = squares[everything.sources == source]
        known = np.isfinite(block)
        total = np.where(known, block, 0).sum((0, 2))
        counts = known.sum((0, 2))
        rmse = np.sqrt(np.where(counts > 0, total / np.maximum(counts, 1), np.nan))
        axes.barh(places + shift, rmse, height=0.4, label=f"{label} source")
    axes.set_yticks(places, [name.replace("_", " ") for name in NAMES])
    axes.invert_yaxis()
    axes.set_xlabel("RMSE, pixels")
    axes.grid(alpha=0.3, axis="x")
    axes.legend()
    pictures.save(figure, target)


def _recipe_of(history: Path) -> str:
    """Return the recipe of a member's history: the folder is <recipe>-f<fold>[-s<seed>]."""
    return re.sub(r"-f\d+(-s\d+)?$", "", history.parent.name)


def _score_rows(scores: Scores | None) -> list[tuple[str, float | None]]:
    if scores is None:
        return []
    return [
        ("complete source", scores.complete),
        ("partial source", scores.partial),
        ("both, as the lookup table asks", scores.combined),
        ("expected on the leaderboard", scores.expected),
        *((f"{name} alone", value) for name, value in scores.by_member.items()),
    ]
