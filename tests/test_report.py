"""Pictures of a run: drawn from what it left, embedded in one page that can be sent alone."""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from conftest import make_faces, write_competition
from matplotlib.image import imread

from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.recipes import plans
from fkd_kaggle.report.run import (
    draw_keypoints,
    draw_learning_curves,
    draw_ranked_faces,
    face_rmse,
    rank_by_rmse,
    write_run_page,
)
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.scores import Scores

FACES = make_faces(30, seed=4)

HISTORY = "epoch,loss,rmse,learning_rate,images_per_second,seconds\n"


def slightly_wrong(everything: Faces, pixels: float = 1.0) -> np.ndarray:
    """Return predictions that miss every label by ``pixels`` to the right."""
    guesses = np.nan_to_num(everything.keypoints, nan=48.0)
    guesses[..., 0] += pixels
    return guesses.astype(np.float32)


def test_a_residual_is_the_rmse_over_labelled_coordinates() -> None:
    off = face_rmse(slightly_wrong(FACES, 2.0), FACES.keypoints)
    np.testing.assert_allclose(off, np.sqrt(2.0), rtol=1e-5)  # one axis of two is off by 2


def test_a_face_without_labels_or_prediction_has_no_residual() -> None:
    labels, guesses = FACES.keypoints.copy(), slightly_wrong(FACES)
    labels[3], guesses[5] = np.nan, np.nan
    off = face_rmse(guesses, labels)
    assert np.flatnonzero(np.isnan(off)).tolist() == [3, 5]
    assert set(rank_by_rmse(guesses, labels)) == set(range(30)) - {3, 5}


def test_the_worst_label_is_found_last() -> None:
    guesses = slightly_wrong(FACES)
    guesses[7, 0] += 40.0
    assert rank_by_rmse(guesses, FACES.keypoints)[-1] == 7


def members(folder: Path) -> list[Path]:
    """Write three members' histories: two folds of one recipe, one not evaluated each epoch."""
    texts = {
        "deep15-f0": "1,9.0,5.0,0.001,300,1\n2,7.0,4.0,0.001,300,2\n",
        "deep15-f1": "1,9.5,5.5,0.001,300,1\n2,7.5,4.5,0.001,300,2\n",
        "heatmap-f0": "1,3.0,,0.001,300,1\n2,2.0,1.5,0.001,300,2\n",
    }
    paths = []
    for name, text in texts.items():
        path = folder / "members" / name / "history.csv"
        path.parent.mkdir(parents=True)
        path.write_text(HISTORY + text)
        paths.append(path)
    return paths


def test_every_picture_is_drawn_and_differs_with_what_it_shows(tmp_path: Path) -> None:
    histories = members(tmp_path)
    draw_learning_curves(histories, tmp_path / "three.png")
    draw_learning_curves(histories[:2], tmp_path / "two.png")
    draw_learning_curves([], tmp_path / "none.png")  # interrupted before the first epoch
    rows = np.arange(8)
    draw_ranked_faces(FACES, slightly_wrong(FACES), rows, tmp_path / "near.png")
    draw_ranked_faces(FACES, slightly_wrong(FACES, 9.0), rows, tmp_path / "far.png")
    draw_keypoints(FACES, slightly_wrong(FACES), tmp_path / "keypoints.png")
    pictures = {path.stem: imread(path) for path in tmp_path.glob("*.png")}
    assert set(pictures) == {"three", "two", "none", "near", "far", "keypoints"}
    for one, other in (("three", "two"), ("near", "far"), ("two", "none")):
        assert pictures[one].shape == pictures[other].shape
        assert np.abs(pictures[one] - pictures[other]).max() > 0.5


def test_labels_are_drawn_where_they_are(tmp_path: Path) -> None:
    black = Faces(np.zeros_like(FACES.images), FACES.keypoints, FACES.ids)
    nowhere = np.full_like(FACES.keypoints, np.nan)
    nowhere[0, 0] = (-50, -50)  # outside of the frame, so that only labels are seen
    draw_ranked_faces(black, nowhere, np.array([0]), tmp_path / "one.png")
    picture = imread(tmp_path / "one.png")[..., :3]
    frame = picture.max(-1) < 0.1
    frame &= frame.sum(1, keepdims=True) > 60  # a line of the black face, not of the title
    top, left = (places.min() for places in np.nonzero(frame))
    size = np.nonzero(frame)[1].max() - left + 1
    rows, columns = np.nonzero((picture[..., 1] > 0.9) & (picture[..., 0] < 0.3))
    x = (columns.mean() - left) / size * 96 - 0.5
    y = (rows.mean() - top) / size * 96 - 0.5
    labels = FACES.keypoints[0]
    assert (x, y) == pytest.approx(tuple(labels.mean(0)), abs=1.5)


def test_the_page_holds_scores_and_pictures_and_loads_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_competition(data)
    everything = dataset.read_training(data)
    run = Run.create(
        tmp_path / "runs", "one", plans.make_plan(["smoke"]), dataset.fingerprint(data)
    )
    members(run.path)
    np.savez(run.path / "out_of_fold.npz", predictions=slightly_wrong(everything))
    run.update(scores=Scores(1.25, 1.5, 1.375, 1.125, {"deep15": 2.0}))
    page = write_run_page(run, data).read_text()
    for text in ("run one", "1.250", "1.500", "1.375", "1.125", "deep15 alone"):
        assert text in page
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 4
    assert all(b64decode(one).startswith(b"\x89PNG") for one in pictures)
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "http" not in page
