"""Shared parts of training: Keras' ``fit`` with an XLA fallback and Ctrl-C, and the best weights.

``training.trainer`` (members of ensembles) and ``photos.training`` (photo networks) use this
module.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from fkd_kaggle import files
from fkd_kaggle.nn import backend


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

    with _interruptible(watcher):
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
        """Save the weights."""
        with files.atomic_path(self.path) as path:
            self.network.save_weights(path)


class _StepWatcher(keras.callbacks.Callback):
    """Counts training steps, and ends training after a step if Ctrl-C was pressed."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.interrupted = False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the step."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.steps += 1


@contextmanager
def _interruptible(watcher: _StepWatcher) -> Iterator[None]:
    """Make sure that Ctrl-C ends ``fit``.

    Python prints and ignores a KeyboardInterrupt that is raised in a finalizer or in a callback
    from C++. The watcher therefore checks after each step whether Ctrl-C was pressed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: Any) -> None:
        watcher.interrupted = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
