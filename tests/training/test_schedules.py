"""Learning rates and the time budget."""

from __future__ import annotations

import math

import pytest

from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.schedules import Schedule, TimeBudget


def recipe(schedule: str, patience: int = 0) -> Recipe:
    return Recipe("r", schedule=schedule, learning_rate=0.1, patience=patience)


def test_a_cosine_falls_to_zero_after_a_gentle_first_epoch() -> None:
    schedule = Schedule(recipe("cosine"))
    assert schedule.rate(0, 0.0) == pytest.approx(0.03)
    assert schedule.rate(1, 0.5) == pytest.approx(0.05)
    assert schedule.rate(9, 1.0) == pytest.approx(0.0)


def test_a_plateau_halves_after_each_five_epochs_without_a_better_score() -> None:
    schedule = Schedule(recipe("plateau", patience=20))
    for epochs_since_best in range(11):
        schedule.update(epochs_since_best)
    assert schedule.rate(11, 0.5) == schedule.reduced_rate == pytest.approx(0.025)


def test_a_resumed_plateau_keeps_its_rate() -> None:
    schedule = Schedule(recipe("plateau"))
    schedule.resume(0.025)
    assert schedule.reduced_rate == pytest.approx(0.025)


@pytest.mark.parametrize(
    ("name", "patience", "keeps_last", "epochs"),
    [
        ("cosine", 0, True, [4, 9]),
        ("constant", 0, True, [4, 9]),
        ("constant", 3, False, list(range(10))),
        ("plateau", 0, False, list(range(10))),
    ],
)
def test_validation_is_rare_where_it_decides_nothing(
    name: str, patience: int, keeps_last: bool, epochs: list[int]
) -> None:
    schedule = Schedule(recipe(name, patience))
    assert schedule.keeps_last == keeps_last
    assert [epoch for epoch in range(10) if schedule.validates(epoch)] == epochs


def test_training_ends_by_epochs_or_by_time() -> None:
    now = [100.0]
    budget = TimeBudget(epochs=10, limit=60.0, clock=lambda: now[0])
    budget.resume(15.0)
    assert budget.fraction(0) == 0.25
    assert budget.fraction(5) == 0.5
    now[0] += 15
    assert budget.seconds == 30.0
    assert budget.seconds_left(2) == pytest.approx(30.0)
    assert not budget.is_exhausted
    now[0] += 30
    assert budget.is_exhausted
    assert budget.fraction(2) == 1.0


def test_without_a_limit_only_epochs_count() -> None:
    now = [0.0]
    budget = TimeBudget(epochs=4, limit=None, clock=lambda: now[0])
    assert math.isnan(budget.seconds_left(0))
    now[0] = 10.0
    assert budget.fraction(1) == 0.25
    assert budget.seconds_left(1) == pytest.approx(30.0)
    assert not budget.is_exhausted
