"""Learning rate schedules and the time budget of a training.

Computes numbers only; ``training.trainer`` applies them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from fkd_kaggle.recipes.schema import Recipe


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
    """

    def __init__(
        self, epochs: int, limit: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._epochs, self._limit, self._clock = epochs, limit, clock
        self._started = clock()
        self._earlier = 0.0

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
        return bool(self._limit) and self.seconds >= (self._limit or 0.0)

    def fraction(self, epochs: float) -> float:
        """Return the finished fraction of the training, 0 to 1, after a number of epochs.

        By epochs or by time, whichever is larger.
        """
        fraction = epochs / self._epochs
        if self._limit:
            fraction = max(fraction, self.seconds / self._limit)
        return min(fraction, 1.0)

    def seconds_left(self, epochs: float) -> float:
        """Return the estimated remaining seconds after a number of epochs; NaN at the start."""
        fraction = self.fraction(epochs)
        return self.seconds * (1 - fraction) / fraction if fraction > 0 else math.nan
