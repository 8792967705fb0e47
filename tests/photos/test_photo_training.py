"""Tests of ``fkd-kaggle train-photos`` and of the network that it trains."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, assert_one_line_error
from PIL import Image

from fkd_kaggle.errors import RunError
from fkd_kaggle.nn import backend
from fkd_kaggle.photos.annotations.photo_set import input_side, load_photo_set
from fkd_kaggle.photos.annotations.point_table import (
    PointTable,
    read_table,
    table_columns,
    write_table,
)
from fkd_kaggle.photos.photo_folder import is_own_picture
from fkd_kaggle.practice import synthetic_faces
from fkd_kaggle.recipes import plans
from fkd_kaggle.runs.lock import is_locked
from fkd_kaggle.runs.photo_run import PhotoRun, open_photo_run

pytestmark = pytest.mark.slow

SMALL = """
architecture = "transfer"
annotator_outputs = "shared"
target_scale = "unit"
loss_width = 1.0
learning_rate = 1e-3
schedule = "constant"
patience = 2
epochs = 2
batch_size = 8
augmentation = { set = "none", flip = 0.5, brightness = 0.2 }
held_out = 0.1
validation = 0.1111
options = { backbone = "mobilenet-v2", weights = "none", side = 32, dense = 8 }
"""


def write_photos(count: int = 30) -> None:
    """Write synthetic faces as photos with three points each to the folder ``album``.

    The second photo is missing, and the first lacks a point. ``small.toml`` is a recipe.
    """
    Path("album").mkdir()
    faces, keypoints = synthetic_faces.draw_faces(count, seed=3)
    points = keypoints[:, [0, 1, 10]].astype(float)
    points[0, 1] = np.nan
    names = tuple(f"{number:02}.png" for number in range(count))
    for name, face in zip(names[2:], faces[2:], strict=True):
        Image.fromarray(face).save(Path("album", name))
    Image.fromarray(faces[0]).save(Path("album", names[0]))
    table = PointTable(names, points, ("left_eye", "right_eye", "nose"))
    write_table(Path("album/face_keypoints.csv"), table)
    Path("small.toml").write_text(SMALL)


@pytest.mark.slow
def test_a_network_learns_any_number_of_points_and_predicts_them(fkd: Command) -> None:
    write_photos()
    result = fkd("train-photos", "album/face_keypoints.csv", "-r", "small.toml", "--name", "mine")
    assert result.code == 0, result.err
    counts = "28 photos with 3 points each; rows skipped because a point is missing: 1"
    assert counts in result.out
    assert "skipped 01.png: there is no such photo" in result.out
    assert "first weights: random, as requested" in result.out
    assert "mirror images swap: left_eye and right_eye" in result.out
    folder = Path("runs/mine")
    info = json.loads((folder / "photo_run.json").read_text())
    assert info["photos"] == {"training": 22, "validation": 3, "test": 3}
    with (folder / "test.csv").open(newline="") as stream:
        test_rows = list(csv.DictReader(stream))
    table = read_table(Path("album/face_keypoints.csv"))
    errors = []
    for row in test_rows:
        labels = (table.points[table.image_names.index(row["image_name"])] + 0.5) / 96
        cells = [float(row[name]) for name in table_columns(table.point_names)[1:]]
        errors.append(np.abs(labels.reshape(-1) - cells))
    assert info["test"]["mae"] == pytest.approx(np.mean(errors), abs=1e-4)
    assert info["test"]["mae_px_32"] == pytest.approx(32 * info["test"]["mae"])
    assert is_own_picture(folder / "test.png")
    assert not is_locked(folder)

    result = fkd("annotate", "album", "--run", "mine", "--output", "again.csv")
    assert result.code == 0, result.err
    predicted = read_table(Path("again.csv"))
    assert predicted.points.shape == (29, 3, 2)
    row = test_rows[0]
    index = predicted.image_names.index(row["image_name"])
    expected = 96 * float(row["left_eye_x"]) - 0.5
    assert predicted.points[index, 0, 0] == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("eager_functions")
def test_ctrl_c_keeps_the_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos()
    backend.start_keras("float32")  # before the import of Keras
    from fkd_kaggle.photos.training import PhotoEpochEnded, train_photo_network

    folder = Path("runs/mine")

    def interrupt(event: PhotoEpochEnded) -> None:
        info = open_photo_run(folder).info  # as after kill -9
        assert (info["status"], info["epochs"], is_locked(folder)) == ("training", 1, True)
        raise KeyboardInterrupt

    table = Path("album/face_keypoints.csv")
    (member,) = plans.make_plan(plans.TrainingOptions(["small.toml"])).ensemble.members
    photos = load_photo_set(read_table(table), table.parent, input_side(member.recipe))
    run = train_photo_network(photos, table, member.recipe, folder, on_epoch=interrupt)
    assert (run.info["status"], run.info["epochs"]) == ("interrupted", 1)
    assert open_photo_run(folder).weights.exists()


def train_with_losses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, losses: Sequence[float]
) -> PhotoRun:
    """Train a photo run in ``tmp_path``; its epochs have given validation losses and no steps."""
    monkeypatch.chdir(tmp_path)
    write_photos()
    backend.start_keras("float32")
    from fkd_kaggle.photos import training

    def fit(
        learner: Any, arguments: Any, callbacks: Sequence[Any], *, recompile: Callable[[], None]
    ) -> None:
        for epoch, loss in enumerate(losses):
            callbacks[0].on_epoch_end(epoch, {"loss": loss, "val_loss": loss, "val_mae": loss})

    monkeypatch.setattr("fkd_kaggle.training.keras_fit.fit", fit)
    table = Path("album/face_keypoints.csv")
    (member,) = plans.make_plan(plans.TrainingOptions(["small.toml"])).ensemble.members
    photos = load_photo_set(read_table(table), table.parent, input_side(member.recipe))
    return training.train_photo_network(photos, table, member.recipe, Path("runs/mine"))


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_after_the_last_epoch_keeps_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    backend.start_keras("float32")
    from fkd_kaggle.photos import training

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(training, "_test_network", fail)
    with pytest.raises(type(error)):
        train_with_losses(monkeypatch, tmp_path, [0.3, 0.2])
    run = open_photo_run(Path("runs/mine"))
    assert (run.info["status"], run.info["epochs"], "test" in run.info) == ("finished", 2, False)
    assert run.weights.exists()
    assert len((run.path / "history.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_training_that_diverges_says_so_and_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="not finite after any of 2 epochs; use a smaller learning"):
        train_with_losses(monkeypatch, tmp_path, [float("nan"), float("inf")])
    assert not Path("runs/mine").exists()


def test_an_ensemble_is_refused(fkd: Command) -> None:
    Path("points.csv").write_text("image_name,point_1_x,point_1_y\n")
    result = fkd("train-photos", "points.csv", "-r", "standard")
    assert_one_line_error(result, "standard is an ensemble of", "take ffhq-transfer")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("transfer", "region"), "photos are learned with architecture 'transfer'"),
        (("mobilenet-v2", "mobilenet-v3"), "did you mean 'mobilenet-v2'"),
        (('"none", side', '"w.h5", side'), "/place/w.h5; known besides: 'auto'"),
        (("side = 32", "side = 8"), "side must be 32 or more"),
        (("side = 32", "side = 0"), "side must be 32 or more"),
        (("dense = 8", "dense = 0"), "no transfer network has backbone = 'mobilenet-v2'"),
        (("dense = 8", "dropout = 2.0"), "dropout = 2.0: "),
        (("held_out = 0.1", "held_out = 0.97"), "leave none of 28 photos for training"),
    ],
)
def test_error_for_an_unsuitable_recipe_is_one_line_and_no_run_is_left(
    fkd: Command, change: tuple[str, str], reason: str
) -> None:
    write_photos()
    text = SMALL.replace(*change)
    if "region" in text:
        text = text.partition("options")[0]
    Path("small.toml").write_text(text)
    result = fkd("train-photos", "album/face_keypoints.csv", "-r", "small.toml")
    assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert reason in result.err
    assert not list(Path().glob("runs/*"))


def test_error_for_too_few_photos_says_why_others_were_skipped(fkd: Command) -> None:
    write_photos(12)
    result = fkd("train-photos", "album/face_keypoints.csv", "-r", "small.toml")
    assert result.code == 2
    assert "10 photos with all 3 points are too few" in result.err
    assert "01.png: there is no such photo" in result.err
