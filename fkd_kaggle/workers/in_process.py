"""A pool with one slot, which trains in the caller's thread.

For use as a library and on request (``--workers 0``): Ctrl-C is then handled between two training
steps, and a crash of the backend ends the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fkd_kaggle.errors import DataError, RecipeError
from fkd_kaggle.training.events import Event, OnEvent
from fkd_kaggle.workers.pool import (
    Change,
    OnTaskEvent,
    SlotJoined,
    Task,
    TaskEnded,
    TaskFailed,
    TaskStopped,
)

_SLOT = "this process"


class InProcessPool:
    """One slot in this process; see ``workers.pool.Pool``.

    Parameters
    ----------
    precision
        Dtype policy.
    train
        Trains a task, sends events to a callback and returns the seconds besides training.
    """

    may_grow = False
    waited = 0.0

    def __init__(self, precision: str, train: Callable[[Task, OnEvent], float]) -> None:
        self.precision = precision
        self._train = train
        self._joined = False
        self._task: Task | None = None

    def expect(self, members: int) -> None:
        """Do nothing: there is one slot."""

    def start(self, slot: str, task: Task) -> None:
        """Store the task; the next ``wait`` trains it."""
        self._task = task

    def wait(self, seconds: float, on_event: OnTaskEvent) -> Sequence[Change]:
        """Train the started task to its end."""
        if not self._joined:
            self._joined = True
            return [SlotJoined(_SLOT)]
        task, self._task = self._task, None
        if task is None:
            return []

        def notify(event: Event) -> None:
            on_event(task, event)

        try:
            return [TaskEnded(_SLOT, self._train(task, notify))]
        except (DataError, RecipeError) as error:
            return [TaskFailed(_SLOT, error)]
        except KeyboardInterrupt:
            return [TaskStopped(_SLOT)]

    def interrupt(self) -> None:
        """Do nothing: ``training.interruption`` stops the training, which is in this thread."""

    def kill(self) -> None:
        """Do nothing: no training runs while this method can be called."""
