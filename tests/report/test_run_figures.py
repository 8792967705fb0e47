"""Figures of a run, drawn from its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import make_faces
from matplotlib.image import imread

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.report.run_figures import draw_faces, draw_keypoints, draw_learning_curves
from fkd_kaggle.runs.history import read_history

pytestmark = pytest.mark.slow

FACES = make_faces(30, seed=4)

HISTORY = "epoch,loss,rmse,learning_rate,images_per_second,seconds\n"


def shifted_predictions(faces: Faces, pixels: float = 1.0) -> np.ndarray:
    """Return predictions ``pixels`` to the right of every label."""
    points = np.nan_to_num(faces.keypoints, nan=48.0)
    points[..., 0] += pixels
    return points.astype(np.float32)


def write_histories(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Write and return three members' histories, one of them not evaluated in each epoch."""
    texts = {
        "deep15-f0": "1,9.0,5.0,0.001,300,1\n2,7.0,4.0,0.001,300,2\n",
        "deep15-f1": "1,9.5,5.5,0.001,300,1\n2,7.5,4.5,0.001,300,2\n",
        "heatmap-f0": "1,3.0,,0.001,300,1\n2,2.0,1.5,0.001,300,2\n",
    }
    histories = {}
    for name, text in texts.items():
        path = folder / "members" / name / "history.csv"
        path.parent.mkdir(parents=True)
        path.write_text(HISTORY + text)
        histories[name] = read_history(path)
    return histories


def test_figures_depend_on_the_data(tmp_path: Path) -> None:
    histories = write_histories(tmp_path)
    draw_learning_curves(histories, tmp_path / "three.png")
    first_two = dict(list(histories.items())[:2])
    draw_learning_curves(first_two, tmp_path / "two.png")
    draw_learning_curves({}, tmp_path / "none.png")  # interrupted before the first epoch
    rows = np.arange(8)
    draw_faces(FACES, shifted_predictions(FACES), rows, tmp_path / "near.png")
    draw_faces(FACES, shifted_predictions(FACES, 9.0), rows, tmp_path / "far.png")
    draw_keypoints(FACES, shifted_predictions(FACES), tmp_path / "keypoints.png")
    figures = {path.stem: imread(path) for path in tmp_path.glob("*.png")}
    assert set(figures) == {"three", "two", "none", "near", "far", "keypoints"}
    for one, other in (("three", "two"), ("near", "far"), ("two", "none")):
        assert figures[one].shape == figures[other].shape
        assert np.abs(figures[one] - figures[other]).max() > 0.5


def test_labels_are_drawn_at_their_positions(tmp_path: Path) -> None:
    black = Faces(np.zeros_like(FACES.images), FACES.keypoints, FACES.ids)
    nowhere = np.full_like(FACES.keypoints, np.nan)
    nowhere[0, 0] = (-50, -50)  # outside the image, so that only labels are visible
    draw_faces(black, nowhere, np.array([0]), tmp_path / "one.png")
    picture = imread(tmp_path / "one.png")[..., :3]
    frame = picture.max(-1) < 0.1
    frame &= frame.sum(1, keepdims=True) > 60  # a line of the black face, not of the title
    top, left = (positions.min() for positions in np.nonzero(frame))
    size = np.nonzero(frame)[1].max() - left + 1
    rows, columns = np.nonzero((picture[..., 1] > 0.9) & (picture[..., 0] < 0.3))
    x = (columns.mean() - left) / size * 96 - 0.5
    y = (rows.mean() - top) / size * 96 - 0.5
    labels = FACES.keypoints[0]
    assert (x, y) == pytest.approx(tuple(labels.mean(0)), abs=1.5)
