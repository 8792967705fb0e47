"""Shared parts of training: Keras' ``fit`` with an XLA fallback and Ctrl-C, and the best weights.

``training.trainer`` (members of ensembles) and ``photos.training`` (photo networks) use this
module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import keras

from fkd_kaggle import files
from fkd_kaggle.nn import backend
from fkd_kaggle.training import interruption

_WEIGHTS_OVERHEAD: Final = 1 << 20
"""Bytes of a file of weights besides the weights."""


def fit(
    learner: keras.Model,
    arguments: Callable[[], dict[str, Any]],
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    recompile: Callable[[], None],
) -> None:
    """Call ``learner.fit``; repeat the call without XLA if XLA fails at the first step.

    Parameters
    ----------
    learner
        The compiled model.
    arguments
        Returns the keyword arguments of ``fit``. It is called before each attempt, so that each
        attempt gets new iterators.
    callbacks
        Callbacks of ``fit``.
    recompile
        Compiles ``learner`` again, without XLA.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C was pressed.
    """
    watcher = _StepWatcher()

    def attempt() -> None:
        learner.fit(**arguments(), callbacks=[watcher, *callbacks], verbose=0)

    with interruption.catch_interrupts():
        interruption.check()
        try:
            attempt()
        except Exception as error:
            if watcher.steps or not backend.disable_xla(error):
                raise
        else:
            return
        # Retry outside the except block: the exception keeps the memory of the first attempt.
        recompile()
        attempt()


class BestWeights:
    """Saves a network's weights at the best validation score and counts the epochs since then.

    Parameters
    ----------
    network
        The network.
    path
        File of the weights, ``*.weights.h5``.
    patience
        Number of epochs without a better score after which training stops; 0 for no limit.
    keep_last
        Save the weights after every epoch with a score, whether the score is better or not.
    """

    def __init__(
        self, network: keras.Model, path: Path, *, patience: int = 0, keep_last: bool = False
    ) -> None:
        self.network, self.path, self.keep_last = network, path, keep_last
        self.patience = patience
        self.best: float | None = None
        """Score of the saved weights."""
        self.epochs_since = 0
        """Epochs since the weights were saved."""

    @property
    def is_exhausted(self) -> bool:
        """Return whether the score has not improved for ``patience`` epochs."""
        return bool(self.patience) and self.epochs_since >= self.patience

    def update(self, score: float | None) -> bool:
        """Save the weights if the score is better, and return whether they were saved.

        Parameters
        ----------
        score
            Score of the epoch, where smaller is better; None if the epoch was not scored.
        """
        better = score is not None and (self.best is None or score < self.best or self.keep_last)
        if better:
            self.save()
            self.best = score
        self.epochs_since = 0 if better else self.epochs_since + 1
        return better

    def save(self) -> None:
        """Save the weights.

        Raises
        ------
        FkdError
            The disk is full.
        """
        size = sum(4 * math.prod(weight.shape) for weight in self.network.weights)
        with files.atomic_path(self.path) as path:
            files.reserve_space(path, int(1.1 * size) + _WEIGHTS_OVERHEAD)
            self.network.save_weights(path)


class _StepWatcher(keras.callbacks.Callback):
    """Counts training steps, and ends training after a step if it was asked to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the step."""
        interruption.check()
        self.steps += 1
