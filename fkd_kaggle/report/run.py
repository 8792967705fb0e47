"""Pictures of a run: curves, predictions, errors per keypoint, doubtful labels, and a page of them.

Draws into files through ``pictures``; computes only what it draws.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.keypoints import COMPLETE, KEYPOINT_NAMES, PARTIAL
from fkd_kaggle.report import drawing, html
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import read_history
from fkd_kaggle.runs.scores import Scores

_PICTURES = {
    "curves.png": "Training curves: loss, and RMSE in pixels on each member's held-out faces.",
    "faces.png": "Held-out faces: labels (green) and out-of-fold predictions (red).",
    "keypoints.png": "Out-of-fold RMSE of each keypoint, by annotation source.",
    "doubtful.png": "Where labels and predictions disagree most: look for wrong labels here.",
}


def write_run_page(run: Run, data_dir: Path) -> Path:
    """Draw a run's pictures into its folder and return the page that holds them.

    The run must have been blended: ``ensemble.train`` leaves it so.
    """
    everything = dataset.read_training(data_dir)
    with np.load(run.path / "out_of_fold.npz") as kept:
        predictions = kept["predictions"]
    draw_learning_curves(
        sorted((run.path / "members").glob("*/history.csv")), run.path / "curves.png"
    )
    best_first = rank_by_rmse(predictions, everything.keypoints)
    # From the 5th to the 95th percentile: what to expect, not what to boast of.
    shown = np.linspace(0.05, 0.95, 12) * (len(best_first) - 1)
    draw_ranked_faces(
        everything, predictions, best_first[shown.astype(int)], run.path / "faces.png"
    )
    draw_keypoints(everything, predictions, run.path / "keypoints.png")
    draw_ranked_faces(everything, predictions, best_first[::-1][:18], run.path / "doubtful.png")
    page = run.path / "report.html"
    run = Run.open(run.path)
    html.write_page(
        page,
        f"run {run.name}",
        f"{run.status}, made {run.info['created']}, RMSE in pixels, cross-validated:",
        [(label, "–" if value is None else f"{value:.3f}")
         for label, value in _score_rows(run.scores)],
        _PICTURES,
    )  # fmt: skip
    return page


def face_rmse(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
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


def rank_by_rmse(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the positions of the faces that have a residual, the smallest first."""
    errors = face_rmse(predictions, labels)
    known = np.flatnonzero(np.isfinite(errors))
    return known[np.argsort(errors[known], kind="stable")]


def draw_learning_curves(histories: list[Path], target: Path) -> None:
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
        drawing.use_log_axis(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3, which="both")
    if histories:
        score.legend(fontsize=8)
    drawing.save_figure(figure, target)


def draw_ranked_faces(
    everything: Faces, predictions: np.ndarray, rows: np.ndarray, target: Path
) -> None:
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
    errors = face_rmse(predictions[rows], everything.keypoints[rows])
    drawing.draw_faces(
        everything.images[rows],
        [f"row {everything.ids[row]}: {error:.2f} px"
         for row, error in zip(rows, errors, strict=True)],
        target,
        [drawing.prediction_marks(predictions[rows]), drawing.label_marks(everything.keypoints[rows])],
    )  # fmt: skip


def draw_keypoints(everything: Faces, predictions: np.ndarray, target: Path) -> None:
    """Draw each keypoint's RMSE in pixels, a bar a source."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    squares = np.square(predictions - everything.keypoints)
    places = np.arange(len(KEYPOINT_NAMES))
    for annotator, label, shift in ((COMPLETE, "complete", -0.2), (PARTIAL, "partial", 0.2)):
        block = squares[everything.annotators == annotator]
        known = np.isfinite(block)
        total = np.where(known, block, 0).sum((0, 2))
        counts = known.sum((0, 2))
        rmse = np.sqrt(np.where(counts > 0, total / np.maximum(counts, 1), np.nan))
        axes.barh(places + shift, rmse, height=0.4, label=f"{label} source")
    axes.set_yticks(places, [name.replace("_", " ") for name in KEYPOINT_NAMES])
    axes.invert_yaxis()
    axes.set_xlabel("RMSE, pixels")
    axes.grid(alpha=0.3, axis="x")
    axes.legend()
    drawing.save_figure(figure, target)


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
