"""A pool with a simulated clock, for tests of the scheduler.

A member takes the seconds of its ``share`` (or of ``work``) divided by the speed of its slot. With
a time limit it trains until its time is over. Epochs end at every tenth of a member and are
checkpoints: a member that is lost continues from there.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fkd_kaggle.errors import RecipeError
from fkd_kaggle.training.events import EpochEnded
from fkd_kaggle.workers.pool import (
    Change,
    OnTaskEvent,
    SlotJoined,
    SlotLost,
    Task,
    TaskEnded,
    TaskFailed,
    TaskStopped,
)

EPOCHS = 10


@dataclass(frozen=True)
class SimulatedSlot:
    """A slot that joins and is lost at fixed times."""

    name: str
    speed: float = 1.0
    joins_at: float = 0.0
    lost_at: float | None = None
    retry: bool = True
    """Whether its member continues elsewhere."""


@dataclass
class _State:
    slot: SimulatedSlot
    task: Task | None = None
    began: float = 0.0
    generation: int = 0
    """Number of tasks so far: outdated entries of the agenda are recognized by it."""
    done_before: float = 0.0
    """Fraction of the task that was trained before."""


@dataclass
class SimulatedPool:
    """Slots in simulated time; see ``workers.pool.Pool``."""

    slots: Sequence[SimulatedSlot]
    failing: set[str] = field(default_factory=set)
    work: Mapping[str, float] = field(default_factory=dict)
    """Seconds at speed 1 by title; the member's share by default."""
    overhead: float = 0.0
    obedient: bool = True
    """Whether members end when their time is over."""
    stops: bool = True
    """Whether members stop when they are interrupted."""
    jumps: bool = True
    """Whether ``wait`` advances to the next change at once, to save time in long simulations."""
    precision: str = "float32"

    def __post_init__(self) -> None:
        self.now = self.started = 1000.0
        self.trained: list[str] = []
        self.seconds: dict[str, float] = {}
        self.budgets: list[float | None] = []
        """Budget of each task that was started."""
        self.expected = 0
        self.killed = False
        self.used = 0.0
        """Slot seconds, multiplied by speeds, that were spent on training."""
        self._done: dict[str, float] = {}
        self._states: dict[str, _State] = {}
        self._numbers = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], Any]]] = []
        for slot in self.slots:
            self.at(slot.joins_at, partial(self._join, slot))
            if slot.lost_at is not None:
                self.at(slot.lost_at, partial(self._lose, slot))

    def clock(self) -> float:
        """Return the simulated time in seconds."""
        return self.now

    def at(self, seconds: float, action: Callable[[], Any]) -> None:
        """Call a function some seconds after the beginning."""
        self._add(self.started + seconds, action)

    @property
    def waited(self) -> float:
        """Return 0: a slot joins at once."""
        return 0.0

    @property
    def may_grow(self) -> bool:
        """Return whether slots join later."""
        return any(self.started + slot.joins_at > self.now for slot in self.slots)

    def expect(self, members: int) -> None:
        """Note the number: slots join and are lost at fixed times."""
        self.expected = members

    def start(self, slot: str, task: Task) -> None:
        """Plan the epochs and the end of a task."""
        state = self._states[slot]
        assert state.task is None, f"{slot} is not free"
        state.task, state.began = task, self.now
        state.generation += 1
        state.done_before = self._done.get(task.title, 0.0)
        self.budgets.append(task.budget)
        if task.title in self.failing:
            self._add(self.now + 1, self._ending(state, self._fail))
            return
        if task.seconds is not None and self.obedient:
            self._add(self.now + task.seconds, self._ending(state, self._end))
            return
        work, done = self._work(task), state.done_before
        speed = state.slot.speed
        epoch_seconds = work / EPOCHS / speed
        for epoch in range(round(done * EPOCHS) + 1, EPOCHS + 1):
            ends = self.now + (epoch / EPOCHS - done) * work / speed
            self._add(ends, self._epoch(state, epoch, epoch_seconds))
        ends = self.now + (1 - done) * work / speed + self.overhead
        self._add(ends, self._ending(state, self._end))

    def wait(self, seconds: float, on_event: OnTaskEvent) -> Sequence[Change]:
        """Advance the clock to the next change, or by ``seconds`` if nothing is planned."""
        changes: list[Change] = []
        while self._agenda and not changes:
            if not self.jumps and self._agenda[0][0] > self.now + seconds:
                break
            time, _, action = heapq.heappop(self._agenda)
            self.now = max(self.now, time)
            result = action()
            if isinstance(result, tuple):
                on_event(*result)
                return []
            changes += result if isinstance(result, list) else []
            if result is None:
                return []
        if not changes:
            self.now += seconds
        while self._agenda and self._agenda[0][0] <= self.now:
            result = heapq.heappop(self._agenda)[2]()
            if isinstance(result, tuple):
                on_event(*result)
            changes += result if isinstance(result, list) else []
        return changes

    def interrupt(self) -> None:
        """Stop all members after a second."""
        for state in self._states.values():
            if state.task and self.stops:
                self._add(self.now + 1, self._ending(state, lambda s, _: [TaskStopped(s.name)]))

    def kill(self) -> None:
        """Note the call."""
        self.killed = True

    def _work(self, task: Task) -> float:
        return self.work.get(task.title, task.member.share)

    def _add(self, time: float, action: Callable[[], Any]) -> None:
        heapq.heappush(self._agenda, (time, next(self._numbers), action))

    def _join(self, slot: SimulatedSlot) -> list[Change]:
        self._states[slot.name] = _State(slot)
        return [SlotJoined(slot.name, slot.speed)]

    def _lose(self, slot: SimulatedSlot) -> list[Change]:
        state = self._states.pop(slot.name)
        trained = 0.0
        if state.task:
            self.used += (self.now - state.began) * slot.speed
            done = self._done.get(state.task.title, 0.0) - state.done_before
            trained = done * self._work(state.task) / slot.speed
        return [SlotLost(slot.name, RuntimeError("node lost"), slot.retry, trained)]

    def _ending(
        self, state: _State, ending: Callable[[SimulatedSlot, Task], list[Change]]
    ) -> Callable[[], Any]:
        generation = state.generation

        def end() -> Any:
            if not self._is_current(state, generation):
                return []
            task, state.task = state.task, None
            assert task is not None
            self.used += (self.now - state.began) * state.slot.speed
            return ending(state.slot, task)

        return end

    def _epoch(self, state: _State, epoch: int, seconds: float) -> Callable[[], Any]:
        generation = state.generation

        def end() -> Any:
            if not self._is_current(state, generation):
                return []
            assert state.task is not None
            self._done[state.task.title] = epoch / EPOCHS
            name = state.task.member.name
            return state.task, EpochEnded(
                name, epoch, EPOCHS, 1.0, None, None, 0.1, 1.0, seconds, 0.0
            )

        return end

    def _is_current(self, state: _State, generation: int) -> bool:
        alive = self._states.get(state.slot.name) is state
        return alive and state.generation == generation and state.task is not None

    def _end(self, slot: SimulatedSlot, task: Task) -> list[Change]:
        self.trained.append(task.title)
        self.seconds[task.title] = self.now - self._states[slot.name].began
        return [TaskEnded(slot.name, self.overhead)]

    def _fail(self, slot: SimulatedSlot, task: Task) -> list[Change]:
        return [TaskFailed(slot.name, RecipeError("cannot be trained"))]
