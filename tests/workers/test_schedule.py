"""The scheduler: division of the time by shares, failing members, lost slots, stopping."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workers.simulated_pool import SimulatedPool, SimulatedSlot

from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.events import Event, MemberFailed, Stopping
from fkd_kaggle.workers.planning import next_members, seconds_per_share
from fkd_kaggle.workers.pool import Change, OnTaskEvent, SlotLost, Task
from fkd_kaggle.workers.schedule import STOP_SECONDS, Outcome, train_members

SHARES = st.lists(st.floats(0.1, 10), min_size=1, max_size=12)


def tasks(*shares: float) -> list[Task]:
    return [
        Task(f"m{i}", Path("run"), Member(f"m{i}", Recipe("r"), i, i, share))
        for i, share in enumerate(shares)
    ]


def train(
    pool: SimulatedPool, todo: Sequence[Task], seconds: float | None = None
) -> tuple[Outcome, list[Event]]:
    """Train tasks in simulated slots; return the outcome and the scheduler's own events."""
    events: list[Event] = []

    def on_event(_: Task, event: Event) -> None:
        if isinstance(event, MemberFailed | Stopping):
            events.append(event)

    end = None if seconds is None else pool.clock() + seconds
    outcome = train_members(todo, pool, on_event, end=end, clock=pool.clock)
    return outcome, events


@given(SHARES, st.floats(1, 1e5), st.floats(0, 5))
def test_one_slot_divides_the_time_by_shares(
    shares: list[float], seconds: float, overhead: float
) -> None:
    expected = max(0.0, (seconds - overhead * len(shares)) / sum(shares))
    assert seconds_per_share([0.0], shares, seconds, overhead) == pytest.approx(
        expected, rel=1e-6, abs=1e-6
    )


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0.5, 2)), min_size=1, max_size=4),
    SHARES,
    st.floats(60, 1e4),
)
def test_several_slots_of_different_speed_end_in_time(
    slots: list[tuple[float, float]], shares: list[float], seconds: float
) -> None:
    busy, speeds = zip(*slots, strict=True)
    pace = seconds_per_share(busy, shares, seconds, 1.0, speeds)
    free_at = list(busy)
    for share in shares:
        ends = [
            at + (1.0 + pace * share) / speed for at, speed in zip(free_at, speeds, strict=True)
        ]
        slot = ends.index(min(ends))
        free_at[slot] = ends[slot]
        if pace:
            assert ends[slot] <= seconds + 1e-3


def test_three_members_in_two_slots_get_half_of_the_time_each() -> None:
    assert seconds_per_share([0.0, 0.0], [1.0, 1.0, 1.0], 100.0, 0.0) == pytest.approx(50)


def test_the_longest_members_are_trained_first() -> None:
    assert next_members([1.0, 5.0, 3.0], [0.0, 0.0], [1.0, 1.0]) == {0: 1, 1: 2}


def test_a_slow_slot_is_left_free_if_a_fast_one_ends_earlier() -> None:
    assert next_members([10.0], [2.0, 0.0], [1.0, 0.1]) == {}


def test_every_member_is_trained_once() -> None:
    pool = SimulatedPool([SimulatedSlot("a"), SimulatedSlot("b")])
    outcome, events = train(pool, tasks(50, 10, 10, 10, 10))
    assert outcome == Outcome("finished", {}, 5)
    assert not events
    assert sorted(pool.trained) == [f"m{i}" for i in range(5)]
    assert pool.trained[-1] == "m0"  # as long as all others together, and first


def test_a_member_that_cannot_be_trained_is_reported_and_the_others_are_trained() -> None:
    pool = SimulatedPool([SimulatedSlot("a"), SimulatedSlot("b")], failing={"m1"})
    outcome, events = train(pool, tasks(1, 1, 1, 1))
    assert outcome.status == "failures"
    assert set(outcome.failures) == {"m1"}
    assert events == [MemberFailed("m1", "cannot be trained")]
    assert outcome.trained == 3


def test_a_crashed_slot_loses_its_member_and_gets_no_other() -> None:
    pool = SimulatedPool([SimulatedSlot("a", lost_at=5.0, retry=False), SimulatedSlot("b")])
    outcome, _ = train(pool, tasks(10, 10, 10))
    assert outcome.status == "failures"
    assert len(outcome.failures) == 1
    assert outcome.trained == 2


def test_the_member_of_a_lost_slot_continues_elsewhere_from_its_checkpoint() -> None:
    pool = SimulatedPool([SimulatedSlot("a", lost_at=55.0), SimulatedSlot("b")])
    outcome, _ = train(pool, tasks(100, 100))
    assert outcome == Outcome("finished", {}, 2)
    assert pool.clock() - pool.started == pytest.approx(150.0, abs=1.0)  # 50 of 100 were kept


def test_a_member_that_loses_its_slot_has_the_rest_of_its_budget() -> None:
    slots = [SimulatedSlot("a", speed=2.0, lost_at=26.0), SimulatedSlot("b", 0.5, joins_at=30.0)]
    pool = SimulatedPool(slots)
    (task,) = tasks(100)
    outcome, _ = train(pool, [replace(task, budget=200.0)])
    assert outcome == Outcome("finished", {}, 1)
    # 200 s at speed 1; the checkpoint keeps 25 s at speed 2.
    assert pool.budgets == [100.0, (200.0 - 2 * 25.0) / 0.5]


def test_slots_are_not_kept_for_members_without_time() -> None:
    pool = SimulatedPool([SimulatedSlot("a"), SimulatedSlot("b", joins_at=57.0)], overhead=8.0)
    expected: list[int] = []
    for seconds in (56.0, 58.0):
        pool.at(seconds, lambda: expected.append(pool.expected))
    outcome, _ = train(pool, tasks(*[1.0] * 30), seconds=60)
    assert (outcome.status, outcome.trained) == ("time limit", 3)
    assert expected == [28, 1]


def test_an_error_of_slots_that_do_not_start_is_that_of_the_remaining_members() -> None:
    class FailingPool(SimulatedPool):
        """Its only slot is lost, and its replacement does not start."""

        def wait(self, seconds: float, on_event: OnTaskEvent) -> Sequence[Change]:
            changes = super().wait(seconds, on_event)
            if not any(isinstance(change, SlotLost) for change in changes):
                return changes
            return [*changes, SlotLost("replacement", RuntimeError("the disk is full"))]

    outcome, _ = train(FailingPool([SimulatedSlot("a", lost_at=5.0)]), tasks(10))
    assert outcome.status == "failures"
    assert str(outcome.failures["m0"]) == "the disk is full"


def test_without_any_slot_left_all_remaining_members_have_failed() -> None:
    pool = SimulatedPool([SimulatedSlot("a", lost_at=5.0, retry=False)])
    outcome, _ = train(pool, tasks(10, 10))
    assert outcome.status == "failures"
    assert set(outcome.failures) == {"m0", "m1"}


def test_a_member_that_is_lost_with_every_slot_has_failed() -> None:
    slots = [SimulatedSlot(f"s{i}", joins_at=2.0 * i, lost_at=2.0 * i + 1) for i in range(20)]
    outcome, _ = train(SimulatedPool(slots), tasks(100))
    assert outcome.status == "failures"


def test_slots_that_join_are_used() -> None:
    slots = [SimulatedSlot("a"), SimulatedSlot("b", joins_at=10.0)]
    pool = SimulatedPool(slots)
    outcome, _ = train(pool, tasks(10, 10, 10))
    assert outcome == Outcome("finished", {}, 3)
    assert pool.clock() - pool.started == pytest.approx(20.0, abs=1.0)


def test_late_members_are_stopped() -> None:
    pool = SimulatedPool([SimulatedSlot("a"), SimulatedSlot("b")], obedient=False, jumps=False)
    outcome, events = train(pool, tasks(1000, 1000), seconds=60)
    assert outcome.status == "time limit"
    assert events == [Stopping("time limit")]
    assert 60 < pool.clock() - pool.started < 65


def test_members_that_do_not_stop_are_killed() -> None:
    pool = SimulatedPool([SimulatedSlot("a")], obedient=False, stops=False, jumps=False)
    outcome, _ = train(pool, tasks(1000), seconds=60)
    assert outcome.status == "time limit"
    assert pool.killed
    assert pool.clock() - pool.started < 60 + STOP_SECONDS + 4


def test_ctrl_c_stops_all_members() -> None:
    pool = SimulatedPool([SimulatedSlot("a"), SimulatedSlot("b")])
    pool.at(5.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    outcome, events = train(pool, tasks(100, 100, 100))
    assert outcome == Outcome("interrupted", {}, 0)
    assert events == [Stopping("interrupted")]
    assert not pool.killed
    assert pool.clock() - pool.started < 7


def test_a_second_ctrl_c_kills_all_members_at_once() -> None:
    pool = SimulatedPool([SimulatedSlot("a")], stops=False)
    for seconds in (5.0, 6.0):
        pool.at(seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
    outcome, _ = train(pool, tasks(100))
    assert outcome.status == "interrupted"
    assert pool.killed
    assert pool.clock() - pool.started < 7


@pytest.mark.parametrize("seconds", [1.0, 0.0, -3600.0])
def test_no_member_starts_without_time(seconds: float) -> None:
    pool = SimulatedPool([SimulatedSlot("a")])
    outcome, _ = train(pool, tasks(1, 1), seconds=seconds)
    assert outcome == Outcome("time limit", {}, 0)


def test_members_get_the_time_of_their_shares_in_order() -> None:
    pool = SimulatedPool([SimulatedSlot("a")])
    outcome, _ = train(pool, tasks(1, 3, 1), seconds=124)
    assert outcome == Outcome("finished", {}, 3)
    assert pool.trained == ["m0", "m1", "m2"]
    first, second, third = (pool.seconds[name] for name in pool.trained)
    # The simulated members take no time besides training, which is measured with the first.
    assert first == pytest.approx(8 + 20, rel=0.01)
    assert second == pytest.approx(3 * third, rel=0.01)
    assert pool.clock() - pool.started == pytest.approx(124, abs=1)


def test_with_too_many_members_the_first_ones_get_enough_time() -> None:
    pool = SimulatedPool([SimulatedSlot("a")], overhead=8.0)
    outcome, _ = train(pool, tasks(*[1.0] * 30), seconds=60)
    assert outcome.status == "time limit"
    assert 1 < outcome.trained < 30
    assert min(pool.seconds.values()) > 16.0
