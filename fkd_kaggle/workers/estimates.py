"""Estimates of the work of members, from their shares and from measured epochs."""

from __future__ import annotations

from statistics import median
from typing import Final

from fkd_kaggle.training.events import EpochEnded, Event, MemberEnded
from fkd_kaggle.workers.pool import Task

_KEPT: Final = 32
"""Number of measurements of a recipe that are kept."""


class WorkEstimates:
    """Estimated seconds of members at speed 1, by recipe.

    Before the first measurement of a recipe, its share of the ensemble's time is the estimate, in
    proportion to the recipes that were measured.
    """

    def __init__(self) -> None:
        self._measured: dict[str, list[float]] = {}
        self._shares: dict[str, float] = {}
        self._medians: dict[str, float] = {}
        self._seconds_per_share = 1.0

    def observe(self, task: Task, event: Event, speed: float, done: float) -> float:
        """Learn from an event.

        Parameters
        ----------
        task
            The task that the event belongs to.
        event
            An event of its training.
        speed
            Speed of its slot.
        done
            Fraction of its epochs that were trained before the event.

        Returns
        -------
        Fraction of its epochs that are trained.
        """
        if isinstance(event, MemberEnded):
            return 1.0
        if not isinstance(event, EpochEnded):
            return done
        name = task.member.recipe.name
        self._shares[name] = max(task.member.share, 1e-6)
        values = self._measured.setdefault(name, [])
        values.append(event.seconds * event.epochs * speed)
        del values[:-_KEPT]
        self._medians[name] = median(values)
        ratios = [value / self._shares[one] for one, value in self._medians.items()]
        self._seconds_per_share = median(ratios)
        return event.epoch / max(event.epochs, 1)

    def is_measured(self, task: Task) -> bool:
        """Return whether an epoch of the task's recipe was measured."""
        return task.member.recipe.name in self._measured

    def remaining(self, task: Task, done: float = 0.0) -> float:
        """Return the estimated seconds of a task at speed 1.

        Parameters
        ----------
        task
            The task.
        done
            Fraction of its epochs that were trained.
        """
        whole = self._medians.get(task.member.recipe.name)
        if whole is None:
            whole = max(task.member.share, 1e-6) * self._seconds_per_share
        return whole * max(1.0 - done, 0.01)
