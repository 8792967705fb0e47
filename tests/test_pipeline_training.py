"""Tests of ``pipeline``: which members a time limit leaves, and what is refused; no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import write_competition, write_same_faces

import fkd_kaggle as fkd
from fkd_kaggle import pipeline
from fkd_kaggle.errors import DataError
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, None), (100.0, ["cascade-f0", "cascade-f1"])]
)
def test_a_time_limit_leaves_the_members_that_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: float | None,
    expected: list[str] | None,
) -> None:
    """Every caller gets them, Python and kernels too, not only the command line."""
    data = tmp_path / "data"
    write_competition(data)
    plan = make_plan(TrainingOptions(("cascade",), folds=4))
    run = pipeline.create_run(plan, data, tmp_path / "runs", None, accept_implausible=True)
    passed: dict[str, Any] = {}
    monkeypatch.setattr(
        "fkd_kaggle.ensemble.fitting.train_run", lambda *_, **options: passed.update(options)
    )
    # A machine on which 100 seconds are enough for two networks.
    monkeypatch.setattr(
        "fkd_kaggle.ensemble.run_times.speed_estimator", lambda *_, **__: lambda recipe: 5.0
    )
    monkeypatch.setattr("fkd_kaggle.ensemble.run_times.measure_core", lambda: 1.3e11)
    pipeline.train(run, data, time_limit=limit, workers=2)
    assert passed["chosen"] == expected


def test_too_few_groups_of_faces_are_refused_before_a_folder_is_created(tmp_path: Path) -> None:
    data, runs = write_same_faces(tmp_path / "data"), tmp_path / "runs"
    plan = make_plan(TrainingOptions(("cascade",), folds=3))
    with pytest.raises(DataError, match="too few for 3 folds"):
        pipeline.create_run(plan, data, runs, accept_implausible=True)
    assert not runs.exists()
    faces = fkd.load_faces(data)
    with pytest.raises(DataError, match="too few for 3 folds"):
        fkd.train(faces.images, faces.keypoints, folds=3, runs_dir=runs)
    assert not list(runs.glob("*"))
