"""The real scheduler with a simulated clock: 10 recipes × 10 folds × 3 seeds on 1 to 512 slots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from workers.simulated_pool import SimulatedPool, SimulatedSlot

from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.workers.pool import Task
from fkd_kaggle.workers.schedule import train_members

RECIPES, FOLDS, SEEDS = 10, 10, 3

WITHOUT_LOSSES = 1.15
"""Largest makespan relative to the lower bound."""

WITH_LOSSES = 1.3
"""Largest makespan relative to the work divided by the capacity that was available."""


def make_tasks(
    random: np.random.Generator, *, rough_shares: bool = False
) -> tuple[list[Task], dict[str, float]]:
    """Return 300 tasks and their seconds at speed 1, which differ by a factor of 30 by recipe.

    The shares are all that the scheduler knows at first: equal for all recipes, or rough estimates
    of the work, wrong by up to 40 %.
    """
    tasks, work = [], {}
    for recipe, cost in enumerate(np.geomspace(60, 1800, RECIPES)):
        share = float(cost * random.uniform(1 / 1.4, 1.4)) if rough_shares else 1.0
        for fold in range(FOLDS):
            for seed in range(SEEDS):
                title = f"r{recipe}-f{fold}-s{seed}"
                member = Member(title, Recipe(f"r{recipe}"), fold, seed, share)
                tasks.append(Task(title, Path("run"), member))
                work[title] = float(cost * random.uniform(0.95, 1.05))
    return tasks, work


def capacity(slots: list[SimulatedSlot], seconds: float) -> float:
    """Return the work that the slots could do in a time, at their speeds while they existed."""
    return sum(
        slot.speed * max(0.0, min(slot.lost_at or seconds, seconds) - slot.joins_at)
        for slot in slots
    )


def time_for(work: float, slots: list[SimulatedSlot]) -> float:
    """Return the time in which the slots, while they exist, could do an amount of work."""
    low, high = 0.0, 1e7
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if capacity(slots, middle) < work else (low, middle)
    return high


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rough_shares", [False, True])
@pytest.mark.parametrize("count", [1, 8, 64, pytest.param(512, marks=pytest.mark.slow)])
def test_the_makespan_is_close_to_the_lower_bound(
    count: int, rough_shares: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    tasks, work = make_tasks(random, rough_shares=rough_shares)
    speeds = random.uniform(0.4, 1.6, count)
    slots = [SimulatedSlot(f"gpu{index}", float(speed)) for index, speed in enumerate(speeds)]
    pool = SimulatedPool(slots, work=work)
    outcome = train_members(tasks, pool, lambda task, event: None, clock=pool.clock)
    assert (outcome.status, outcome.trained) == ("finished", 300)
    assert sorted(pool.trained) == sorted(work)
    bound = max(sum(work.values()) / speeds.sum(), max(work.values()) / speeds.max())
    makespan = pool.clock() - pool.started
    assert bound * 0.999 <= makespan
    if count <= 64:
        assert makespan <= WITHOUT_LOSSES * bound
    else:
        assert makespan <= 2 * bound  # more slots than members: only the longest matter


@pytest.mark.parametrize("count", [8, 64, pytest.param(512, marks=pytest.mark.slow)])
def test_lost_nodes_cost_little(count: int) -> None:
    """Each slot is lost about twice in the training and comes back a little later."""
    random = np.random.default_rng(count)
    tasks, work = make_tasks(random)
    speeds = random.uniform(0.4, 1.6, count)
    expected = max(sum(work.values()) / speeds.sum(), max(work.values()) / speeds.max())
    slots = []
    for index, speed in enumerate(speeds):
        joins = 0.0
        for life in range(20):
            lost = joins + float(random.exponential(expected / 2)) + 1
            slots.append(SimulatedSlot(f"gpu{index}-{life}", float(speed), joins, lost))
            joins = lost + float(random.exponential(expected / 10))
        slots.append(SimulatedSlot(f"gpu{index}-last", float(speed), joins))
    pool = SimulatedPool(slots, work=work)
    outcome = train_members(
        tasks, pool, lambda task, event: None, clock=pool.clock, max_losses=1000
    )
    assert (outcome.status, outcome.trained) == ("finished", 300)
    makespan = pool.clock() - pool.started
    possible = max(time_for(sum(work.values()), slots), max(work.values()) / speeds.max())
    assert makespan <= (WITH_LOSSES if count <= 64 else 2.5) * possible


@pytest.mark.slow
def test_a_time_limit_holds_on_slots_of_different_speed() -> None:
    random = np.random.default_rng(2)
    tasks, _ = make_tasks(random)
    slots = [
        SimulatedSlot(f"gpu{index}", speed) for index, speed in enumerate([0.4, 1.0, 1.6, 1.6])
    ]
    pool = SimulatedPool(slots)
    end = pool.clock() + 3600
    outcome = train_members(tasks, pool, lambda task, event: None, end=end, clock=pool.clock)
    assert (outcome.status, outcome.trained) == ("finished", 300)
    assert pool.clock() <= end + 1
    assert pool.clock() >= end - 0.05 * 3600
