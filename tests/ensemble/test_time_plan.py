"""Tests of the choice of members that fit a time limit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd_kaggle.ensemble.time_plan import (
    Speed,
    Times,
    epoch_seconds,
    expected_error,
    full_seconds,
    minimum_seconds,
    plan_time,
)
from fkd_kaggle.recipes.plans import Member, TrainingOptions, make_plan
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.workers.calibration import REFERENCE_CORE, speed_estimator

ESTIMATE = speed_estimator([], REFERENCE_CORE, gpus=0)


def times(workers: int = 2, factor: float = 1.0) -> Times:
    """Return a machine whose cores train 262 images/s of a cascade, times ``factor``."""

    def speed(recipe: Recipe) -> Speed:
        images = 262.0 if recipe.name == "cascade" else ESTIMATE(recipe)
        return Speed(factor * images, 8.0 / factor)

    return Times(workers, lambda _: 2637, 10.0 / factor, speed)


@cache
def members(name: str = "standard") -> tuple[Member, ...]:
    return make_plan(TrainingOptions((name,))).members


def test_three_minutes_are_enough_for_two_cascades() -> None:
    plan = plan_time(members(), 180, times())
    assert [member.name for member in plan.members] == ["cascade-f0", "cascade-f1"]
    assert 10 <= plan.fraction * 80 <= 20


@pytest.mark.parametrize(
    ("minutes", "factor", "epochs"),
    [(10, 1.0, 57), (5, 90 / 267, 8), (10, 90 / 267, 18), (20, 90 / 267, 39)],
)
@pytest.mark.parametrize("name", ["quick", "standard"])
def test_two_cascades_with_more_epochs_are_preferred_to_four(
    name: str, minutes: float, factor: float, epochs: float
) -> None:
    plan = plan_time(members(name), 60 * minutes, times(factor=factor))
    assert [member.name for member in plan.members] == ["cascade-f0", "cascade-f1"]
    assert plan.fraction * 80 == pytest.approx(epochs, abs=1)


@pytest.mark.parametrize(
    ("epochs", "counts", "errors"),
    # docs/experiments.md and README.md: means of cascades, in pixels.
    [(60, (1, 2), (1.174, 1.149)), (45, (1, 4), (1.169, 1.140)), (28, (2, 4), (1.166, 1.148))],
)
def test_more_networks_gain_what_was_measured(
    epochs: int, counts: tuple[int, int], errors: tuple[float, float]
) -> None:
    fewer, more = (expected_error(epochs / 80, count, 1.0) for count in counts)
    assert more / fewer == pytest.approx(errors[1] / errors[0], abs=0.006)


def test_the_whole_plan_is_trained_in_its_own_time() -> None:
    for name, minutes in (("standard", 60), ("quick", 20), ("classic", 20)):
        assert plan_time(members(name), 60 * minutes, times()).members == members(name)


def test_folds_are_left_out_before_recipes_and_the_last_recipe_first() -> None:
    def chosen(name: str, minutes: float) -> dict[str, int]:
        plan = plan_time(members(name), 60 * minutes, times())
        return dict(Counter(member.recipe.name for member in plan.members))

    assert set(chosen("winning", 180).values()) == {6}
    assert chosen("winning", 90) == {"cascade": 3, "heatmap": 3, "cascade-wide": 3}
    # The last recipe has the largest share of the time.
    assert chosen("winning", 60) == {"cascade": 4, "heatmap": 4}
    assert chosen("winning", 20) == {"cascade": 4}
    assert set(chosen("standard", 41).values()) == {3}


def test_standard_keeps_both_cores_busy_when_only_cascades_fit() -> None:
    plan, quick = (plan_time(members(name), 1200, times()) for name in ("standard", "quick"))
    assert [one.name for one in plan.members] == [one.name for one in quick.members]
    assert len(plan.members) == 4
    assert plan.fraction == pytest.approx(quick.fraction)


@settings(deadline=None, max_examples=30)
@given(st.floats(30, 20_000), st.integers(1, 8), st.floats(0.1, 50))
def test_more_time_is_never_used_worse(limit: float, workers: int, factor: float) -> None:
    machine = times(workers, factor)
    plan, longer = (plan_time(members(), one, machine) for one in (limit, 2 * limit))
    assert plan.members
    assert plan.seconds <= limit
    recipes, more = ({one.recipe.name for one in each.members} for each in (plan, longer))
    assert recipes <= more
    folds = {one.fold for one in plan.members}
    assert folds == set(range(len(folds)))


def test_without_a_limit_all_members_are_trained() -> None:
    plan = plan_time(members("quick"), None, times())
    assert plan.members == members("quick")
    # Four cascades with 80 epochs of 9.9 s on two cores.
    assert plan.seconds == pytest.approx(10 + 2 * (8 + 80 * 2637 / 267), rel=0.05)
    assert plan.seconds == full_seconds(members("quick"), times())


def extended(epochs: int) -> tuple[Member, ...]:
    """Return the members of `quick` with other extended epochs."""
    return tuple(
        replace(one, recipe=replace(one.recipe, extended_epochs=epochs)) for one in members("quick")
    )


def test_extended_epochs_use_the_time_that_a_limit_leaves() -> None:
    hour = plan_time(members("quick"), 3600, times())
    assert hour.fraction == 1.0
    assert hour.seconds == full_seconds(members("quick"), times()) < 1800
    longer = plan_time(extended(120), 3600, times())
    assert longer.fraction == 1.5
    # Four cascades with 120 epochs of 9.9 s on two cores.
    assert longer.seconds == pytest.approx(10 + 2 * (8 + 120 * 2637 / 267), rel=0.05)
    most = plan_time(extended(10_000), 3600, times())
    assert most.seconds == 3600
    assert most.fraction * 80 == pytest.approx((3600 - 10) / 2 / (2637 / 267), rel=0.05)


def test_extended_epochs_do_not_change_a_plan_that_is_short_of_time() -> None:
    before, after = (plan_time(each, 600, times()) for each in (members("quick"), extended(120)))
    assert before.fraction == after.fraction < 1
    assert [one.name for one in before.members] == [one.name for one in after.members]
    assert plan_time(extended(120), None, times()).seconds == full_seconds(
        members("quick"), times()
    )


def test_workers_that_share_a_core_train_more_slowly() -> None:
    shared = replace(times(8), cores=2)
    seven = members("quick") + members("quick")[:3]
    assert [shared.slowdown(count) for count in (1, 2, 7, 30)] == [1.0, 1.0, 3.5, 4.0]
    assert times(8).slowdown(30) == 1.0  # each worker has its own GPU
    alone = full_seconds(seven, times(7)) - times().start
    assert full_seconds(seven, shared) - shared.start == pytest.approx(3.5 * alone)
    # Two cores train as much with eight workers as with two.
    two, eight = (plan_time(members("quick"), 600, one) for one in (times(2), shared))
    assert two.members == eight.members
    assert eight.fraction == pytest.approx(two.fraction)
    # The shortest limit is that of one network, which shares its core with no other.
    assert minimum_seconds(members(), shared) == minimum_seconds(members(), times(2))


def test_each_recipe_is_planned_with_its_own_number_of_faces() -> None:
    def faces(recipe: Recipe) -> int:
        return 2637 if recipe.name == "cascade" else 1000

    few = replace(times(), faces=faces)
    for recipe in {one.recipe.name: one.recipe for one in members()}.values():
        ratio = epoch_seconds(recipe, few) / epoch_seconds(recipe, times())
        assert ratio == pytest.approx(faces(recipe) / 2637)


def test_the_minimum_covers_one_useful_network() -> None:
    shortest = minimum_seconds(members(), times())
    assert 50 < shortest <= 60
    assert minimum_seconds(members(), times(factor=10)) == pytest.approx(shortest / 10)


def test_remembered_speeds_replace_estimates() -> None:
    from fkd_kaggle.runs.speeds import RememberedSpeeds

    recipe = members()[0].recipe
    before = RememberedSpeeds("here", REFERENCE_CORE, {recipe.digest: 100.0})
    newer = RememberedSpeeds("here", REFERENCE_CORE, {recipe.digest: 200.0})
    assert speed_estimator([before, newer], REFERENCE_CORE, gpus=0)(recipe) == 200.0
    # Half of the core is used by other programs.
    assert speed_estimator([newer], REFERENCE_CORE / 2, gpus=0)(recipe) == 100.0
    assert speed_estimator([newer], REFERENCE_CORE / 2, gpus=1)(recipe) == 200.0
    assert speed_estimator([], REFERENCE_CORE, gpus=0)(recipe) == pytest.approx(365, rel=0.05)
    # A core of an Intel Xeon trains 287 images/s in float32 (docs/results.md).
    xeon = speed_estimator([], 1.53e11, gpus=0, bfloat16=False)
    assert xeon(recipe) == pytest.approx(287, rel=0.1)
