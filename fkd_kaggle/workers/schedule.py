"""The scheduler: which worker trains which member, and for how long.

Members are independent, so that several workers can train at the same time. This module assigns
members to workers and divides the time. It trains nothing and knows nothing about processes or
devices.
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

_FIRST_OVERHEAD = 8.0
"""Assumed seconds that a member takes besides training, before the first is measured."""

_POLL_SECONDS = 0.2


class MemberTrainer(Protocol):
    """Trains one member at a time."""

    def __call__(self, member: Member, budget: float | None) -> float:
        """Train a member for at most ``budget`` seconds; return the seconds besides training."""


class RunsTrainer(Protocol):
    """Trains one member at a time, of any of several runs."""

    def __call__(self, run: Path, member: Member, budget: float | None, on_event: OnEvent) -> float:
        """Train a member.

        Parameters
        ----------
        run
            Folder of the run.
        member
            A member of the run.
        budget
            Seconds for the training; None for no limit.
        on_event
            Called with the events of the training.

        Returns
        -------
        The seconds besides training.

        Raises
        ------
        RecipeError, DataError
            This member cannot be trained; the trainer can be used for others.
        """


AnyTrainer = TypeVar("AnyTrainer", MemberTrainer, RunsTrainer)


@dataclass(frozen=True)
class WorkerPool(Generic[AnyTrainer]):
    """Workers that train at the same time."""

    trainers: Sequence[AnyTrainer]
    """A function for each worker; each is called in a thread of its own."""
    precision: str
    """Dtype policy, with the number of workers and devices where there are several."""
    stop: Callable[[], None] | None = None
    """Makes all trainers raise KeyboardInterrupt soon. None for a single trainer that works in the
    caller's thread, where Ctrl-C interrupts it."""

    def adapt(self, wrap: Callable[[AnyTrainer], MemberTrainer]) -> WorkerPool[MemberTrainer]:
        """Return the same workers with each trainer wrapped."""
        return WorkerPool([wrap(trainer) for trainer in self.trainers], self.precision, self.stop)


StartWorkers = Callable[[OnEvent], AbstractContextManager[WorkerPool[MemberTrainer]]]
"""Starts workers that send events to the given callback; they end with the context."""

StartRunsWorkers = Callable[[Path, int], AbstractContextManager[WorkerPool[RunsTrainer]]]
"""Starts workers for runs like the one in the given folder and for the given number of members;
they end with the context."""


def train_members(
    members: Sequence[Member],
    pool: WorkerPool[MemberTrainer],
    end: float | None,
    on_event: OnEvent,
    *,
    latest: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Train members on the workers of a pool.

    With several workers, a failing member is reported as an event, its worker gets no further
    member, and the other workers continue.

    Parameters
    ----------
    members
        Members to train, in this order.
    pool
        The workers.
    end
        Time by which all members should be trained, by ``clock``; None for no limit.
    on_event
        Called with ``MemberFailed``.
    latest
        Time at which members in training are stopped, by ``clock``; None for never.
    clock
        Returns the time in seconds.
    sleep
        Waits for a number of seconds.

    Returns
    -------
    "finished", "time limit", "interrupted" or "failures".

    Raises
    ------
    Exception
        The first error of a worker, if no worker trained any member.
    """
    queue = _MemberQueue(members, len(pool.trainers), end, clock)
    if pool.stop is None:
        try:
            queue.work(0, pool.trainers[0])
        except KeyboardInterrupt:
            return "interrupted"
        return queue.status
    _work_in_threads(queue, pool, pool.stop, on_event, latest, clock, sleep)
    if queue.failures and not queue.trained and queue.status != "interrupted":
        raise queue.failures[0]
    if queue.failures and queue.status == "finished":
        queue.status = "failures"
    return queue.status


def seconds_per_share(
    busy: Sequence[float], shares: Sequence[float], seconds: float, overhead: float
) -> float:
    """Return the training seconds for each unit of share so that a queue fits into a time.

    Parameters
    ----------
    busy
        Seconds until each worker is free.
    shares
        Shares of the members in the queue. Each goes to the worker that is free first.
    seconds
        Available seconds.
    overhead
        Seconds that each member takes besides training.

    Returns
    -------
    0 if not even the overheads fit.
    """

    def last_end(pace: float) -> float:
        free_at, last = list(busy), 0.0
        heapq.heapify(free_at)
        for share in shares:
            last = max(last, end := free_at[0] + overhead + pace * share)
            heapq.heapreplace(free_at, end)
        return last

    low, high = 0.0, max(seconds, 0.0) / max(*shares, 1e-9)
    if last_end(low) >= seconds:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if last_end(middle) <= seconds else (low, middle)
    return low


def _work_in_threads(
    queue: _MemberQueue,
    pool: WorkerPool[MemberTrainer],
    stop: Callable[[], None],
    on_event: OnEvent,
    latest: float | None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Train with a thread for each worker; stop the workers late or after Ctrl-C."""
    threads = [
        threading.Thread(target=queue.work_safely, args=(worker, trainer, on_event), daemon=True)
        for worker, trainer in enumerate(pool.trainers)
    ]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            sleep(_POLL_SECONDS)  # Python handles Ctrl-C between these waits
            if latest is not None and clock() > latest and not queue.closed:
                queue.close("time limit")
                stop()
    except KeyboardInterrupt:
        queue.close("interrupted")
        stop()
    for thread in threads:
        thread.join()


class _MemberQueue:
    """The members that are not assigned yet; shared by the threads of all workers."""

    def __init__(
        self,
        members: Sequence[Member],
        workers: int,
        end: float | None,
        clock: Callable[[], float],
    ) -> None:
        self.members, self.end, self.clock = deque(members), end, clock
        self.lock = threading.Lock()
        self.free_at, self.current = [0.0] * workers, [""] * workers
        # Compiling and predicting; measured with each member.
        self.overhead = _FIRST_OVERHEAD
        self.status, self.closed = "finished", False
        self.trained = 0
        self.failures: list[Exception] = []

    def work(self, worker: int, trainer: MemberTrainer) -> None:
        """Train member after member until none is left or the time is over."""
        while (assignment := self._next(worker)) is not None:
            overhead = trainer(*assignment)
            with self.lock:
                self.overhead, self.trained = overhead, self.trained + 1

    def work_safely(self, worker: int, trainer: MemberTrainer, on_event: OnEvent) -> None:
        """Do ``work`` in a thread: store the error and report it instead of raising it."""
        try:
            self.work(worker, trainer)
        except KeyboardInterrupt:
            return
        except Exception as error:
            self.failures.append(error)
            on_event(MemberFailed(self.current[worker], str(error)))

    def close(self, status: str) -> None:
        """Assign no further members."""
        with self.lock:
            self.status, self.closed = status, True

    def _next(self, worker: int) -> tuple[Member, float | None] | None:
        """Return the next member and its budget; None if the worker is done."""
        with self.lock:
            if self.closed or not self.members:
                return None
            budget = None
            if self.end is not None:
                budget = self._budget(worker, self.end)
                if budget <= 0:
                    self.status = "time limit"
                    return None
            member = self.members.popleft()
            self.current[worker] = member.name
            return member, budget

    def _budget(self, worker: int, end: float) -> float:
        """Return the training seconds of the next member; 0 if there is no time left."""
        now = self.clock()
        self.free_at[worker] = now
        busy = [max(0.0, free_at - now) for free_at in self.free_at]
        shares = [member.share for member in self.members]
        seconds = end - now
        pace = seconds_per_share(busy, shares, seconds, self.overhead)
        if not pace:
            # Too many members for the time: train as many as can train for as long as their
            # overhead.
            count = len(busy) * int(seconds / (2 * self.overhead))
            pace = seconds_per_share(busy, shares[:count], seconds, self.overhead) if count else 0.0
        budget = shares[0] * pace
        if budget > 0:
            self.free_at[worker] = now + self.overhead + budget
        return budget
