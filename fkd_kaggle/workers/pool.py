"""The interface between the scheduler and the slots in which members are trained.

A slot is a place for one training at a time: a process with a GPU or CPU threads on this machine
(``workers.local``), this process itself (``workers.in_process``), or a place on another machine.
Slots can join and can be lost while a run is trained. ``workers.schedule`` uses this interface and
knows nothing about processes or machines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.training.events import Event


@dataclass(frozen=True)
class Task:
    """A member to train in a slot."""

    title: str
    """Unique name among the tasks of a training, for messages."""
    run: Path
    """Folder of the member's run."""
    member: Member
    budget: float | None = None
    """Seconds of training in this call, without compilation and predictions; None for no limit."""
    seconds: float | None = None
    """Seconds from the start of the task until the predictions must be stored; None for no
    limit."""


@dataclass(frozen=True)
class SlotJoined:
    """A slot can be used from now on."""

    slot: str
    speed: float = 1.0
    """Training speed relative to the other slots."""


@dataclass(frozen=True)
class SlotLost:
    """A slot cannot be used any more."""

    slot: str
    error: Exception
    retry: bool = False
    """Whether the member that was trained there continues in another slot. Otherwise the member
    has failed."""
    trained: float = 0.0
    """Seconds that the member was trained there and that its checkpoint keeps."""


@dataclass(frozen=True)
class TaskEnded:
    """A member is trained and its predictions are stored; the slot is free."""

    slot: str
    overhead: float
    """Seconds that the task took besides training."""


@dataclass(frozen=True)
class TaskFailed:
    """A member cannot be trained; the slot is free."""

    slot: str
    error: Exception


@dataclass(frozen=True)
class TaskStopped:
    """A member was interrupted and its checkpoint is written; the slot is not used any more."""

    slot: str


Change = SlotJoined | SlotLost | TaskEnded | TaskFailed | TaskStopped

OnTaskEvent = Callable[[Task, Event], None]


class Pool(Protocol):
    """Slots that train at the same time; all methods are called in one thread."""

    @property
    def precision(self) -> str:
        """Dtype policy, with the number of slots and devices where there are several."""

    @property
    def may_grow(self) -> bool:
        """Whether slots can join after all slots were lost."""

    @property
    def waited(self) -> float:
        """Seconds that the pool waited for a machine before the first worker began to start."""

    def expect(self, members: int) -> None:
        """Take note of the number of members that are not trained yet, those in training included.

        A pool that shares its machines with others releases the slots that it does not need.
        """

    def start(self, slot: str, task: Task) -> None:
        """Begin to train a member in a free slot; return at once, or in a later ``wait``."""

    def wait(self, seconds: float, on_event: OnTaskEvent) -> Sequence[Change]:
        """Wait until something changes and return the changes, oldest first.

        Parameters
        ----------
        seconds
            Longest time to wait. A pool that trains in the caller's thread returns later.
        on_event
            Called, in the caller's thread, with the events of the trainings.
        """

    def interrupt(self) -> None:
        """Make all trainings write their checkpoint and stop; they report ``TaskStopped``."""

    def kill(self) -> None:
        """End all trainings at once; what they did since their last checkpoint is lost."""


StartPool = Callable[[], AbstractContextManager[Pool]]
"""Starts the slots of a pool; they end with the context. Entering it raises an FkdError if no slot
can be started."""

StartRunsPool = Callable[[Path, int], AbstractContextManager[Pool]]
"""Starts the slots of a pool for runs like the one in the given folder and for the given number of
members; they end with the context."""
