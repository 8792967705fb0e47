"""Predictions of a run's members: stored ones, and networks loaded one after the other."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import blending
from fkd_kaggle.ensemble.member_predictions import predict_with_members
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.recipes.schema import Ensemble, EnsembleMember, Recipe
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.members import weights_path
from fkd_kaggle.runs.predictions import (
    load_member_out_of_fold,
    load_out_of_fold,
    store_out_of_fold,
    store_test_predictions,
)
from fkd_kaggle.training import network as networks
from fkd_kaggle.training.inference import predict_keypoints

pytestmark = pytest.mark.slow

NARROW = Recipe("narrow", architecture="heatmap", options={"width": 8, "depth": 1})

WIDE = Recipe("wide", architecture="heatmap", options={"width": 16, "depth": 1})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run of two recipes with two members each, all with different random weights."""
    ensemble = Ensemble("both", (EnsembleMember(NARROW), EnsembleMember(WIDE)), folds=2)
    run = Run.create(tmp_path, "both-1", Plan(ensemble, precision="float32"), "data")
    keras.config.set_dtype_policy("float32")
    for seed, member in enumerate(run.plan.members):
        keras.utils.set_random_seed(seed)
        path = weights_path(run.member_folder(member.name))
        path.parent.mkdir(parents=True)
        networks.build_network(member.recipe).save_weights(path)
    return run


def test_infinite_predictions_are_missing(run: Run) -> None:
    """A network in float16 can predict infinity for a few faces."""
    members = run.plan.members
    points = np.random.default_rng(0).uniform(20, 76, (20, 15, 2)).astype(np.float32)
    faces = Faces(np.zeros((20, 96, 96), np.uint8), points, np.arange(1, 21))
    folds = np.arange(20) % 2
    for number, member in enumerate(members):
        predictions = points + np.float32(number + 1)
        predictions[member.fold, 3] = [np.inf, -np.inf] if number == 0 else 1
        rows = folds == member.fold
        store_out_of_fold(run, member, faces.ids[rows], predictions[rows])
        store_test_predictions(run, member, faces, faces.annotators, predictions)
    rows, held_out = load_member_out_of_fold(run, members[0])
    assert np.isnan(held_out[0, 3]).all()
    assert np.isfinite(np.delete(held_out[0], 3, 0)).all()
    recipes = list(dict.fromkeys(member.recipe.name for member in members))
    stacked = np.stack([load_out_of_fold(run, members, recipe, 20) for recipe in recipes])
    weights = blending.fit_weights(stacked, points, faces.annotators)
    test = predict_with_members(run, members, faces, faces.annotators)
    assert np.isfinite(weights).all()
    assert np.isnan(test[0, members[0].fold, 3]).all()
    assert np.isnan(test).sum() == 2


@pytest.mark.slow
def test_each_member_predicts_with_its_own_weights_in_a_network_of_its_recipe(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8)
    faces = Faces(images, np.full((3, 15, 2), np.nan, np.float32), np.arange(3))
    annotators = np.array([0, 1, 0], np.uint8)
    alone = [
        predict_keypoints(
            networks.load_network(member.recipe, run.member_folder(member.name)),
            member.recipe,
            images,
            annotators,
            crop_search=True,
        )
        for member in run.plan.members
    ]
    built = []
    build = networks.build_network

    def count(recipe: Recipe) -> keras.Model:
        built.append(recipe.name)
        return build(recipe)

    monkeypatch.setattr(networks, "build_network", count)
    together = predict_with_members(run, run.plan.members, faces, annotators)
    np.testing.assert_array_equal(together, np.stack(alone))
    assert len({predictions.tobytes() for predictions in together}) == 4
    assert built == ["narrow", "wide"]
