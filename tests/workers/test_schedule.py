"""The scheduler: division of the time by shares, failing members, stopping."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.events import Event, MemberFailed, ignore_events
from fkd_kaggle.workers.schedule import WorkerPool, seconds_per_share, train_members

SHARES = st.lists(st.floats(0.1, 10), min_size=1, max_size=12)

TIMEOUT = 30
"""Seconds after which a test fails instead of waiting for another thread."""


class SimulatedClock:
    """A clock that advances only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def members(*shares: float) -> list[Member]:
    return [Member(f"m{i}", Recipe("r"), i, i, share) for i, share in enumerate(shares)]


def fail_on_stop() -> None:
    pytest.fail("the workers were stopped")


@given(SHARES, st.floats(1, 1e5), st.floats(0, 5))
def test_one_worker_divides_the_time_by_shares(
    shares: list[float], seconds: float, overhead: float
) -> None:
    expected = max(0.0, (seconds - overhead * len(shares)) / sum(shares))
    assert seconds_per_share([0.0], shares, seconds, overhead) == pytest.approx(
        expected, rel=1e-6, abs=1e-6
    )


@given(st.lists(st.floats(0, 50), min_size=1, max_size=4), SHARES, st.floats(60, 1e4))
def test_several_workers_end_in_time(
    busy: list[float], shares: list[float], seconds: float
) -> None:
    pace = seconds_per_share(busy, shares, seconds, 1.0)
    free_at = list(busy)
    for share in shares:
        worker = free_at.index(min(free_at))
        free_at[worker] += 1.0 + pace * share
        assert free_at[worker] <= seconds + 1e-3
    # All workers together have at least as much time as the busiest one alone.
    assert pace >= seconds_per_share([max(busy)], shares, seconds, 1.0) - 1e-6


def test_three_members_on_two_workers_get_half_of_the_time_each() -> None:
    assert seconds_per_share([0.0, 0.0], [1.0, 1.0, 1.0], 100.0, 0.0) == pytest.approx(50)


def test_every_member_is_trained_once() -> None:
    lock, trained = threading.Lock(), list[str]()
    others_done = threading.Event()
    todo = members(5, 1, 1, 1, 1)

    def trainer(member: Member, budget: float | None) -> float:
        assert budget is None
        if member.share > 1:  # takes as long as all others together
            assert others_done.wait(TIMEOUT)
        with lock:
            trained.append(member.name)
            if len(trained) == len(todo) - 1:
                others_done.set()
        return 0.0

    pool = WorkerPool([trainer] * 2, "float32", fail_on_stop)
    assert train_members(todo, pool, None, ignore_events) == "finished"
    assert sorted(trained) == [member.name for member in todo]
    assert trained[-1] == "m0"


def test_a_failing_member_is_reported_and_the_others_are_trained() -> None:
    events: list[Event] = []
    trained: list[str] = []
    failed = threading.Event()

    def good(member: Member, budget: float | None) -> float:
        assert failed.wait(TIMEOUT)
        trained.append(member.name)
        return 0.0

    def bad(member: Member, budget: float | None) -> float:
        failed.set()
        raise RuntimeError("out of memory")

    pool = WorkerPool([good, bad], "float32", fail_on_stop)
    status = train_members(members(1, 1, 1, 1), pool, None, events.append)
    assert status == "failures"
    (event,) = events
    assert isinstance(event, MemberFailed)
    assert event.reason == "out of memory"
    assert len(trained) == 3
    assert event.member not in trained


def test_the_first_error_is_raised_if_no_member_is_trained() -> None:
    def bad(member: Member, budget: float | None) -> float:
        raise RuntimeError("out of memory")

    pool = WorkerPool([bad, bad], "float32", fail_on_stop)
    with pytest.raises(RuntimeError, match="out of memory"):
        train_members(members(1, 1), pool, None, ignore_events)


def test_late_members_are_stopped() -> None:
    clock, stopped = SimulatedClock(), threading.Event()

    def stuck(member: Member, budget: float | None) -> float:
        assert budget is not None
        assert stopped.wait(TIMEOUT)
        raise KeyboardInterrupt

    pool = WorkerPool([stuck, stuck], "float32", stopped.set)
    started = clock()
    status = train_members(
        members(1, 1),
        pool,
        started + 60,
        ignore_events,
        latest=started + 90,
        clock=clock,
        sleep=clock.sleep,
    )
    assert status == "time limit"
    assert stopped.is_set()
    assert clock() > started + 90


def test_ctrl_c_stops_the_workers() -> None:
    stopped = threading.Event()

    def slow(member: Member, budget: float | None) -> float:
        assert stopped.wait(TIMEOUT)
        raise KeyboardInterrupt

    def press_ctrl_c(seconds: float) -> None:
        raise KeyboardInterrupt

    pool = WorkerPool([slow, slow], "float32", stopped.set)
    status = train_members(members(1, 1, 1), pool, None, ignore_events, sleep=press_ctrl_c)
    assert status == "interrupted"
    assert stopped.is_set()


def test_no_member_starts_without_time() -> None:
    def never(member: Member, budget: float | None) -> float:
        pytest.fail("trained without time")

    clock = SimulatedClock()
    pool = WorkerPool([never], "float32")
    status = train_members(members(1), pool, clock() + 1, ignore_events, clock=clock)
    assert status == "time limit"


def test_with_too_many_members_the_first_ones_get_enough_time() -> None:
    budgets: list[float] = []
    clock = SimulatedClock()

    def trainer(member: Member, budget: float | None) -> float:
        assert budget is not None
        budgets.append(budget)
        clock.sleep(budget + 8.0)
        return 8.0

    pool = WorkerPool([trainer], "float32")
    end = clock() + 60
    train_members(members(*[1.0] * 30), pool, end, ignore_events, clock=clock)
    assert budgets[0] > 8.0
    assert 1 < len(budgets) < 30
