"""The scheduler: which slot trains which member, and for how long.

Members are independent, so that several slots can train at the same time. This module assigns
members to slots, divides the time, gives the members of lost slots to other slots, and stops all
trainings after Ctrl-C or at the time limit. It trains nothing and knows nothing about processes or
machines: ``workers.pool`` is its interface to them. Everything happens in the caller's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fkd_kaggle.training.events import EpochEnded, Event, MemberFailed, Stopping
from fkd_kaggle.training.interruption import Interrupts, catch_interrupts
from fkd_kaggle.workers.estimates import WorkEstimates
from fkd_kaggle.workers.planning import next_members, seconds_per_share
from fkd_kaggle.workers.pool import (
    Change,
    OnTaskEvent,
    Pool,
    SlotJoined,
    SlotLost,
    Task,
    TaskEnded,
    TaskFailed,
    TaskStopped,
)

_FIRST_OVERHEAD: Final = 8.0
"""Assumed seconds that a member takes besides training, before the first is measured."""

_MIN_SECONDS: Final = 5.0
"""Time without which no member is started."""

_MIN_BUDGET: Final = 0.1
"""Seconds of training for a member whose budget was used up before its slot was lost."""

_POLL_SECONDS: Final = 0.2

STOP_SECONDS: Final = 6.0
"""Time for trainings to write their checkpoints before they are killed."""

_LATE_SECONDS: Final = 2.0
"""Time after the end at which members in training are stopped. They plan to end in time."""

MAX_LOSSES: Final = 5
"""A member that was lost this often with its slot has failed: it may be what kills the slots."""


@dataclass(frozen=True)
class Outcome:
    """How the training of members ended."""

    status: str
    """"finished", "time limit", "interrupted" or "failures"."""
    failures: Mapping[str, Exception]
    """Error of each failed member by the title of its task."""
    trained: int
    """Number of members that were trained."""


def train_members(
    tasks: Sequence[Task],
    pool: Pool,
    on_event: OnTaskEvent,
    *,
    end: float | None = None,
    latest: float | None = None,
    overhead: float = _FIRST_OVERHEAD,
    max_losses: int = MAX_LOSSES,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Train members in the slots of a pool.

    A member that cannot be trained is reported as an event and the others are trained. A slot that
    crashes gets no further member.

    Parameters
    ----------
    tasks
        Members to train. With a time limit they are trained in this order; otherwise the longest
        are trained first.
    pool
        The slots.
    on_event
        Called with the events of the trainings, with ``MemberFailed`` and ``Stopping``.
    end
        Time by which all members should be trained and their predictions stored, by ``clock``; None
        for no limit.
    latest
        Time at which members that are still in training or predicting are stopped, by ``clock``.
        Default: soon after ``end``.
    overhead
        Expected seconds that a member takes besides training; measured with each member.
    max_losses
        A member that was lost this often with its slot has failed.
    clock
        Returns the time in seconds.

    Returns
    -------
    Outcome
        The status, and the errors of the members that failed.
    """
    if latest is None and end is not None:
        latest = end + _LATE_SECONDS
    scheduler = _Scheduler(tasks, pool, on_event, (end, latest), overhead, max_losses, clock)

    def acknowledge() -> None:
        if tasks:
            on_event(tasks[0], Stopping("interrupted"))

    with catch_interrupts(acknowledge) as interrupts:
        scheduler.run(interrupts)
    return scheduler.outcome()


@dataclass
class _Entry:
    """A task and what is known about it."""

    task: Task
    done: float = 0.0
    """Fraction of its epochs that were trained."""
    losses: int = 0
    """How often it was lost with its slot."""


@dataclass
class _Slot:
    """A slot and what it does."""

    name: str
    speed: float
    entry: _Entry | None = None
    free_at: float = 0.0
    """Estimated end of its task, by the clock."""


class _Scheduler:
    """The members that are not trained yet, and the slots."""

    def __init__(
        self,
        tasks: Sequence[Task],
        pool: Pool,
        on_event: OnTaskEvent,
        ends: tuple[float | None, float | None],
        overhead: float,
        max_losses: int,
        clock: Callable[[], float],
    ) -> None:
        self.tasks, self.queue = tasks, [_Entry(task) for task in tasks]
        self.pool, self.on_event, self.clock = pool, on_event, clock
        self.end, self.latest = ends
        self.overhead, self.max_losses = overhead, max_losses
        self.estimates = WorkEstimates()
        self.slots: dict[str, _Slot] = {}
        self.working: dict[str, _Slot] = {}
        """Slot of each member in training, by the title of its task."""
        self.failures: dict[str, Exception] = {}
        self.start_error: Exception | None = None
        """Error of the last slot that was lost before it joined."""
        self.trained = 0
        self.status = "finished"
        self.changed = True
        self.kill_at: float | None = None
        """Time at which stopping trainings are killed; None while nothing is being stopped."""

    def run(self, interrupts: Interrupts) -> None:
        """Train until all members are trained or training is stopped."""
        joined = False
        while True:
            self._assign()
            if not self.working and (self._is_over() or (joined and not self._may_continue())):
                return
            waiting = 0 if self._is_over() else len(self.queue)
            self.pool.expect(waiting + len(self.working))
            try:
                changes = self.pool.wait(_POLL_SECONDS, self._pass_on)
            except KeyboardInterrupt:
                interrupts.count += 1
                changes = ()
            for change in changes:
                self._apply(change)
            joined = joined or bool(self.slots)
            if not self._watch(interrupts):
                return

    def outcome(self) -> Outcome:
        """Return the outcome."""
        status = self.status
        if self.failures and status == "finished":
            status = "failures"
        return Outcome(status, self.failures, self.trained)

    def _is_over(self) -> bool:
        return not self.queue or self.kill_at is not None or self.status == "time limit"

    def _may_continue(self) -> bool:
        """Return whether the queue can be continued: in a slot of now or of later."""
        if self.slots or self.pool.may_grow:
            return True
        error = self.start_error or next(reversed(self.failures.values()), None)
        for entry in self.queue:
            self.failures[entry.task.title] = error or RuntimeError("no slot is left")
        return False

    def _watch(self, interrupts: Interrupts) -> bool:
        """Stop the trainings where needed; return whether to continue."""
        now = self.clock()
        late = self.latest is not None and now > self.latest
        if self.kill_at is None and (interrupts.count or late):
            self._stop("interrupted" if interrupts.count else "time limit")
        if self.kill_at is not None and (interrupts.count > 1 or now > self.kill_at):
            self.pool.kill()
            return False
        return True

    def _stop(self, status: str) -> None:
        """Assign nothing more and stop all trainings at a checkpoint."""
        self.status = status
        self.kill_at = self.clock() + STOP_SECONDS
        if status == "time limit" and self.tasks:
            self.on_event(self.tasks[0], Stopping(status))
        self.pool.interrupt()

    def _pass_on(self, task: Task, event: Event) -> None:
        """Learn from an event and pass it on."""
        # Events that concern no member, such as Waiting, come without a task.
        slot = self.working.get(task.title) if task else None
        if slot and slot.entry:
            slot.entry.done = self.estimates.observe(task, event, slot.speed, slot.entry.done)
            self.changed = self.changed or isinstance(event, EpochEnded)
        self.on_event(task, event)

    def _apply(self, change: Change) -> None:
        """Update the state after a change."""
        self.changed = True
        if isinstance(change, SlotJoined):
            self.slots[change.slot] = _Slot(change.slot, change.speed)
            return
        slot = self.slots.get(change.slot)
        if slot is None:
            if isinstance(change, SlotLost):
                self.start_error = change.error
            return
        entry, slot.entry = slot.entry, None
        if entry is not None:
            self.working.pop(entry.task.title, None)
        match change:
            case TaskEnded():
                self.overhead, self.trained = change.overhead, self.trained + 1
            case TaskFailed():
                self._fail(entry, change.error)
            case SlotLost():
                del self.slots[slot.name]
                self._lose(entry, change, slot.speed)
            case TaskStopped():
                del self.slots[slot.name]
                if self.kill_at is None:  # Ctrl-C in a pool that trains in this thread
                    self._stop("interrupted")

    def _lose(self, entry: _Entry | None, change: SlotLost, speed: float) -> None:
        """Continue the member of a lost slot elsewhere, or report it as failed.

        ``speed`` is that of the slot.
        """
        if entry is None or self.kill_at is not None:
            return
        entry.losses += 1
        if change.retry and entry.losses < self.max_losses:
            entry.task = _with_budget_left(entry.task, change.trained * speed)
            self.queue.insert(0, entry)
        else:
            self._fail(entry, change.error)

    def _fail(self, entry: _Entry | None, error: Exception) -> None:
        if entry is not None:
            self.failures[entry.task.title] = error
            self.on_event(entry.task, MemberFailed(entry.task.member.name, str(error)))

    def _assign(self) -> None:
        """Start a member in each free slot."""
        if not self.changed or self.kill_at is not None:
            return
        self.changed = False
        free = [slot for slot in self.slots.values() if slot.entry is None]
        if not free or not self.queue:
            return
        if self.end is None:
            self._assign_longest_first()
        else:
            for slot in sorted(free, key=lambda slot: -slot.speed):
                self._assign_in_order(slot, self.end)

    def _assign_longest_first(self) -> None:
        """Start members so that the last ends as early as possible."""
        now, slots = self.clock(), list(self.slots.values())
        busy = [self._seconds_until_free(slot, now) for slot in slots]
        work = [self.estimates.remaining(entry.task, entry.done) for entry in self.queue]
        chosen = next_members(work, busy, [slot.speed for slot in slots], self._unknown())
        for index, member in chosen.items():
            slot, entry = slots[index], self.queue[member]
            slot.free_at = now + work[member] / slot.speed
            self._start(slot, entry, None)
        started = {id(self.queue[member]) for member in chosen.values()}
        self.queue = [entry for entry in self.queue if id(entry) not in started]

    def _unknown(self) -> set[int]:
        """Return the position in the queue of one member of each recipe that is not measured.

        They are started first: shares are rough estimates, and a long member that is recognized
        late ends late.
        """
        running = {slot.entry.task.member.recipe.name for slot in self.slots.values() if slot.entry}
        found: dict[str, int] = {}
        for position, entry in enumerate(self.queue):
            name = entry.task.member.recipe.name
            if name not in running and not self.estimates.is_measured(entry.task):
                found.setdefault(name, position)
        return set(found.values())

    def _seconds_until_free(self, slot: _Slot, now: float) -> float:
        """Return the estimated seconds until a slot is free; 0 if it is free."""
        if slot.entry is None:
            return 0.0
        # At least a little: an estimate that was too small does not make a busy slot free.
        return max(
            slot.free_at - now, 0.05 * self.estimates.remaining(slot.entry.task) / slot.speed
        )

    def _assign_in_order(self, slot: _Slot, end: float) -> None:
        """Start the next member in a slot, for its part of the time that is left."""
        if not self.queue:
            return
        seconds = self._member_seconds(slot, end)
        if seconds <= 0:
            self.status = "time limit"
            return
        slot.free_at = self.clock() + seconds
        self._start(slot, self.queue.pop(0), seconds)

    def _member_seconds(self, slot: _Slot, end: float) -> float:
        """Return the seconds for the next member; 0 if there is no time left for it."""
        now = self.clock()
        slots = list(self.slots.values())
        busy = [max(0.0, one.free_at - now) if one.entry else 0.0 for one in slots]
        speeds = [one.speed for one in slots]
        shares = [entry.task.member.share for entry in self.queue]
        left = end - now
        pace = seconds_per_share(busy, shares, left, self.overhead, speeds)
        if not pace:
            # Too many members for the time: train as many as can train for as long as their
            # overhead.
            count = max(1, len(slots) * int(left / (2 * self.overhead)))
            shares = shares[:count]
            pace = seconds_per_share(busy, shares, left, self.overhead, speeds)
        if not pace:
            # The overhead is an estimate: at least one member is trained, if only for a moment.
            alone = not self.trained and not self.working
            return left if alone and left > _MIN_SECONDS else 0.0
        return min(left, (self.overhead + shares[0] * pace) / slot.speed)

    def _start(self, slot: _Slot, entry: _Entry, seconds: float | None) -> None:
        slot.entry = replace(entry)
        self.working[entry.task.title] = slot
        # Equal budgets mean equal amounts of training, in slow slots as well.
        budget = entry.task.budget
        budget = None if budget is None else budget / slot.speed
        self.pool.start(slot.name, replace(entry.task, seconds=seconds, budget=budget))


def _with_budget_left(task: Task, trained: float) -> Task:
    """Return a task with the budget that is left after ``trained`` seconds at speed 1."""
    if task.budget is None:
        return task
    return replace(task, budget=max(task.budget - trained, _MIN_BUDGET))
