"""Interruption of a training at a safe point.

Ctrl-C does not raise KeyboardInterrupt while a network is trained: TensorFlow swallows exceptions
that are raised while it traces a function, or turns them into other errors. ``request`` sets a
flag instead, and the training calls ``check`` between two steps and between two batches of
predictions.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

ACKNOWLEDGEMENT: Final = "stopping after this step; press Ctrl-C again to discard it"

_requested = threading.Event()


def request() -> None:
    """Ask the training in this process to stop at the next safe point."""
    _requested.set()


def check() -> None:
    """Raise KeyboardInterrupt if the training in this process was asked to stop."""
    if _requested.is_set():
        raise KeyboardInterrupt


@dataclass
class Interrupts:
    """How often the user has asked to stop."""

    count: int = 0


_active: Interrupts | None = None


def _acknowledge() -> None:
    os.write(2, f"{ACKNOWLEDGEMENT}\n".encode())


@contextmanager
def catch_interrupts(acknowledge: Callable[[], None] = _acknowledge) -> Iterator[Interrupts]:
    """Count SIGINT and SIGTERM within the context instead of raising KeyboardInterrupt.

    The first signal calls ``request`` and ``acknowledge``. From the second signal on,
    KeyboardInterrupt is raised, so that a second Ctrl-C ends this process at once. Within another
    such context, and outside the main thread, where Python handles no signals, nothing changes.

    Parameters
    ----------
    acknowledge
        Tells the user that the signal was received; called in the signal handler. Default: one
        line on stderr.

    Yields
    ------
    The number of signals so far.
    """
    global _active
    if _active is not None or threading.current_thread() is not threading.main_thread():
        yield _active or Interrupts()
        return
    interrupts = _active = Interrupts()

    def handle(number: int, frame: Any) -> None:
        interrupts.count += 1
        request()
        if interrupts.count > 1:
            raise KeyboardInterrupt
        try:
            acknowledge()
        except RuntimeError:
            # The signal has arrived while a line was printed; Python refuses to print another.
            _acknowledge()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        _active = None
        for number, handler in previous.items():
            signal.signal(number, handler)
        if interrupts.count:
            _requested.clear()
