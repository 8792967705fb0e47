"""Showing kernels at work: their log as it grows, and on a terminal a live line for each.

Turns ``following``'s events into what people read while they wait; decides nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fkd_kaggle.display.live import LiveView
from fkd_kaggle.formatting import format_duration
from fkd_kaggle.kernel.follow import (
    KernelEvent,
    KernelPrinted,
    KernelPushed,
    KernelStateChanged,
    KernelWaiting,
)

_REMIND: Final = 300.0
"""A log gets the same reason for waiting no more often than this, in seconds."""


class KernelDisplay:
    """Watch ``remote.train``: pass the display itself as ``on_event``.

    Use it as a context manager, so that the terminal is left in order whatever happens.

    Parameters
    ----------
    console
        Where to show it; live when it is a terminal, else plain lines without control codes.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view = LiveView(console, self)
        self._spinner = Spinner("dots")
        self._shown: dict[str, _Shown] = {}
        self._waits: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> Self:
        self._view.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Erased, if nothing has been shown: an error message follows.
        self._view.stop(erase=not self._shown)

    def __call__(self, event: KernelEvent) -> None:
        """Take in an event and show it."""
        if isinstance(event, KernelPrinted):
            name = f"[{_name(event.kernel)}] " if len(self._shown) > 1 else ""
            # A kernel's log may hold whatever control codes its libraries print.
            self._say(Text.assemble((name, "dim"), Text.from_ansi(event.text).plain))
        elif isinstance(event, KernelPushed):
            self._shown[event.kernel] = _Shown(of_gpu=event.gpu)
            how = "found under way" if event.taken_up else "pushed"
            where = f": {event.url}" if event.url else ""
            self._say(Text(f"kernel {event.kernel}, version {event.version}, {how}{where}"))
        elif isinstance(event, KernelStateChanged):
            self._change(event)
        else:
            self._wait(event)

    def __rich__(self) -> RenderableType:
        """Return the live lines as of now; rich asks four times a second."""
        if not self._shown:
            return Text("getting ready…", "dim")
        table = Table.grid(padding=(0, 1))
        for kernel, shown in self._shown.items():
            mark: RenderableType = Text("·", "dim") if shown.ended else self._spinner
            table.add_row(
                mark, Text(kernel, "bold"), Text(shown.state.replace("_", " "), "cyan"),
                Text(shown.elapsed),
            )  # fmt: skip
        return Group(table)

    def _change(self, event: KernelStateChanged) -> None:
        shown = self._shown.setdefault(event.kernel, _Shown())
        shown.state, shown.since = event.state, event.since
        shown.ended = event.state in ("complete", "error", "cancel_acknowledged")
        if shown.ended:
            shown.final = shown.elapsed
        if not self._view.is_live:
            after = f" after {shown.elapsed}" if shown.ended and shown.elapsed else ""
            state = event.state.replace("_", " ")
            self._say(Text(f"kernel {event.kernel}: {state}{after}"))

    def _wait(self, event: KernelWaiting) -> None:
        why, told = self._waits.get(event.kernel, ("", 0.0))
        now = time.monotonic()
        if event.why != why or now - told > _REMIND:
            self._waits[event.kernel] = (event.why, now)
            self._say(Text(f"kernel {event.kernel} waits: {event.why}"))

    def _say(self, line: Text) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


@dataclass
class _Shown:
    """What is shown of one kernel."""

    of_gpu: bool = True
    state: str = "pushed"
    since: datetime | None = None
    ended: bool = False
    final: str = ""

    @property
    def elapsed(self) -> str:
        """How long it has run."""
        if self.final or self.since is None:
            return self.final
        ran = format_duration((datetime.now(UTC) - self.since).total_seconds())
        return f"{ran} of GPU time" if self.of_gpu else ran


def _name(kernel: str) -> str:
    return kernel.split("/")[-1]
