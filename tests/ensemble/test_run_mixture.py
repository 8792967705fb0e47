"""Tests of blending several runs, on runs with synthetic predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_competition

from fkd_kaggle.data import dataset, metrics
from fkd_kaggle.ensemble import blending, run_blend
from fkd_kaggle.ensemble.blend import FittedBlend, fit_blend
from fkd_kaggle.ensemble.run_blend import blend_run
from fkd_kaggle.ensemble.run_mixture import mix_runs
from fkd_kaggle.errors import RunError
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs.folder import Run, load_folds
from fkd_kaggle.runs.predictions import (
    load_blended_out_of_fold,
    store_out_of_fold,
    store_test_predictions,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixture") / "data"
    write_competition(folder, train=160, test=40)
    return folder


def make_run(
    runs_dir: Path, data: Path, name: str, error: float, seed: int, bad_fold: int | None = None
) -> Run:
    """Return a blended run of two members, which are wrong by ``error`` pixels.

    The member of ``bad_fold`` is worse than the mean face.
    """
    plan = make_plan(TrainingOptions(("cascade",), folds=2, seed=seed))
    run = Run.create(runs_dir, name, plan, dataset.fingerprint(data))
    training = dataset.read_training(data)
    folds = load_folds(run, training)
    test, lookup = dataset.read_test_and_lookup(data)
    random = np.random.default_rng(seed)
    # Labels of conftest.make_faces: 3 px around the mean face.
    middle = np.linspace(20, 76, 15)[None, :, None] * np.ones((1, 15, 2))
    truth = np.where(np.isfinite(training.keypoints), training.keypoints, middle)
    for member in run.plan.members:
        rows = np.flatnonzero(folds == member.fold)
        wrong = 40 if member.fold == bad_fold else error
        noise = random.normal(0, wrong, (len(rows), 15, 2))
        predictions = (truth[rows] + noise).astype(np.float32)
        (run.member_folder(member.name)).mkdir(parents=True)
        (run.member_folder(member.name) / "best.weights.h5").write_bytes(b"")
        store_out_of_fold(run, member, training.ids[rows], predictions)
        guess = (middle + random.normal(0, error, (len(test.ids), 15, 2))).astype(np.float32)
        store_test_predictions(run, member, test, lookup.annotators(test.ids), guess)
    blend_run(run, data)
    return run


def test_a_mixture_is_not_worse_than_its_best_run_and_has_an_expected_score(
    tmp_path: Path, data: Path
) -> None:
    runs = [make_run(tmp_path, data, "good", 1.0, 0), make_run(tmp_path, data, "fair", 1.3, 1)]
    mixture = mix_runs(runs, data)
    assert mixture.name == "good+fair"
    assert mixture.faces == 160
    assert mixture.predictions.shape == (40, 15, 2)
    scores = mixture.scores
    assert scores.combined is not None
    assert set(scores.by_member) == {"good", "fair"}
    assert scores.combined <= min(scores.by_member.values()) + 0.005
    single = [run.scores.expected for run in runs if run.scores]
    assert scores.expected is not None
    assert all(one is not None and scores.expected < one for one in single)
    assert scores.expected > 0.4


def test_the_fold_of_an_excluded_member_does_not_count(tmp_path: Path, data: Path) -> None:
    runs = [
        make_run(tmp_path, data, "partial", 1.0, 0, bad_fold=1),
        make_run(tmp_path, data, "fair", 1.3, 1),
    ]
    training = dataset.read_training(data)
    held_out = load_folds(runs[0], training) == 0
    assert np.isfinite(load_blended_out_of_fold(runs[0])).any((1, 2)).all()  # the mean face
    mixture = mix_runs(runs, data)
    assert mixture.faces == held_out.sum()
    # The mean face is wrong by 3 px.
    assert mixture.scores.by_member["partial"] == pytest.approx(1.0, abs=0.1)
    assert mixture.scores.by_member["partial"] < mixture.scores.by_member["fair"]


def test_a_mixture_without_a_valid_part_has_no_expected_score(tmp_path: Path, data: Path) -> None:
    runs = [make_run(tmp_path, data, "good", 1.0, 0), make_run(tmp_path, data, "other", 1.3, 1)]
    blend_run(runs[1], data, expect=False)
    mixture = mix_runs(runs, data)
    assert mixture.scores.expected is None
    assert mixture.scores.expected_unknown == (
        "run other has none: the networks were not compared on the test faces"
    )


@pytest.mark.slow
def test_the_score_of_a_mixture_does_not_use_weights_fitted_to_the_same_faces(
    tmp_path: Path, data: Path
) -> None:
    # Of equal runs, fitted weights follow the noise of the faces that they are fitted to.
    runs = [make_run(tmp_path, data, f"run{seed}", 1.0, seed) for seed in range(6)]
    mixture = mix_runs(runs, data)
    training = dataset.read_training(data)
    held_out = np.stack([load_blended_out_of_fold(run) for run in runs])
    known = held_out, training.keypoints, training.annotators
    fitted = blending.apply_weights(held_out, blending.fit_weights(*known), training.annotators)
    equal = held_out.mean(0)
    optimistic, honest = (
        metrics.combined_rmse(
            one, training.keypoints, training.annotators, dataset.count_queries(data, training)
        )
        for one in (fitted, equal)
    )
    assert mixture.scores.combined is not None and optimistic is not None and honest is not None
    assert mixture.scores.combined > honest > optimistic


def test_a_run_cannot_be_named_twice(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path, data, "good", 1.0, 0)
    with pytest.raises(RunError, match="named twice"):
        mix_runs([run, run], data)


def test_a_blend_keeps_the_status_of_a_training_that_ends_meanwhile(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, data, "good", 1.0, 0)
    run.update(status="training")

    def end_training(*arguments: Any) -> FittedBlend:
        run.update(status="finished")
        return fit_blend(*arguments)

    monkeypatch.setattr(run_blend, "fit_blend", end_training)
    blend_run(run, data)
    assert run.status == "finished"
    blend_run(run, data, status="time limit")
    assert run.status == "time limit"
