"""Display of running kernels: their logs, and on a terminal a live line for each kernel.

Prints the events of ``kernel.events`` while a command waits.
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
from fkd_kaggle.kernel.events import (
    KernelEvent,
    KernelPrinted,
    KernelPushed,
    KernelStateChanged,
    KernelWaiting,
    KernelWarning,
)

_REPEAT: Final = 300.0
"""Seconds after which the same reason for waiting is printed again."""


class KernelDisplay:
    """Display of a training on Kaggle; pass the display itself as ``on_event``.

    Use it as a context manager, which leaves the terminal in order after an error.

    Parameters
    ----------
    console
        Where to print. The display is live on a terminal; otherwise it prints plain lines without
        control codes.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view = LiveView(console, self)
        self._spinner = Spinner("dots")
        self._lines: dict[str, _KernelLine] = {}
        self._waits: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> Self:
        self._view.start()
        return self

    def __exit__(self, *_: object) -> None:
        # If no kernel was shown, the view is erased: an error message follows.
        self._view.stop(erase=not self._lines)

    def __call__(self, event: KernelEvent) -> None:
        """Show an event."""
        if isinstance(event, KernelPrinted):
            name = event.kernel.split("/")[-1]
            prefix = f"[{name}] " if len(self._lines) > 1 else ""
            # The log may contain control codes that libraries print.
            self._print(Text.assemble((prefix, "dim"), Text.from_ansi(event.text).plain))
        elif isinstance(event, KernelPushed):
            self._lines[event.kernel] = _KernelLine(uses_gpu=event.uses_gpu)
            how = "resumed" if event.resumed else "pushed"
            where = f": {event.url}" if event.url else ""
            self._print(Text(f"kernel {event.kernel}, version {event.version}, {how}{where}"))
        elif isinstance(event, KernelStateChanged):
            self._show_state(event)
        elif isinstance(event, KernelWarning):
            self._print(Text(f"kernel {event.kernel}: warning: {event.text}"))
        else:
            self._show_wait(event)

    def __rich__(self) -> RenderableType:
        """Return the live lines; rich calls this four times a second."""
        if not self._lines:
            return Text("getting ready…", "dim")
        table = Table.grid(padding=(0, 1))
        for kernel, line in self._lines.items():
            table.add_row(
                Text("·", "dim") if line.ended else self._spinner,
                Text(kernel, "bold"),
                Text(line.state.replace("_", " "), "cyan"),
                Text(line.elapsed),
            )
        return Group(table)

    def _show_state(self, event: KernelStateChanged) -> None:
        line = self._lines.setdefault(event.kernel, _KernelLine())
        line.state, line.since = event.state, event.since
        line.ended = event.state in ("complete", "error", "cancel_acknowledged")
        if line.ended:
            line.final = line.elapsed
        if not self._view.is_live:
            after = f" after {line.elapsed}" if line.ended and line.elapsed else ""
            state = event.state.replace("_", " ")
            self._print(Text(f"kernel {event.kernel}: {state}{after}"))

    def _show_wait(self, event: KernelWaiting) -> None:
        """Print a reason for waiting, unless it was printed a short time ago."""
        reason, printed = self._waits.get(event.kernel, ("", 0.0))
        now = time.monotonic()
        if event.reason != reason or now - printed > _REPEAT:
            self._waits[event.kernel] = (event.reason, now)
            self._print(Text(f"kernel {event.kernel} waits: {event.reason}"))

    def _print(self, line: Text) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


@dataclass
class _KernelLine:
    """State of the live line of one kernel."""

    uses_gpu: bool = True
    state: str = "pushed"
    since: datetime | None = None
    ended: bool = False
    final: str = ""
    """Running time at the end."""

    @property
    def elapsed(self) -> str:
        """Return the running time as text, empty before the start."""
        if self.final or self.since is None:
            return self.final
        ran = format_duration((datetime.now(UTC) - self.since).total_seconds())
        return f"{ran} of GPU time" if self.uses_gpu else ran
