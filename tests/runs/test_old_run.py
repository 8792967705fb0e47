"""Tests of reading the run folders that version 0.1.0 wrote (tests/data/old_run)."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from compare_versions import write_data

from fkd_kaggle import pipeline
from fkd_kaggle.data import dataset
from fkd_kaggle.data.submission import build_submission
from fkd_kaggle.ensemble import stacking
from fkd_kaggle.ensemble.member_errors import HeldOutPredictions, stack_by_recipe
from fkd_kaggle.ensemble.member_predictions import predict_with_members, usable_members
from fkd_kaggle.ensemble.stacking import Stack
from fkd_kaggle.runs.comparison import open_comparison
from fkd_kaggle.runs.folder import Run, list_runs, read_folds
from fkd_kaggle.runs.history import read_histories
from fkd_kaggle.runs.members import is_finished, read_checkpoint
from fkd_kaggle.runs.predictions import (
    load_blended_out_of_fold,
    load_member_out_of_fold,
    read_blend,
)

OLD = Path(__file__).parents[1] / "data/old_run"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the data set that the runs were trained on."""
    expected = json.loads((OLD / "data.json").read_text())
    folder = tmp_path_factory.mktemp("old") / "data"
    write_data(folder, expected["training"], expected["test"])
    for name, digest in expected["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a copy of the old run."""
    return Run.open(shutil.copytree(OLD / "runs/old_run", tmp_path / "runs/old_run"))


def locations(path: Path) -> np.ndarray:
    """Return the (rows, 2) row ids and locations of a submission file."""
    with path.open(newline="") as stream:
        return np.array([[float(cell) for cell in row] for row in list(csv.reader(stream))[1:]])


def test_run_json_is_read(run: Run) -> None:
    assert run.name == "old_run"
    assert run.status == "interrupted"
    assert run.created == "2026-11-26T11:44:11+00:00"
    assert set(run.recipe_digests) == {"tiny-ladder", "tiny-heatmap"}
    scores = run.scores
    assert scores is not None
    assert scores.combined is not None
    assert "tiny-ladder" in scores.published_metrics
    for line in run.plan.ensemble.members:
        assert line.recipe.digest == run.recipe_digests[line.recipe.name]


def test_new_scores_and_old_scores_are_both_read(run: Run) -> None:
    scores = run.scores
    assert scores is not None
    run.update(status="finished", scores=scores)
    assert run.status == "finished"
    assert run.scores == scores
    written = json.loads((run.path / "run.json").read_text())["scores"]
    assert "published_metrics" in written
    assert "own" not in written


def test_members_and_histories_are_read(run: Run) -> None:
    finished = {member.name: is_finished(run, member) for member in run.plan.members}
    assert finished == {
        "tiny-ladder-f0": True,
        "tiny-heatmap-f0": True,
        "tiny-ladder-f1": True,
        "tiny-heatmap-f1": False,
    }
    assert set(read_histories(run)) == set(finished)
    checkpoint = read_checkpoint(run.member_folder("tiny-heatmap-f1"))
    assert checkpoint is not None
    assert checkpoint[0] == 2
    assert load_blended_out_of_fold(run).shape[1:] == (15, 2)


def blend_by_recipe(run: Run, data: Path) -> np.ndarray:
    """Return RowIds and locations of a blend as version 0.2 fitted it, with shared weights."""
    training = dataset.read_training(data)
    members = usable_members(run)
    held_out = [
        HeldOutPredictions(one.name, one.recipe.name, *load_member_out_of_fold(run, one))
        for one in members
    ]
    recipes = list(dict.fromkeys(one.recipe for one in held_out))
    stacked = stack_by_recipe(held_out, recipes, len(training.images))
    stack, _ = stacking.fit_by_name(run.plan.ensemble.blend, stacked, training)
    test, lookup = dataset.read_test_and_lookup(data)
    annotators = lookup.annotators(test.ids)
    predictions = predict_with_members(run, members, test, annotators)
    averages = [
        predictions[[one.recipe == recipe for one in held_out]].mean(0) for recipe in recipes
    ]
    built = build_submission(stack.apply(np.stack(averages), annotators), test.ids, lookup)
    return np.stack([built.row_ids, built.locations], 1)


@pytest.mark.slow
def test_networks_of_an_old_run_predict_the_same(run: Run, data: Path) -> None:
    for path in run.path.glob("members/*/test.npz"):
        path.unlink()
    np.testing.assert_allclose(
        blend_by_recipe(run, data), locations(OLD / "submission.csv"), rtol=0, atol=0.001
    )


@pytest.mark.slow
def test_an_old_run_predicts_the_same(run: Run, data: Path, tmp_path: Path) -> None:
    written = pipeline.write_run_submission(run, data, tmp_path / "submissions")
    # Another CPU may round differently.
    np.testing.assert_allclose(
        locations(written), locations(OLD / "submission.csv"), rtol=0, atol=0.001
    )
    note = json.loads(written.with_suffix(".json").read_text())
    expected = json.loads((OLD / "submission.json").read_text())
    assert note["recipes"] == expected["recipes"]
    assert note["data"] == expected["data"]


@pytest.mark.slow
def test_an_old_checkpoint_is_resumed(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    pipeline.train(run, data, workers=1)
    assert run.status == "finished"
    (history,) = [
        history for name, history in read_histories(run).items() if name == "tiny-heatmap-f1"
    ]
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(
        blend_by_recipe(run, data), locations(OLD / "resumed.csv"), rtol=0, atol=0.1
    )


def test_a_stored_correction_gives_the_same_predictions() -> None:
    arrays = read_blend(OLD / "corrected_blend.npz")
    with np.load(OLD / "corrected_blend_answers.npz") as expected:
        values = {name: expected[name] for name in expected.files}
    predictions = Stack.from_arrays(arrays).apply(values["predictions"], values["sources"])
    np.testing.assert_allclose(predictions, values["answers"], rtol=0, atol=1e-4)


def test_an_old_comparison_is_read() -> None:
    comparison = open_comparison(OLD / "runs/old_compare")
    assert comparison.status == "finished"
    assert comparison.names == ("tiny-ladder.toml",)
    assert comparison.seeds == 1
    assert comparison.settings.held_out == 1
    (run,) = comparison.runs
    assert run.status == "finished"
    folds, own = read_folds(comparison.path), read_folds(run.path)
    assert folds is not None
    np.testing.assert_array_equal(own, folds)


def test_photo_runs_and_comparisons_are_not_listed_as_runs() -> None:
    assert [run.name for run in list_runs(OLD / "runs")] == ["old_run"]
