"""Reading the log of a running kernel in a thread.

Reading blocks while a network trains without output, and forever on a dead connection, so it
must not happen in the thread that asks for states. Interprets no lines.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from itertools import islice

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.kernel_output import KernelLogLine
from fkd_kaggle.kaggle_api.kernels import KernelRef


@dataclass(frozen=True)
class LogItem:
    """A line of a log, or the end of one reader."""

    kernel: str
    reader: int
    """Number of the reader that read the line."""
    line: KernelLogLine | None
    """None: this reader has ended."""


LogQueue = queue.SimpleQueue[LogItem]


def start_log_reader(
    competition: Competition,
    ref: KernelRef,
    reader: int,
    skip: int,
    out: LogQueue,
    stop: threading.Event,
) -> None:
    """Start a thread that puts the lines of a kernel's log into a queue.

    Parameters
    ----------
    competition
        The session with Kaggle.
    ref
        The kernel and its version.
    reader
        Number that marks the items of this reader.
    skip
        Number of lines at the beginning of the log that are not put into the queue.
    out
        The queue.
    stop
        Ends the thread before its next line or its next connection.
    """
    threading.Thread(
        target=_read_log,
        args=(competition, ref, reader, skip, out, stop),
        name=f"fkd-log-{ref.kernel}",
        daemon=True,
    ).start()


def _read_log(
    competition: Competition,
    ref: KernelRef,
    reader: int,
    skip: int,
    out: LogQueue,
    stop: threading.Event,
) -> None:
    """Put the lines into the queue, and an item without a line at the end."""
    try:
        log = competition.kernel_logs(ref.kernel, ref.version, follow=True, is_stopped=stop.is_set)
        for line in islice(log, skip, None):
            if stop.is_set():
                return
            out.put(LogItem(ref.kernel, reader, line))
    except CompetitionError:
        pass  # The next request for the state reports the error, or a new reader is started.
    finally:
        out.put(LogItem(ref.kernel, reader, None))
