"""Who trains what, and how long: fair shares of the time; failures and stops lose little."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.events import Event, MemberFailed, ignore_events
from fkd_kaggle.workers.schedule import WorkerPool, seconds_per_share, train_members

SHARES = st.lists(st.floats(0.1, 10), min_size=1, max_size=12)


def members(*shares: float) -> list[Member]:
    return [Member(f"m{i}", Recipe("r"), i, i, share) for i, share in enumerate(shares)]


def no_stop() -> None:
    pytest.fail("stopped though nobody asked for it")


@given(SHARES, st.floats(1, 1e5), st.floats(0, 5))
def test_alone_every_member_gets_its_share_of_what_the_extras_leave(
    shares: list[float], seconds: float, extra: float
) -> None:
    expected = max(0.0, (seconds - extra * len(shares)) / sum(shares))
    assert seconds_per_share([0.0], shares, seconds, extra) == pytest.approx(
        expected, rel=1e-6, abs=1e-6
    )


@given(st.lists(st.floats(0, 50), min_size=1, max_size=4), SHARES, st.floats(60, 1e4))
def test_together_they_end_in_time_and_waste_little(
    busy: list[float], shares: list[float], seconds: float
) -> None:
    one = seconds_per_share(busy, shares, seconds, 1.0)
    free = list(busy)
    for share in shares:
        lane = free.index(min(free))
        free[lane] += 1.0 + one * share
        assert free[lane] <= seconds + 1e-3
    # All trainers together have at least as much time for them as the busiest one alone.
    assert one >= seconds_per_share([max(busy)], shares, seconds, 1.0) - 1e-6


def test_three_members_on_two_devices_get_half_of_the_time_each() -> None:
    assert seconds_per_share([0.0, 0.0], [1.0, 1.0, 1.0], 100.0, 0.0) == pytest.approx(50)


def test_every_member_is_trained_once_whoever_is_free() -> None:
    lock, trained = threading.Lock(), list[str]()

    def trainer(member: Member, budget: float | None) -> float:
        assert budget is None
        with lock:
            trained.append(member.name)
        time.sleep(0.01 * member.share)
        return 0.0

    todo = members(5, 1, 1, 1, 1)
    assert (
        train_members(todo, WorkerPool([trainer] * 2, "float32", no_stop), None, ignore_events)
        == "finished"
    )
    assert sorted(trained) == [member.name for member in todo]


def test_a_member_that_fails_is_told_and_the_others_go_on() -> None:
    events: list[Event] = []
    trained: list[str] = []

    def good(member: Member, budget: float | None) -> float:
        time.sleep(0.02)
        trained.append(member.name)
        return 0.0

    def bad(member: Member, budget: float | None) -> float:
        raise RuntimeError("out of memory")

    ending = train_members(
        members(1, 1, 1, 1), WorkerPool([good, bad], "float32", no_stop), None, events.append
    )
    assert ending == "failures"
    (failed,) = events
    assert isinstance(failed, MemberFailed)
    assert failed.reason == "out of memory"
    assert len(trained) == 3
    assert failed.member not in trained
    with pytest.raises(RuntimeError, match="out of memory"):
        train_members(
            members(1, 1), WorkerPool([bad, bad], "float32", no_stop), None, ignore_events
        )


def test_who_is_late_is_stopped_with_what_there_is() -> None:
    stopped = threading.Event()

    def stuck(member: Member, budget: float | None) -> float:
        assert budget is not None
        assert stopped.wait(30)
        raise KeyboardInterrupt

    began = time.monotonic()
    crew = WorkerPool([stuck, stuck], "float32", stopped.set)
    end = began + 60
    assert train_members(members(1, 1), crew, end, ignore_events, late=began + 0.5) == "time limit"
    assert time.monotonic() - began < 20


def test_ctrl_c_stops_the_crew(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()

    def slow(member: Member, budget: float | None) -> float:
        assert stopped.wait(30)
        raise KeyboardInterrupt

    waited: list[float] = []

    def pressed(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("fkd_kaggle.workers.schedule.time.sleep", pressed)
    crew = WorkerPool([slow, slow], "float32", stopped.set)
    assert train_members(members(1, 1, 1), crew, None, ignore_events) == "interrupted"


def test_no_time_is_said_before_anything_is_begun() -> None:
    def never(member: Member, budget: float | None) -> float:
        pytest.fail("trained without time")

    now = time.monotonic()
    assert (
        train_members(members(1), WorkerPool([never], "float32"), now + 1, ignore_events)
        == "time limit"
    )


def test_too_many_for_the_time_leaves_the_last_ones_out() -> None:
    """Thirty networks and a minute: some are trained, and for a while, instead of none."""
    budgets: list[float] = []

    def trainer(member: Member, budget: float | None) -> float:
        assert budget is not None
        budgets.append(budget)
        return 8.0

    train_members(
        members(*[1.0] * 30), WorkerPool([trainer], "float32"), time.monotonic() + 60, ignore_events
    )
    assert budgets[0] > 8.0
