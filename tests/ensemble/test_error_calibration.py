"""Tests of the calibration of expected errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble.error_calibration import fit_calibration
from fkd_kaggle.ensemble.run_blend import blend_run
from fkd_kaggle.runs.calibration import load_calibration
from fkd_kaggle.runs.folder import Run, read_folds
from fkd_kaggle.runs.predictions import load_member_out_of_fold, store_out_of_fold
from fkd_kaggle.runs.scores import Scores


def faces(count: int, seed: int = 0) -> tuple[Faces, np.ndarray, np.ndarray]:
    """Return faces, their predictions, and disagreements that equal the size of the errors."""
    random = np.random.default_rng(seed)
    labels = random.uniform(20, 70, (count, 15, 2)).astype(np.float32)
    size = random.uniform(0.5, 3.0, count)
    predictions = labels + size[:, None, None] * random.normal(0, 1, labels.shape)
    images = random.integers(0, 256, (count, 96, 96), dtype=np.uint8)
    return Faces(images, labels, np.arange(1, count + 1)), predictions, size


def test_the_expected_error_follows_the_disagreement() -> None:
    training, predictions, size = faces(2000)
    found = fit_calibration(size, predictions, training, None)
    assert found is not None
    assert found.faces == 2000
    expected = found.expected_rmse(np.array([0.7, 1.5, 2.5]))
    assert expected == pytest.approx([0.7, 1.5, 2.5], rel=0.1)
    assert found.expected_rmse(np.array([30.0]))[0] > 20


def test_the_gain_of_the_whole_ensemble_is_a_factor() -> None:
    training, predictions, size = faces(200)
    plain = fit_calibration(size, predictions, training, None)
    scores = Scores(complete=1.0, partial=1.0, combined=1.0, expected=0.9, by_member={})
    scaled = fit_calibration(size, predictions, training, scores)
    assert plain is not None and scaled is not None
    assert scaled.expected_rmse(size) == pytest.approx(0.9 * plain.expected_rmse(size), rel=1e-3)


def test_too_few_faces_are_not_a_calibration() -> None:
    training, predictions, size = faces(19)
    assert fit_calibration(size, predictions, training, None) is None
    training, predictions, size = faces(40)
    assert fit_calibration(np.full(40, np.nan), predictions, training, None) is None


def test_a_blended_run_is_calibrated_without_its_networks(report_run: Run) -> None:
    """So that expected errors are known where the data set is not, as after `runs unpack`."""
    found = load_calibration(report_run)
    assert found is not None
    assert found.faces == 150
    assert found.correlation > 0.5


def test_excluded_networks_and_faces_that_are_not_scored_do_not_count(
    report_run: Run, report_data: Path, tmp_path: Path
) -> None:
    run = Run.open(shutil.copytree(report_run.path, tmp_path / "run"))
    folds = read_folds(run.path)
    assert folds is not None
    excluded = ["heatmap-small-f0", "deep15-f0", "deep15-f1"]
    for member in run.plan.members:
        if member.name in excluded:
            rows, predictions = load_member_out_of_fold(run, member)
            disagreement = np.full(len(rows), 500, np.float32)
            store_out_of_fold(run, member, rows + 1, predictions + 40, disagreement)
    scores = blend_run(run, report_data)
    assert set(scores.excluded) == set(excluded)
    found = load_calibration(run)
    assert found is not None
    assert found.faces == (folds == 1).sum()
    assert max(found.disagreement) < 50
