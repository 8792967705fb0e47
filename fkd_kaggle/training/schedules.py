"""Learning rate schedules and the time budget of a training.

Computes numbers only; ``training.trainer`` applies them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from fkd_kaggle.recipes.schema import Recipe

_CROP_SEARCH_FACTOR: Final = 1.5
"""Time of a prediction with crop search relative to one without; 1.9 at most, when 3 % of the faces
are searched in 29 windows each."""

_SAFETY: Final = 1.2

_FIXED_SECONDS: Final = 1.0
"""Time to write the files of a member."""


class Schedule:
    """The learning rate of a recipe's ``schedule`` and the epochs at which it is validated.

    Parameters
    ----------
    recipe
        Names the schedule: "cosine", "plateau" or "constant".
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._reduction = 1.0

    @property
    def keeps_last(self) -> bool:
        """Return whether training keeps the last weights rather than the best ones.

        A cosine schedule reaches its best weights at the end by design. Selecting the epoch with
        the best validation score would make the score too optimistic.
        """
        return self._recipe.schedule == "cosine" or (
            self._recipe.schedule == "constant" and not self._recipe.patience
        )

    @property
    def reduced_rate(self) -> float:
        """Return the learning rate after the reductions of "plateau"."""
        return self._recipe.learning_rate * self._reduction

    def resume(self, rate: float) -> None:
        """Continue with a stored ``reduced_rate``."""
        self._reduction = rate / self._recipe.learning_rate or 1.0

    def rate(self, epoch: int, fraction: float) -> float:
        """Return the learning rate of an epoch.

        Parameters
        ----------
        epoch
            The epoch, from 0.
        fraction
            Finished fraction of the training in the middle of the epoch, so that the last epoch
            does not train with a rate of zero.
        """
        if self._recipe.schedule != "cosine":
            return self.reduced_rate
        rate = self._recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * fraction))
        return rate * 0.3 if epoch == 0 else rate  # the first epoch replaces a warm-up

    def validates(self, epoch: int) -> bool:
        """Return whether to validate after an epoch (from 0).

        Every fifth epoch is enough where the score decides nothing.
        """
        return not self.keeps_last or bool(self._recipe.patience) or epoch % 5 == 4

    def update(self, epochs_since_best: int) -> None:
        """Halve the rate of "plateau" after each five epochs without a better score."""
        if self._recipe.schedule == "plateau" and epochs_since_best and epochs_since_best % 5 == 0:
            self._reduction = max(self._reduction * 0.5, 1e-3)


class TimeBudget:
    """Elapsed and remaining time of a training that ends by epochs or by a time limit.

    Parameters
    ----------
    epochs
        Epochs of the training.
    limit
        Seconds for the whole training, earlier calls included; None for no limit.
    clock
        Returns the time in seconds.
    deadline
        Time, by ``clock``, at which everything must be done, the predictions that follow the
        training included; None for no deadline.
    """

    def __init__(
        self,
        epochs: int,
        limit: float | None,
        clock: Callable[[], float] = time.monotonic,
        deadline: float | None = None,
    ) -> None:
        self.epochs = epochs
        """Largest number of epochs."""
        self._limit, self._clock, self._deadline = limit, clock, deadline
        self._started = clock()
        self._earlier = 0.0
        self.tail = 0.0
        """Seconds before the deadline that are reserved for what follows the training."""

    def resume(self, seconds: float) -> None:
        """Add the seconds that earlier calls trained."""
        self._earlier = seconds

    @property
    def seconds(self) -> float:
        """Return the elapsed seconds, earlier calls included."""
        return self._earlier + self._clock() - self._started

    @property
    def is_exhausted(self) -> bool:
        """Return whether the time limit is reached."""
        limit = self._seconds_limit()
        return limit is not None and self.seconds >= limit

    def fraction(self, epochs: float) -> float:
        """Return the finished fraction of the training, 0 to 1, after a number of epochs.

        By epochs or by time, whichever is larger.
        """
        fraction = epochs / self.epochs
        limit = self._seconds_limit()
        if limit is not None:
            fraction = max(fraction, self.seconds / limit)
        return min(fraction, 1.0)

    def seconds_left(self, epochs: float) -> float:
        """Return the estimated remaining seconds after a number of epochs; NaN at the start."""
        fraction = self.fraction(epochs)
        return self.seconds * (1 - fraction) / fraction if fraction > 0 else math.nan

    def _seconds_limit(self) -> float | None:
        """Return the seconds after which training ends, earlier calls included."""
        limits = [self._limit] if self._limit else []
        if self._deadline is not None:
            left = self._deadline - self.tail - self._started
            limits.append(max(self._earlier + left, 1e-6))
        return min(limits, default=None)


class TailEstimate:
    """Estimated seconds of what follows the training of a member: validation and predictions.

    Measured while the member is trained, so that a time limit holds on a slow or busy machine.

    Parameters
    ----------
    validation_faces
        Number of validation faces, predicted once more when training ends.
    faces_after
        Number of faces predicted after the training, with crop search.
    """

    def __init__(self, validation_faces: int, faces_after: int) -> None:
        self._validation_faces = max(validation_faces, 1)
        self._faces = validation_faces + _CROP_SEARCH_FACTOR * faces_after
        self._first_step: float | None = None
        self._step_seconds, self._step_faces = 0.0, 0
        self._validation_face: float | None = None

    def add_step(self, seconds: float, faces: int) -> None:
        """Learn from the duration of a training step; the first contains a compilation.

        Parameters
        ----------
        seconds
            Duration of the step.
        faces
            Number of its faces.
        """
        if self._first_step is None:
            self._first_step = seconds
        else:
            self._step_seconds += seconds
            self._step_faces += faces

    def add_validation(self, seconds: float) -> None:
        """Learn from the duration of a validation; the first contains a compilation."""
        face = seconds / self._validation_faces
        self._validation_face = min(self._validation_face or face, face)

    @property
    def seconds(self) -> float:
        """Return the estimate."""
        if self._validation_face is not None:
            return _SAFETY * self._validation_face * self._faces + _FIXED_SECONDS
        # A forward pass of a face and its mirror image takes about two thirds of a training step,
        # and its compilation half of the step's.
        step_face = self._step_seconds / max(self._step_faces, 1)
        compilation = (self._first_step or 0.0) / 2
        return _SAFETY * (step_face * self._faces * 2 / 3 + compilation) + _FIXED_SECONDS
