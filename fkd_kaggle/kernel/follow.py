"""Following kernels on Kaggle: their states by asking now and then, their logs as they are written.

One follower watches several kernels at once. What it sees goes to ``on_event`` as plain values. A
log that falls silent or a Kaggle that does not answer for a while ends no wait: the kernel goes on
all the same, and its state is asked again.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.kernels import KernelLogLine, KernelStatus

POLL: Final = 15.0
"""Seconds between two questions for a kernel's state, on Kaggle."""

PRACTICE_POLL: Final = 0.5

OUTAGE: Final = 3600.0
"""Seconds without any answer after which waiting is given up; the kernel is not."""

_SILENCE: Final = 600.0
"""Seconds without a line after which the log is asked for anew: dead connections say nothing."""

_LAST_LINES: Final = 10.0
"""Seconds to wait for the last lines of a log whose kernel has ended."""

_KEPT_LINES: Final = 2000


@dataclass(frozen=True)
class KernelPushed:
    """A kernel was pushed, or found to run already."""

    kernel: str
    version: int
    url: str
    taken_up: bool
    gpu: bool = True
    """Whether its time counts against the GPU quota."""


@dataclass(frozen=True)
class KernelStateChanged:
    """Kaggle tells another state of a kernel."""

    kernel: str
    state: str
    """queued, running, complete, error, …"""
    since: datetime | None
    """When it was first seen to run; from then on it uses the accelerator's quota."""


@dataclass(frozen=True)
class KernelPrinted:
    """A kernel has printed a line."""

    kernel: str
    text: str
    stream: str


@dataclass(frozen=True)
class KernelWaiting:
    """Nothing goes on for now."""

    kernel: str
    why: str


KernelEvent = KernelPushed | KernelStateChanged | KernelPrinted | KernelWaiting

OnKernelEvent = Callable[[KernelEvent], None]


@dataclass(frozen=True)
class KernelEnded:
    """A kernel that has come to its end."""

    kernel: str
    status: KernelStatus
    seconds: float
    """How long it ran, as far as was seen."""
    lines: tuple[str, ...]
    """The end of its log."""


class KernelFollower:
    """Watches kernels until they end.

    Parameters
    ----------
    competition
        Whom to ask.
    on_event
        Told what happens, in the caller's thread.
    poll
        Seconds between two questions for a state.
    """

    def __init__(
        self, competition: Competition, on_event: OnKernelEvent, poll: float | None = None
    ) -> None:
        self._competition, self._on_event = competition, on_event
        usual = POLL if competition.practice_url is None else PRACTICE_POLL
        self._poll = usual if poll is None else poll
        self._followed: dict[str, _Followed] = {}
        self._heard: queue.SimpleQueue[_LogState] = queue.SimpleQueue()
        self._answered = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether any kernel is still followed."""
        return bool(self._followed)

    def add(self, kernel: str, since: datetime | None = None) -> None:
        """Begin to follow ``kernel``; ``since`` is when it was seen to run, if it was."""
        self._followed[kernel] = _Followed(kernel, since)

    def step(self) -> list[KernelEnded]:
        """Ask for all states; unless a kernel has ended, pass on log lines until the next time.

        Raises
        ------
        CompetitionError
            Kaggle refuses, or has not answered for an hour.
        """
        ended = []
        for one in list(self._followed.values()):
            status = self._status(one.kernel)
            if status is None:
                continue
            if status.state == "running" and one.since is None:
                one.since = datetime.now(UTC)
            if status.state != one.state:
                one.state = status.state
                self._on_event(KernelStateChanged(one.kernel, status.state, one.since))
            if status.finished:
                ended.append(self._end(one, status))
            elif status.state == "running":
                self._listen(one)
        if not ended:
            self._pass_on(self._poll)
        return ended

    # --- states -------------------------------------------------------------------------------

    def _status(self, kernel: str) -> KernelStatus | None:
        """Return a kernel's state, None while Kaggle cannot be asked."""
        try:
            status = self._competition.kernel_status(kernel)
        except CompetitionError as error:
            refused = error.status is not None and error.status < 500 and error.status != 429
            # A practice Kaggle that has ended does not come by waiting.
            gone = error.status is None and self._competition.practice_url is not None
            if refused or gone or time.monotonic() - self._answered > OUTAGE:
                raise
            self._on_event(KernelWaiting(kernel, str(error)))
            return None
        self._answered = time.monotonic()
        return status

    def _end(self, one: _Followed, status: KernelStatus) -> KernelEnded:
        self._listen(one)
        deadline = time.monotonic() + _LAST_LINES
        while one.listening and time.monotonic() < deadline:
            self._pass_on(0.2)
        if one.listening:
            # The stream is stuck; what was written is stored by now.
            stored = self._competition.kernel_logs(one.kernel)
            for line in islice(stored, one.heard, None):
                self._tell(one, line)
        del self._followed[one.kernel]
        ran = (datetime.now(UTC) - one.since).total_seconds() if one.since else 0.0
        return KernelEnded(one.kernel, status, max(ran, one.seconds), tuple(one.lines))

    # --- logs ---------------------------------------------------------------------------------

    def _listen(self, one: _Followed) -> None:
        """See that somebody reads the log."""
        silent = time.monotonic() - one.last_heard > _SILENCE
        if one.listening and not silent:
            return
        one.generation += 1
        one.listening, one.last_heard = True, time.monotonic()
        arguments = (self._competition, one.kernel, one.generation, one.heard, self._heard)
        threading.Thread(
            target=_read_log, args=arguments, name=f"fkd-log-{one.kernel}", daemon=True
        ).start()

    def _pass_on(self, seconds: float) -> None:
        """Tell the lines that come within ``seconds``; return early when a log has ended."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                heard = self._heard.get(timeout=left)
            except queue.Empty:
                return
            one = self._followed.get(heard.kernel)
            if one is None or heard.generation != one.generation:
                continue
            if heard.line is None:
                one.listening = False
                # The kernel has ended, or the stream has: its state tells, after a short breath.
                deadline = min(deadline, time.monotonic() + 0.2)
            else:
                one.last_heard = time.monotonic()
                self._tell(one, heard.line)

    def _tell(self, one: _Followed, line: KernelLogLine) -> None:
        one.heard += 1
        one.seconds = line.seconds or one.seconds
        for text in line.text.splitlines():
            one.lines.append(text)
            self._on_event(KernelPrinted(one.kernel, text, line.stream))


@dataclass
class _Followed:
    """What is known of one kernel."""

    kernel: str
    since: datetime | None
    state: str = ""
    seconds: float = 0.0
    """The kernel's own time of its last line."""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    heard: int = 0
    generation: int = 0
    """Of the reader of its log; what earlier readers still say is not listened to."""
    listening: bool = False
    last_heard: float = 0.0


@dataclass(frozen=True)
class _LogState:
    kernel: str
    generation: int
    line: KernelLogLine | None
    """None: this reader says no more."""


def _read_log(
    competition: Competition,
    kernel: str,
    generation: int,
    skip: int,
    out: queue.SimpleQueue[_LogState],
) -> None:
    """Put the log's lines after the first ``skip`` into ``out``; runs in a thread of its own.

    Reading blocks for as long as a network trains silently, or for ever on a dead connection.
    """
    try:
        for line in islice(_lines(competition, kernel), skip, None):
            out.put(_LogState(kernel, generation, line))
    except CompetitionError:
        pass  # the next question for its state tells why, or the log is asked for again
    finally:
        out.put(_LogState(kernel, generation, None))


def _lines(competition: Competition, kernel: str) -> Iterator[KernelLogLine]:
    return competition.kernel_logs(kernel, follow=True)
