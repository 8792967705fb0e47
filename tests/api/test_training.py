"""Tests of ``train``, ``load`` and ``Model``."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command

import fkd_kaggle as fkd
from fkd_kaggle import pipeline
from fkd_kaggle.data import dataset, submission, submission_file
from fkd_kaggle.errors import DataError, FkdError, RunError
from fkd_kaggle.runs.folder import read_folds

Arrays = tuple[np.ndarray, np.ndarray]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("eager_functions"),
    # One epoch is not enough for more.
    pytest.mark.filterwarnings("ignore:not better than predicting the mean face"),
]


def test_model_trained_on_arrays_predicts_pixels(model: fkd.Model, synthetic: Arrays) -> None:
    points = model.predict(synthetic[0])
    assert points.shape == (30, 15, 2)
    assert points.dtype == np.float32
    assert ((points > 0) & (points < 96)).all()
    assert model.status == "finished"
    assert model.recipes == ("tiny",)
    assert model.scores is not None and model.scores.combined is not None
    assert model.scores.combined < 10
    assert repr(model.path) in repr(model) or str(model.path) in repr(model)


def test_rows_and_batches_give_the_same_predictions(model: fkd.Model, synthetic: Arrays) -> None:
    images = synthetic[0]
    expected = model.predict(images)
    rows = model.predict(images.reshape(30, -1)[:7].astype(float))
    np.testing.assert_allclose(rows, expected[:7], atol=1e-3)
    assert model.predict(images[:0]).shape == (0, 15, 2)


def test_annotator_is_a_name_a_list_or_codes(model: fkd.Model, synthetic: Arrays) -> None:
    images = synthetic[0][:2]
    partial = model.predict(images, "partial")
    for annotator in (["partial", "partial"], np.array([1, 1]), 1):
        np.testing.assert_array_equal(model.predict(images, annotator), partial)
    for wrong in ("parcial", 2, ["complete"], [0, 1, 0], 0.5, [[0], [0, 1]]):
        with pytest.raises(DataError, match="annotator"):
            model.predict(images, wrong)


def test_loaded_model_predicts_the_same(model: fkd.Model, synthetic: Arrays) -> None:
    images = synthetic[0][:5]
    expected = model.predict(images)
    np.testing.assert_array_equal(fkd.load(model.path).predict(images), expected)
    by_name = fkd.load(model.name, runs_dir=model.path.parent)
    np.testing.assert_array_equal(by_name.predict(images), expected)
    assert fkd.load(runs_dir=model.path.parent).name == model.name
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.predict(images), expected)


def test_load_names_a_missing_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run 'quick-9'"):
        fkd.load("quick-9", runs_dir=tmp_path)


def test_run_of_arrays_contains_the_arrays_and_can_be_resumed(
    model: fkd.Model, fkd: Command
) -> None:
    faces = model.path / "faces"
    result = fkd(
        "train-ensemble", "--resume", model.path, "--data-dir", faces, "--runs-dir", model.path
    )
    assert result.code == 0, result.all


def test_competition_files_give_the_same_submission_as_the_command(
    competition_dir: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    faces = fkd.load_faces(competition_dir)
    model = fkd.train(faces, recipe=tiny_recipe, workers=0, runs_dir=tmp_path, verbose=False)
    assert not (model.path / "faces").exists()
    assert model.scores is not None
    test = fkd.load_faces(competition_dir, test=True)
    points = model.predict(test, test.annotators)
    path = model.write_submission(competition_dir, tmp_path / "submissions")
    lookup = dataset.read_lookup(competition_dir)
    built = submission.build_submission(points, test.ids, lookup)
    written = submission_file.read_submission(path)
    np.testing.assert_allclose(built.locations, written.locations, atol=1e-3)


def test_model_sees_that_the_run_has_changed(
    synthetic: Arrays, tiny_recipe: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"recipe": tiny_recipe, "workers": 0, "runs_dir": tmp_path}
    model = fkd.train(*synthetic, verbose=False, **options)
    before = model.predict(synthetic[0][:2])
    other = fkd.train(*synthetic, seed=5, verbose=False, **options)
    for member in ("tiny-f0",):
        weights = Path("members", member, "best.weights.h5")
        (model.path / weights).write_bytes((other.path / weights).read_bytes())
    os.utime(model.path / "run.json", ns=(0, 0))
    after = model.predict(synthetic[0][:2])
    assert not np.array_equal(before, after)


def test_groups_stay_in_one_fold(synthetic: Arrays, tiny_recipe: Path, tmp_path: Path) -> None:
    people = np.arange(30) // 5
    model = fkd.train(
        *synthetic,
        recipe=tiny_recipe,
        folds=2,
        groups=[f"person {person}" for person in people],
        workers=1,
        runs_dir=tmp_path,
        verbose=False,
    )
    folds = read_folds(model.path)
    assert folds is not None
    assert all(len(set(folds[people == person])) == 1 for person in range(6))
    assert set(folds) == {0, 1}


def test_progress_is_printed(
    synthetic: Arrays, tiny_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fkd.train(*synthetic, recipe=tiny_recipe, runs_dir=tmp_path)
    assert "tiny-f0" in capsys.readouterr().out


def test_wrong_arguments_leave_no_folder(
    synthetic: Arrays, tiny_recipe: Path, tmp_path: Path
) -> None:
    for arguments, message in (
        ({"recipe": "heatmapp"}, "did you mean 'heatmap'"),
        ({"time_limit": "20 parsecs"}, "not a time"),
        ({"time_limit": -1}, "time_limit"),
        ({"groups": [1, 2]}, "groups has shape"),
        ({"groups": [1] * 30, "recipe": tiny_recipe}, "folds=5"),
        ({"groups": [1] * 30, "recipe": tiny_recipe, "folds": 2}, "form 1 groups"),
        ({"groups": [1, None] * 15, "recipe": tiny_recipe, "folds": 2}, "labels of one type"),
        ({"name": "a/b"}, "cannot name a folder"),
        ({"precision": "int4"}, "precision"),
    ):
        with pytest.raises(FkdError, match=message):
            fkd.train(*synthetic, runs_dir=tmp_path / "runs", verbose=False, **arguments)
    assert not (tmp_path / "runs").exists()


def test_existing_run_is_not_overwritten(model: fkd.Model, synthetic: Arrays) -> None:
    before = (model.path / "faces" / "images.npy").read_bytes()
    with pytest.raises(RunError, match="exists"):
        fkd.train(synthetic[0][:5], synthetic[1][:5], name=model.name, runs_dir=model.path.parent)
    assert (model.path / "faces" / "images.npy").read_bytes() == before


def test_a_folder_that_exists_is_kept(synthetic: Arrays, tmp_path: Path) -> None:
    mine = tmp_path / "party" / "faces" / "mine.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"photo")
    with pytest.raises(RunError, match="faces exists: choose another name"):
        fkd.train(*synthetic, name="party", runs_dir=tmp_path, verbose=False)
    assert mine.read_bytes() == b"photo"


def test_changed_labels_of_a_folder_are_trained_on(
    competition_dir: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "train", lambda run, *_, **__: run.update(status="interrupted"))
    faces = fkd.load_faces(competition_dir)
    moved = faces.keypoints + np.float32(1)
    with pytest.raises(KeyboardInterrupt):
        fkd.train(
            replace(faces, keypoints=moved), recipe=tiny_recipe, runs_dir=tmp_path, verbose=False
        )
    stored = np.load(tmp_path / "tiny-1" / "faces" / "keypoints.npy")
    np.testing.assert_array_equal(stored, moved)


def test_interruption_names_the_run_that_is_kept(
    synthetic: Arrays, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "train", lambda run, *_, **__: run.update(status="interrupted"))
    with pytest.raises(KeyboardInterrupt, match=r"load\('.*tiny-1'\)"):
        fkd.train(*synthetic, recipe=tiny_recipe, runs_dir=tmp_path, verbose=False)
