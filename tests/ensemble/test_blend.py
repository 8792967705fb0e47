"""Tests of the blend of members of very different quality, on synthetic predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_members import MemberSpec, World

from fkd_kaggle.data import metrics
from fkd_kaggle.ensemble import stacking
from fkd_kaggle.ensemble.blend import Blend, FittedBlend
from fkd_kaggle.ensemble.expected_score import expected_rmse, why_unknown
from fkd_kaggle.ensemble.fold_rule import TOLERANCE
from fkd_kaggle.ensemble.member_errors import HeldOutPredictions, stack_by_recipe
from fkd_kaggle.ensemble.stacking import Stack
from fkd_kaggle.keypoints import REGIONS
from fkd_kaggle.runs.predictions import read_blend

EYES = tuple(REGIONS["eyes-nose"])

RECIPES = {"heatmap": tuple(range(15)), "deep": tuple(range(15)), "eyes": EYES}


@st.composite
def interrupted_runs(draw: st.DrawFn) -> list[MemberSpec]:
    """Return the members of a run that was stopped at a random moment: any subset, any quality."""
    every = [(recipe, fold) for fold in range(3) for recipe in RECIPES]
    chosen = draw(st.lists(st.sampled_from(every), min_size=1, max_size=7, unique=True))
    return [
        MemberSpec(recipe, fold, draw(st.floats(0.8, 15.0)), RECIPES[recipe])
        for recipe, fold in sorted(chosen)
    ]


@settings(deadline=None, max_examples=15)
@given(interrupted_runs(), st.integers(0, 1000))
def test_a_blend_is_not_worse_out_of_fold_than_any_member(
    specs: list[MemberSpec], seed: int
) -> None:
    world = World(faces=120, test=120, seed=seed)
    fitted, members, test = world.fit(specs)
    labels, annotators = world.training.keypoints, world.training.annotators
    for member in members:
        known = np.isfinite(member.predictions)
        mixed = np.where(known, fitted.predictions[member.rows], np.nan)
        assert np.isfinite(mixed[known]).all()
        truth, who = labels[member.rows], annotators[member.rows]
        ours = metrics.combined_rmse(mixed, truth, who, world.query_counts)
        theirs = metrics.combined_rmse(member.predictions, truth, who, world.query_counts)
        assert ours is not None
        assert theirs is not None
        assert ours <= theirs + TOLERANCE
    assert np.isfinite(world.apply(fitted, test)).all()


@settings(deadline=None, max_examples=15)
@given(interrupted_runs(), st.integers(0, 1000))
def test_the_expected_score_is_near_the_score_on_other_faces(
    specs: list[MemberSpec], seed: int
) -> None:
    world = World(faces=300, test=300, seed=seed)
    fitted, _, test = world.fit(specs)
    expected = expected_rmse(fitted, world.query_counts)
    assert expected == pytest.approx(world.score(world.apply(fitted, test)), rel=0.15)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(0.8, 15.0), min_size=2, max_size=6), st.integers(0, 1000))
def test_a_blend_is_not_worse_than_its_best_member_on_other_faces(
    errors: list[float], seed: int
) -> None:
    world = World(faces=240, test=300, seed=seed)
    specs = [
        MemberSpec(f"r{number // 3}", number % 3, error) for number, error in enumerate(errors)
    ]
    fitted, _, test = world.fit(specs)
    best = min(world.score(predictions) for predictions in test.values())
    constant = world.score(fitted.blend.mean_face[world.annotators[world.test]])
    assert world.score(world.apply(fitted, test)) <= 1.05 * min(best, constant)


def test_a_member_worse_than_the_mean_face_is_excluded_and_has_no_influence() -> None:
    world = World()
    specs = [MemberSpec("a", 0, 1.5), MemberSpec("a", 1, 1.6), MemberSpec("a", 2, 9.0)]
    fitted, _, test = world.fit(specs)
    assert fitted.blend.excluded == ("a-f2",)
    assert fitted.blend.members == ("a-f0", "a-f1")
    score = fitted.scores["a-f2"]
    assert score.rmse == pytest.approx(9.0, rel=0.1)
    assert score.reference == pytest.approx(4.0, rel=0.1)
    before = world.apply(fitted, test)
    test = {**test, "a-f2": np.full_like(test["a-f2"], 1e6)}
    np.testing.assert_array_equal(world.apply(fitted, test), before)


def test_faces_of_excluded_members_have_the_mean_face_and_are_not_scored() -> None:
    world = World()
    specs = [MemberSpec("a", 0, 1.5), MemberSpec("a", 1, 9.0)]
    fitted, _, _ = world.fit(specs)
    excluded = world.held_out == 1
    assert (fitted.scored == (world.held_out == 0)).all()
    rest = world.training.keypoints[~excluded]
    complete = world.training.annotators == 0
    mean = np.nanmean(rest[complete[~excluded]], 0)
    np.testing.assert_allclose(fitted.predictions[excluded & complete][0], mean, rtol=1e-5)
    assert np.isnan(fitted.predictions[world.held_out == 2]).all()


def test_a_run_without_a_useful_member_predicts_the_mean_face() -> None:
    world = World()
    fitted, _, test = world.fit([MemberSpec("a", fold, 9.0) for fold in range(3)], "shape")
    assert fitted.blend.members == ()
    predictions = world.apply(fitted, test)
    assert world.score(predictions) == pytest.approx(4.0, rel=0.1)
    assert expected_rmse(fitted, world.query_counts) == pytest.approx(4.0, rel=0.1)


def test_keypoints_without_a_member_have_the_mean_face() -> None:
    world = World()
    fitted, _, test = world.fit([MemberSpec("eyes", fold, 1.0, EYES) for fold in range(3)])
    predictions = world.apply(fitted, test)
    rest = [point for point in range(15) if point not in EYES]
    mean = fitted.blend.mean_face[world.annotators[world.test]]
    np.testing.assert_allclose(predictions[:, rest], mean[:, rest], rtol=1e-5)
    assert expected_rmse(fitted, world.query_counts) == pytest.approx(
        world.score(predictions), rel=0.1
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["simplex", "shape"])
def test_members_of_equal_quality_are_blended_by_recipe(kind: str) -> None:
    """The blend of an ordinary run is the recipes' blend, with its correction."""
    world = World(faces=300, folds=3)
    specs = [MemberSpec(recipe, fold, 1.4) for recipe in ("a", "b") for fold in range(3)]
    fitted, members, test = world.fit(specs, kind)
    assert fitted.blend.member_weights is None
    stacked = stack_by_recipe(members, ["a", "b"], 300)
    stack, expected = stacking.fit_by_name(kind, stacked, world.training)
    np.testing.assert_array_equal(fitted.predictions, expected)
    averages = np.stack([np.mean([test[f"{r}-f{f}"] for f in range(3)], 0) for r in ("a", "b")])
    plain = stack.apply(averages, world.annotators[world.test])
    np.testing.assert_allclose(world.apply(fitted, test), plain, rtol=1e-5)


def test_folds_of_different_difficulty_are_not_taken_for_members_of_different_quality() -> None:
    """Else members with easy held-out faces get more weight, and the expected score is too good."""
    ratios, weighted = [], 0
    for seed in range(20):
        world = World(faces=400, folds=4, seed=seed, test=400, shared=0.8, difficulty=0.7)
        fitted, _, test = world.fit([MemberSpec("a", fold, 1.2) for fold in range(4)])
        weighted += fitted.blend.member_weights is not None
        expected = expected_rmse(fitted, world.query_counts)
        assert expected is not None
        ratios.append(expected / world.score(world.apply(fitted, test)))
    assert weighted <= 6  # of 20; without the rule 18
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_a_clearly_worse_member_is_recognized_among_faces_of_different_difficulty() -> None:
    for seed in range(5):
        world = World(faces=400, folds=4, seed=seed, test=400, difficulty=0.7)
        specs = [MemberSpec("a", fold, error) for fold, error in enumerate((1.2, 1.2, 1.2, 4.0))]
        fitted, _, test = world.fit(specs)
        assert world.score(world.apply(fitted, test)) <= 1.2


def test_members_are_weighted_without_test_faces() -> None:
    world = World()
    specs = [MemberSpec("a", fold, error) for fold, error in enumerate((1.5, 3.5, 3.6))]
    fitted, _, test = world.fit(specs, compare=False)
    assert world.score(world.apply(fitted, test)) <= 1.55


@pytest.mark.parametrize("errors", [(1.5, 1.5, 1.5), (1.5, 3.5, 9.0), (9.0, 9.0, 9.0)])
def test_a_blend_is_restored_from_its_arrays(errors: tuple[float, ...]) -> None:
    world = World()
    fitted, _, test = world.fit([MemberSpec("a", fold, one) for fold, one in enumerate(errors)])
    restored = Blend.from_arrays(fitted.blend.recipes, fitted.blend.arrays())
    assert restored.members == fitted.blend.members
    assert restored.excluded == fitted.blend.excluded
    used = [test[name] for name in restored.members]
    stacked = np.stack(used) if used else np.empty((0, *test["a-f0"].shape), np.float32)
    np.testing.assert_array_equal(
        restored.apply(stacked, world.annotators[world.test]), world.apply(fitted, test)
    )


def test_a_diverged_member_is_excluded() -> None:
    world = World()
    fitted, _, _ = world.fit([MemberSpec("a", 0, 1.5), MemberSpec("a", 1, float("nan"))])
    assert fitted.blend.excluded == ("a-f1",)


def test_an_invalid_expected_score_has_a_reason() -> None:
    fitted, _, _ = World().fit([MemberSpec("a", 0, 1.5)])
    few, _, _ = World(faces=60).fit([MemberSpec("a", 0, 1.5)])

    def reason(
        blend: FittedBlend = fitted,
        split: str = "grouped",
        *,
        test: bool = True,
        score: bool = True,
    ) -> str:
        return why_unknown(blend, split=split, has_test_faces=test, has_score=score)

    assert reason() == ""
    assert "near-duplicates" in reason(split="random")
    assert "no test faces" in reason(test=False)
    assert "no held-out face has labels" in reason(score=False)
    assert "20 held-out faces" in reason(few)


def test_a_missing_prediction_of_one_member_is_left_out_of_its_recipe() -> None:
    """The other members of the recipe predict the face, and not the mean face."""
    weights = np.stack([np.full((2, 15), 0.25), np.full((2, 15), 0.75)], -1)
    blend = Blend(
        members=("a-f0", "a-f1", "a-f2", "b-f0"),
        owners=("a", "a", "a", "b"),
        excluded=(),
        recipes=("a", "b"),
        stack=Stack(weights, (None, None)),
        member_weights=None,
        mean_face=np.zeros((2, 15, 2)),
    )
    predictions = np.random.default_rng(0).normal(48, 9, (4, 6, 15, 2)).astype(np.float32)
    annotators = np.array([0, 1, 0, 1, 0, 1], np.uint8)
    averages = np.stack([predictions[:3].mean(0), predictions[3]])
    complete = blend.apply(predictions, annotators)
    np.testing.assert_array_equal(complete, blend.stack.apply(averages, annotators))
    damaged = predictions.copy()
    damaged[0, 2, 5] = np.nan
    damaged[:, 3, 7] = np.nan
    found = blend.apply(damaged, annotators)
    expected = complete.copy()
    expected[2, 5] = 0.25 * predictions[1:3, 2, 5].mean(0) + 0.75 * predictions[3, 2, 5]
    expected[3, 7] = 0  # the mean face: nobody predicts the keypoint
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    alone = replace(
        blend,
        members=blend.members[:3],
        owners=blend.owners[:3],
        recipes=("a",),
        stack=Stack(np.ones((2, 15, 1)), (None, None)),
    )
    found = alone.apply(damaged[:3], annotators)
    np.testing.assert_allclose(found[2, 5], predictions[1:3, 2, 5].mean(0), rtol=1e-6)


def test_seeds_without_a_prediction_are_left_out_of_their_recipe() -> None:
    predictions = np.random.default_rng(0).normal(48, 9, (2, 3, 15, 2)).astype(np.float32)
    damaged = predictions.copy()
    damaged[0, 1, 4] = np.nan
    damaged[:, 2] = np.nan
    rows = np.array([0, 2, 3])
    members = [HeldOutPredictions(f"a-{seed}", "a", rows, damaged[seed]) for seed in (0, 1)]
    (found, other) = stack_by_recipe(members, ["a", "b"], 5)
    assert found.dtype == np.float32
    expected = predictions.astype(np.float64).mean(0).astype(np.float32)
    expected[1, 4] = predictions[1, 1, 4]
    np.testing.assert_array_equal(found[[0, 2]], expected[:2])
    assert np.isnan(found[[1, 3, 4]]).all()
    assert np.isnan(other).all()


def test_a_blend_whose_correction_does_not_fit_is_refused() -> None:
    arrays = read_blend(Path(__file__).parents[1] / "data/old_run/corrected_blend.npz")
    blend = Blend(
        ("a-f0",), ("a",), (), ("a",), Stack.from_arrays(arrays), None, np.zeros((2, 15, 2))
    )
    blend.check()
    for name, value in {
        "used": np.ones((2, 15), bool),
        "centre": np.zeros(29),
        "scale": np.zeros(29),
        "coefficients": np.zeros((31, 30)),
        "intercept": np.zeros(2),
        "points": np.arange(1, 16),
    }.items():
        stack = Stack.from_arrays({**arrays, f"complete_{name}": value})
        with pytest.raises(ValueError, match=r"shape|keypoint"):
            replace(blend, stack=stack).check()
