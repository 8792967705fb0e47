"""Figures of a run as PNG files: learning curves, predictions, errors by keypoint, doubtful labels.

For notebooks of kernels, which show pictures; the page of a run (``report.run``) draws its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.data.metrics import face_rmse, masked_means, rank_by_rmse
from fkd_kaggle.keypoints import ANNOTATORS, KEYPOINT_NAMES
from fkd_kaggle.report import drawing
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import read_histories
from fkd_kaggle.runs.predictions import load_blended_out_of_fold


def write_run_figures(run: Run, data_dir: Path) -> list[Path]:
    """Draw a run's figures into its folder and return their paths.

    Parameters
    ----------
    run
        A blended run.
    data_dir
        Holds the training.csv that the run was trained on.

    Raises
    ------
    DataError
        training.csv is missing or not in the competition's format.
    """
    training = dataset.read_training(data_dir)
    predictions = load_blended_out_of_fold(run)
    names = ("curves.png", "keypoints.png", "faces.png", "doubtful.png")
    curves, keypoints, faces, doubtful = (run.path / name for name in names)
    draw_learning_curves(read_histories(run), curves)
    draw_keypoints(training, predictions, keypoints)
    ranking = rank_by_rmse(predictions, training.keypoints)
    # Typical faces: from the 5th to the 95th percentile of the RMSE.
    typical = np.linspace(0.05, 0.95, 12) * (len(ranking) - 1)
    draw_faces(training, predictions, ranking[typical.astype(int)], faces)
    draw_faces(training, predictions, ranking[::-1][:18], doubtful)
    return [curves, keypoints, faces, doubtful]


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
