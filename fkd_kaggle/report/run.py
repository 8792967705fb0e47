"""Report of a run: learning curves, predictions, errors by keypoint, implausible labels, a page.

Draws what ``runs`` reads; the run must have been blended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.data.metrics import face_rmse, masked_means, rank_by_rmse
from fkd_kaggle.formatting import format_pixels
from fkd_kaggle.keypoints import ANNOTATORS, KEYPOINT_NAMES
from fkd_kaggle.report import drawing, html
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import read_histories
from fkd_kaggle.runs.predictions import load_blended_out_of_fold
from fkd_kaggle.runs.scores import Scores

_FIGURES: Final = {
    "curves.png": "Learning curves: loss, and RMSE in pixels on each member's held-out faces.",
    "faces.png": "Held-out faces: labels (green) and out-of-fold predictions (red).",
    "keypoints.png": "Out-of-fold RMSE of each keypoint, by annotator.",
    "doubtful.png": "Faces where labels and predictions differ most: these labels may be wrong.",
}


def write_run_page(run: Run, data_dir: Path) -> Path:
    """Draw a run's figures into its folder and write the page ``report.html``.

    Parameters
    ----------
    run
        A blended run.
    data_dir
        Holds the training.csv that the run was trained on.

    Returns
    -------
    The path of the page.

    Raises
    ------
    DataError
        training.csv is missing or not in the competition's format.
    """
    training = dataset.read_training(data_dir)
    predictions = load_blended_out_of_fold(run)
    draw_learning_curves(read_histories(run), run.path / "curves.png")
    ranking = rank_by_rmse(predictions, training.keypoints)
    # Typical faces: from the 5th to the 95th percentile of the RMSE.
    typical = np.linspace(0.05, 0.95, 12) * (len(ranking) - 1)
    draw_faces(training, predictions, ranking[typical.astype(int)], run.path / "faces.png")
    draw_keypoints(training, predictions, run.path / "keypoints.png")
    draw_faces(training, predictions, ranking[::-1][:18], run.path / "doubtful.png")
    page = run.path / "report.html"
    html.write_page(
        page,
        "run.html",
        title=f"run {run.name}",
        rows=_score_rows(run.scores),
        figures=_FIGURES,
        status=run.status,
        created=run.created,
    )
    return page


def draw_learning_curves(histories: Mapping[str, Mapping[str, np.ndarray]], target: Path) -> None:
    """Draw loss and held-out RMSE over epochs, a line for each member, a colour for each recipe.

    Parameters
    ----------
    histories
        Columns of each member's history, (E,) float64, by member name; see ``runs.history``.
    target
        Path of the PNG.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    loss, score = figure.subplots(1, 2)
    recipes = list(dict.fromkeys(_recipe_name(member) for member in histories))
    labelled: set[str] = set()
    for member, history in histories.items():
        recipe = _recipe_name(member)
        style = {
            "color": f"C{recipes.index(recipe) % 10}",
            "marker": ".",
            "markersize": 4,
            "linewidth": 1,
            "label": None if recipe in labelled else recipe,
        }
        labelled.add(recipe)
        loss.plot(history["epoch"], history["loss"], **style)
        evaluated = np.isfinite(history["rmse"])
        score.plot(history["epoch"][evaluated], history["rmse"][evaluated], **style)
    loss.set_title("training loss (not comparable between recipes)")
    score.set_title("RMSE on held-out faces, pixels")
    for axes in (loss, score):
        drawing.use_log_axis(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3, which="both")
    if histories:
        score.legend(fontsize=8)
    drawing.save_figure(figure, target)


def draw_faces(training: Faces, predictions: np.ndarray, rows: np.ndarray, target: Path) -> None:
    """Draw faces with labels in green and predictions in red, with row and RMSE as titles.

    Parameters
    ----------
    training
        N faces with their labels.
    predictions
        (N, 15, 2) float32 pixels.
    rows
        (K,) positions of the faces to draw.
    target
        Path of the PNG.
    """
    labels = training.keypoints[rows]
    errors = face_rmse(predictions[rows], labels)
    drawing.draw_faces(
        training.images[rows],
        [
            f"row {number}: {error:.2f} px"
            for number, error in zip(training.ids[rows], errors, strict=True)
        ],
        target,
        [drawing.prediction_marks(predictions[rows]), drawing.label_marks(labels)],
    )


def draw_keypoints(training: Faces, predictions: np.ndarray, target: Path) -> None:
    """Draw the RMSE of each keypoint in pixels, a bar for each annotator.

    Parameters
    ----------
    training
        N faces with their labels.
    predictions
        (N, 15, 2) float32 pixels.
    target
        Path of the PNG.
    """
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    squares = np.square(predictions - training.keypoints)
    positions = np.arange(len(KEYPOINT_NAMES))
    for annotator, name in enumerate(ANNOTATORS):
        rmse = np.sqrt(masked_means(squares[training.annotators == annotator], (0, 2)))
        axes.barh(positions + 0.4 * annotator - 0.2, rmse, height=0.4, label=f"{name} annotator")
    axes.set_yticks(positions, [name.replace("_", " ") for name in KEYPOINT_NAMES])
    axes.invert_yaxis()
    axes.set_xlabel("RMSE, pixels")
    axes.grid(alpha=0.3, axis="x")
    axes.legend()
    drawing.save_figure(figure, target)


def _recipe_name(member: str) -> str:
    """Return the recipe of a member, whose name is <recipe>-f<fold>[-s<seed>]."""
    return re.sub(r"-f\d+(-s\d+)?$", "", member)


def _score_rows(scores: Scores | None) -> list[tuple[str, str]]:
    """Return names and formatted values of the scores."""
    if scores is None:
        return []
    rows = [
        ("complete annotator", scores.complete),
        ("partial annotator", scores.partial),
        ("both, weighted as the lookup table queries them", scores.combined),
        ("expected on the leaderboard", scores.expected),
        *((f"{name} alone", value) for name, value in scores.by_member.items()),
    ]
    return [(name, format_pixels(value)) for name, value in rows]
