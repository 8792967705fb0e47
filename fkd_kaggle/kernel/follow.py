"""Follow running kernels: request their states at intervals and read their logs as they grow.

One follower watches several kernels. A silent log or an outage of Kaggle does not end the wait,
because the kernel continues to run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.kernel_output import KernelLogLine
from fkd_kaggle.kaggle_api.kernels import KernelRef, KernelStatus
from fkd_kaggle.kernel.events import (
    KernelPrinted,
    KernelStateChanged,
    KernelWaiting,
    OnKernelEvent,
)
from fkd_kaggle.kernel.log_reader import LogQueue, start_log_reader

POLL: Final = 15.0
"""Seconds between two requests for a kernel's state, on Kaggle."""

PRACTICE_POLL: Final = 0.5
"""Seconds between two requests for a kernel's state, on a practice Kaggle."""

OUTAGE: Final = 3600.0
"""Seconds without an answer from Kaggle after which the wait ends with an error."""

_SILENCE: Final = 600.0
"""Seconds without a new line after which the log is requested again.

A broken connection does not always raise an error.
"""

_LAST_LINES: Final = 10.0
"""Seconds to wait for the last lines of the log of a kernel that has ended."""

_KEPT_LINES: Final = 2000
"""Number of the last lines of each log that are kept to explain a failure."""


@dataclass(frozen=True)
class KernelEnded:
    """A kernel that has ended."""

    kernel: str
    """"owner/slug"."""
    status: KernelStatus
    """The final status."""
    seconds: float
    """Running time, as far as observed."""
    lines: tuple[str, ...]
    """The last lines of the log."""


class KernelFollower:
    """Follows kernels until they end.

    Parameters
    ----------
    competition
        The session with Kaggle.
    on_event
        Called with each event, in the caller's thread.
    poll
        Seconds between two requests for a state; None for the default of Kaggle or of the
        practice Kaggle.
    """

    def __init__(
        self, competition: Competition, on_event: OnKernelEvent, poll: float | None = None
    ) -> None:
        self._competition, self._on_event = competition, on_event
        default = POLL if competition.practice_url is None else PRACTICE_POLL
        self._poll = default if poll is None else poll
        self._followed: dict[str, _Followed] = {}
        self._log_items: LogQueue = queue.SimpleQueue()
        self._last_answer = time.monotonic()

    @property
    def busy(self) -> bool:
        """Return whether any kernel is still followed."""
        return bool(self._followed)

    def add(self, ref: KernelRef, since: datetime | None = None) -> None:
        """Start to follow a kernel.

        Parameters
        ----------
        ref
            The kernel and its version.
        since
            Time at which the kernel was first seen running; None if unknown.
        """
        self._followed[ref.kernel] = _Followed(ref, since)

    def step(self) -> list[KernelEnded]:
        """Request all states; if no kernel has ended, report log lines for one poll interval.

        Returns
        -------
        list of KernelEnded
            The kernels that have ended; they are no longer followed.

        Raises
        ------
        CompetitionError
            Kaggle refuses, or has not answered for an hour.
        """
        ended = []
        for followed in list(self._followed.values()):
            status = self._status(followed.ref)
            if status is None:
                continue
            if status.state == "running" and followed.since is None:
                followed.since = datetime.now(UTC)
            if status.state != followed.state:
                followed.state = status.state
                self._on_event(KernelStateChanged(followed.kernel, status.state, followed.since))
            if status.finished:
                ended.append(self._end(followed, status))
            elif status.state == "running":
                self._ensure_reader(followed)
        if not ended:
            self._pass_on(self._poll)
        return ended

    def _status(self, ref: KernelRef) -> KernelStatus | None:
        """Return a kernel's state, or None during an outage."""
        try:
            status = self._competition.kernel_status(ref.kernel, ref.version)
        except CompetitionError as error:
            refused = error.status is not None and error.status < 500 and error.status != 429
            # A practice Kaggle that was stopped does not restart by itself.
            stopped = error.status is None and self._competition.practice_url is not None
            if refused or stopped or time.monotonic() - self._last_answer > OUTAGE:
                raise
            self._on_event(KernelWaiting(ref.kernel, str(error)))
            return None
        self._last_answer = time.monotonic()
        return status

    def _end(self, followed: _Followed, status: KernelStatus) -> KernelEnded:
        """Report the remaining log lines and stop following the kernel."""
        self._ensure_reader(followed)
        deadline = time.monotonic() + _LAST_LINES
        while followed.reading and time.monotonic() < deadline:
            self._pass_on(0.2)
        followed.stop.set()
        if followed.reading:
            # The stream gives no end, but Kaggle has stored the complete log.
            stored = self._competition.kernel_logs(followed.kernel, followed.ref.version)
            for line in islice(stored, followed.lines_read, None):
                self._print(followed, line)
        del self._followed[followed.kernel]
        ran = (datetime.now(UTC) - followed.since).total_seconds() if followed.since else 0.0
        return KernelEnded(
            followed.kernel, status, max(ran, followed.seconds), tuple(followed.lines)
        )

    def _ensure_reader(self, followed: _Followed) -> None:
        """Replace the log reader, unless the present reader has received a line recently."""
        silent = time.monotonic() - followed.last_read > _SILENCE
        if followed.reading and not silent:
            return
        followed.stop.set()
        followed.stop = threading.Event()
        followed.reader += 1
        followed.reading, followed.last_read = True, time.monotonic()
        start_log_reader(
            self._competition,
            followed.ref,
            followed.reader,
            followed.lines_read,
            self._log_items,
            followed.stop,
        )

    def _pass_on(self, seconds: float) -> None:
        """Report the lines that arrive within ``seconds``; return early after a log has ended."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                item = self._log_items.get(timeout=left)
            except queue.Empty:
                return
            followed = self._followed.get(item.kernel)
            if followed is None or item.reader != followed.reader:
                continue
            if item.line is None:
                followed.reading = False
                # Either the kernel or only the stream has ended: request the state soon.
                deadline = min(deadline, time.monotonic() + 0.2)
            else:
                followed.last_read = time.monotonic()
                self._print(followed, item.line)

    def _print(self, followed: _Followed, line: KernelLogLine) -> None:
        """Keep a log line and report it to ``on_event``."""
        followed.lines_read += 1
        followed.seconds = line.seconds or followed.seconds
        for text in line.text.splitlines():
            followed.lines.append(text)
            self._on_event(KernelPrinted(followed.kernel, text, line.stream))


@dataclass
class _Followed:
    """The state of one followed kernel and of its log."""

    ref: KernelRef
    since: datetime | None
    """Time at which the kernel was first seen running."""
    state: str = ""
    seconds: float = 0.0
    """Time of the last log line, in seconds since the kernel's start."""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    lines_read: int = 0
    reader: int = 0
    """Number of the newest reader of the log; lines from earlier readers are ignored."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set to end the newest reader."""
    reading: bool = False
    """Whether the newest reader is still reading."""
    last_read: float = 0.0
    """Time of the last line on the clock of ``time.monotonic``."""

    @property
    def kernel(self) -> str:
        """Return "owner/slug"."""
        return self.ref.kernel
