"""Who trains the members, and in how many seconds each: one after the other, or several at once.

Members are independent, so a machine with several GPUs trains one on each. This module hands them
out and divides the time; it trains nothing and knows nothing of processes or devices.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.training.events import MemberFailed, OnEvent

_FIRST_EXTRA = 8.0


class MemberTrainer(Protocol):
    """Trains one member at a time."""

    def __call__(self, member: Member, budget: float | None) -> float:
        """Train a member in ``budget`` seconds; return the seconds it took besides training."""


class RunsTrainer(Protocol):
    """Trains one member at a time, of any of the runs it was started for."""

    def __call__(self, run: Path, member: Member, budget: float | None, on_event: OnEvent) -> float:
        """Train a member of the run in a folder in ``budget`` seconds, telling ``on_event``.

        Returns
        -------
        The seconds it took besides training.

        Raises
        ------
        RecipeError, DataError
            This member cannot be trained; the trainer is there for others.
        """


AnyTrainer = TypeVar("AnyTrainer", MemberTrainer, RunsTrainer)


@dataclass(frozen=True)
class WorkerPool(Generic[AnyTrainer]):
    """Trainers that work at the same time, each in a thread of its own."""

    trainers: Sequence[AnyTrainer]
    precision: str
    """The dtype policy they compute in."""
    stop: Callable[[], None] | None = None
    """Makes all trainers raise KeyboardInterrupt soon. None for a lone trainer that works in the
    caller's thread, where Ctrl-C reaches it."""

    def told(self, how: Callable[[AnyTrainer], MemberTrainer]) -> WorkerPool[MemberTrainer]:
        """Return the same crew, each of its trainers told what to do as ``how`` says."""
        return WorkerPool([how(trainer) for trainer in self.trainers], self.precision, self.stop)


Hire = Callable[[OnEvent], AbstractContextManager[WorkerPool[MemberTrainer]]]
"""Starts a crew that tells its events to the given callback, and sends it home at the end."""

HireForRuns = Callable[[Path, int], AbstractContextManager[WorkerPool[RunsTrainer]]]
"""Starts a crew for so many members of a run and others like it; sends it home at the end."""


def train_members(
    todo: Sequence[Member],
    crew: WorkerPool[MemberTrainer],
    end: float | None,
    on_event: OnEvent,
    *,
    late: float | None = None,
) -> str:
    """Have all members trained; return how it ended.

    That is "finished", "time limit", "interrupted" or "failures". With several trainers, a member
    that fails is told as an event and its trainer gets no other; the rest goes on.

    Parameters
    ----------
    end
        When all should be done, by ``time.monotonic``; None for no limit.
    late
        When those still at work are stopped; None for never.

    Raises
    ------
    Exception
        What the first failing trainer raised, if none trained anything.
    """
    board = _MemberQueue(todo, len(crew.trainers), end)
    if crew.stop is None:
        try:
            board.lane(0, crew.trainers[0])
        except KeyboardInterrupt:
            return "interrupted"
        return board.ending
    threads = [
        threading.Thread(target=board.guarded, args=(lane, trainer, on_event), daemon=True)
        for lane, trainer in enumerate(crew.trainers)
    ]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)  # short, for Ctrl-C is heard between waits
            if late is not None and time.monotonic() > late and not board.closed:
                board.close("time limit")
                crew.stop()
    except KeyboardInterrupt:
        board.close("interrupted")
        crew.stop()
    for thread in threads:
        thread.join()
    if board.failures and not board.trained and board.ending != "interrupted":
        raise board.failures[0]
    if board.failures and board.ending == "finished":
        board.ending = "failures"
    return board.ending


def seconds_per_share(
    busy: Sequence[float], shares: Sequence[float], seconds: float, extra: float
) -> float:
    """Return the training seconds for each unit of share with which a queue fits into a time.

    Parameters
    ----------
    busy
        Seconds until each trainer is free.
    shares
        Of the members left, in the order in which they are handed out, each to the trainer that
        is free first.
    seconds
        What is left in all.
    extra
        Seconds each member takes besides its training.

    Returns
    -------
    0 where not even the extras fit.
    """

    def last_end(pace: float) -> float:
        lanes, ends = list(busy), 0.0
        heapq.heapify(lanes)
        for share in shares:
            ends = max(ends, end := lanes[0] + extra + pace * share)
            heapq.heapreplace(lanes, end)
        return ends

    low, high = 0.0, max(seconds, 0.0) / max(*shares, 1e-9)
    if last_end(low) >= seconds:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if last_end(middle) <= seconds else (low, middle)
    return low


class _MemberQueue:
    """The members still to be trained, seen by all lanes."""

    def __init__(self, todo: Sequence[Member], lanes: int, end: float | None) -> None:
        self.todo, self.end = deque(todo), end
        self.lock = threading.Lock()
        self.free_at, self.current = [0.0] * lanes, [""] * lanes
        # Seconds a member takes besides its training: compiling, predicting. Measured as we go.
        self.extra = _FIRST_EXTRA
        self.ending, self.closed = "finished", False
        self.trained = 0
        self.failures: list[Exception] = []

    def lane(self, number: int, trainer: MemberTrainer) -> None:
        """Train one member after the other until none is left or the time is up."""
        while (turn := self._next(number)) is not None:
            extra = trainer(*turn)
            with self.lock:
                self.extra, self.trained = extra, self.trained + 1

    def guarded(self, number: int, trainer: MemberTrainer, on_event: OnEvent) -> None:
        """Do a lane's work in a thread, where nobody would catch what it raises."""
        try:
            self.lane(number, trainer)
        except KeyboardInterrupt:
            return
        except Exception as error:
            self.failures.append(error)
            on_event(MemberFailed(self.current[number], str(error)))

    def close(self, ending: str) -> None:
        """Hand out no more."""
        with self.lock:
            self.ending, self.closed = ending, True

    def _next(self, lane: int) -> tuple[Member, float | None] | None:
        with self.lock:
            if self.closed or not self.todo:
                return None
            budget = None
            if self.end is not None:
                now = time.monotonic()
                self.free_at[lane] = now
                busy = [max(0.0, at - now) for at in self.free_at]
                shares = [member.share for member in self.todo]
                seconds = self.end - now
                speed = seconds_per_share(busy, shares, seconds, self.extra)
                if not speed:
                    # Too many for the time: as many as get to train as long as they get ready.
                    able = len(busy) * int(seconds / (2 * self.extra))
                    speed = (
                        seconds_per_share(busy, shares[:able], seconds, self.extra) if able else 0.0
                    )
                budget = shares[0] * speed
                if budget <= 0:
                    self.ending = "time limit"
                    return None
                self.free_at[lane] = now + self.extra + budget
            member = self.todo.popleft()
            self.current[lane] = member.name
            return member, budget
