"""Stored out-of-fold predictions: averages over members."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fkd_kaggle.ensemble.member_errors import HeldOutPredictions, stack_by_recipe
from fkd_kaggle.errors import RunError
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.recipes.schema import Ensemble, EnsembleMember, Recipe
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.predictions import (
    load_blended_out_of_fold,
    load_flip_disagreement,
    load_member_out_of_fold,
    load_out_of_fold,
    load_scored_out_of_fold,
    store_blended_out_of_fold,
    store_out_of_fold,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run of a recipe with two seeds; the first has no finite prediction of one point."""
    recipe = Recipe("narrow", architecture="heatmap")
    ensemble = Ensemble("both", (EnsembleMember(recipe, seeds=2),), folds=2)
    run = Run.create(tmp_path, "both-1", Plan(ensemble), "data")
    random = np.random.default_rng(0)
    for number, member in enumerate(run.plan.members):
        ids = np.flatnonzero(np.arange(6) % 2 == member.fold) + 1
        predictions = random.normal(48, 9, (3, 15, 2)).astype(np.float32)
        if number == 0:
            predictions[1, 4] = np.inf
        disagreement = np.array([number + 1, 2, np.nan], np.float32)
        store_out_of_fold(run, member, ids, predictions, disagreement)
    return run


def test_a_seed_without_a_finite_prediction_is_left_out(run: Run) -> None:
    members = run.plan.members
    found = load_out_of_fold(run, members, "narrow", 6)
    assert np.isfinite(found).all()
    same = [member for member in members if member.fold == members[0].fold]
    assert len(same) == 2
    rows, predictions = load_member_out_of_fold(run, same[1])
    np.testing.assert_array_equal(found[rows[1], 4], predictions[1, 4])
    held_out = [
        HeldOutPredictions(one.name, one.recipe.name, *load_member_out_of_fold(run, one))
        for one in members
    ]
    np.testing.assert_array_equal(stack_by_recipe(held_out, ["narrow"], 6)[0], found)


def test_predictions_for_faces_of_other_data_are_refused(run: Run) -> None:
    with pytest.raises(RunError, match="faces of other data"):
        load_out_of_fold(run, run.plan.members, "narrow", 4)


def test_flip_disagreement_is_the_mean_over_members(run: Run) -> None:
    first = run.plan.members[0]
    same = [member for member in run.plan.members if member.fold == first.fold]
    numbers = [run.plan.members.index(member) + 1 for member in same]
    found = load_flip_disagreement(run, same, 6)
    rows = np.flatnonzero(np.arange(6) % 2 == first.fold)
    np.testing.assert_array_equal(found[rows], [np.mean(numbers), 2, np.nan])
    assert np.isnan(np.delete(found, rows)).all()


def test_faces_that_are_not_scored_have_no_scored_prediction(run: Run) -> None:
    ids, predictions = np.arange(1, 7), np.ones((6, 15, 2), np.float32)
    scored = ids % 2 == 0
    store_blended_out_of_fold(run, ids, predictions, scored)
    found = load_scored_out_of_fold(run)
    assert found.dtype == np.float32
    assert (np.isfinite(found).all((1, 2)) == scored).all()
    assert np.isfinite(load_blended_out_of_fold(run)).all()
    # A run of an earlier version.
    np.savez(run.path / "out_of_fold.npz", predictions=predictions, ids=ids)
    assert np.isfinite(load_scored_out_of_fold(run)).all()
    store_blended_out_of_fold(run, ids, predictions, scored[:3])
    with pytest.raises(RunError, match="damaged"):
        load_scored_out_of_fold(run)
