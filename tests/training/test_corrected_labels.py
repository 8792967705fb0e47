"""Labels that a run is trained on: corrected by the user, or left out as outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_runs import make_run

from fkd_kaggle import pipeline
from fkd_kaggle.data import dataset
from fkd_kaggle.data.corrections import Correction
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError, RecipeError, RunError
from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.recipes import plans
from fkd_kaggle.recipes.loading import load_recipe
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.corrections import has_corrections, store_corrections
from fkd_kaggle.runs.folder import Run, find_run, run_names
from fkd_kaggle.training.member import read_training_data

PLAN = plans.make_plan(plans.TrainingOptions(["heatmap-small"], folds=2))


@pytest.mark.slow
def test_a_run_is_trained_on_corrected_labels_and_scored_on_the_original_ones(
    report_data: Path, tmp_path: Path
) -> None:
    corrections = tmp_path / "corrections.csv"
    corrections.write_text("row,keypoint,x,y\n1,nose_tip,40,41\n2,nose_tip,,\n")
    before = (report_data / "training.csv").read_bytes()
    run = pipeline.create_run(PLAN, report_data, tmp_path, "one", corrections=corrections)
    assert has_corrections(run)
    data = read_training_data(run, report_data)
    trained = data.faces_for(PLAN.members[0].recipe)
    assert trained.keypoints[0, 10].tolist() == [40, 41]
    assert np.isnan(trained.keypoints[1, 10]).all()
    original = dataset.read_training(report_data).keypoints
    np.testing.assert_array_equal(data.training.keypoints, original)
    assert (report_data / "training.csv").read_bytes() == before


@pytest.mark.slow
def test_a_run_is_not_created_with_wrong_corrections(report_data: Path, tmp_path: Path) -> None:
    corrections = tmp_path / "corrections.csv"
    corrections.write_text("row,keypoint,x,y\n9999,nose_tip,40,41\n")
    with pytest.raises(DataError, match="row 9999 does not exist"):
        pipeline.create_run(PLAN, report_data, tmp_path, "one", corrections=corrections)
    assert run_names(tmp_path) == []


@pytest.mark.slow
def test_a_run_killed_before_its_corrections_are_stored_cannot_be_resumed_without_them(
    report_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrections = tmp_path / "corrections.csv"
    corrections.write_text("row,keypoint,x,y\n1,nose_tip,40,41\n")

    def kill(run: Run, found: Sequence[Correction], training: Faces) -> None:
        store_corrections(run, found, training)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "store_corrections", kill)
        with pytest.raises(KeyboardInterrupt):
            pipeline.create_run(PLAN, report_data, tmp_path, "one", corrections=corrections)
    with pytest.raises(RunError, match="no run 'one'"):
        find_run("one", tmp_path)
    # The corrections of the killed call are not those of the next one.
    run = pipeline.create_run(PLAN, report_data, tmp_path, "one")
    assert not has_corrections(run)


@pytest.mark.slow
def test_outliers_of_both_models_are_left_out(report_data: Path, tmp_path: Path) -> None:
    earlier = make_run(report_data, tmp_path, "earlier", noise=1.0)
    base = load_recipe("heatmap-small")
    assert isinstance(base, Recipe)
    recipe = replace(base, outlier_deviations=3.0)
    assert recipe.digest != base.digest
    ensemble = replace(PLAN.ensemble, members=(replace(PLAN.ensemble.members[0], recipe=recipe),))
    plan = replace(PLAN, ensemble=ensemble)
    with pytest.raises(RecipeError, match="--predictions-from"):
        pipeline.create_run(plan, report_data, tmp_path, "none")
    original = dataset.read_training(report_data).keypoints
    run = pipeline.create_run(plan, report_data, tmp_path, "one", predictions_from=earlier)
    data = read_training_data(run, report_data)
    assert data.label_deviations is not None
    trained = data.faces_for(recipe).keypoints
    dropped = np.isfinite(original[..., 0]) & np.isnan(trained[..., 0])
    assert 0 < dropped.sum() < 0.05 * np.isfinite(original[..., 0]).sum()
    assert (data.label_deviations[dropped] > 3).all()
    # A label that the user has confirmed stays.
    row, point = np.argwhere(dropped)[0]
    names = tmp_path / "confirmed.csv"
    names.write_text(f"row,keypoint,x,y,action\n{row + 1},{KEYPOINT_NAMES[point]},,,confirmed\n")
    checked = pipeline.create_run(
        plan, report_data, tmp_path, "two", predictions_from=earlier, corrections=names
    )
    again = read_training_data(checked, report_data).faces_for(recipe).keypoints
    assert np.isfinite(again[row, point]).all()


def test_predictions_of_another_data_set_are_refused(
    report_data: Path, competition_dir: Path, tmp_path: Path
) -> None:
    earlier = make_run(report_data, tmp_path, "earlier", noise=1.0)
    with pytest.raises(RunError, match="another data set"):
        pipeline.create_run(PLAN, competition_dir, tmp_path, "one", predictions_from=earlier)
    assert run_names(tmp_path) == ["earlier"]
