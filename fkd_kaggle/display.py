"""Showing training: a live view on a terminal, plain lines in a log.

Turns ``events`` into what people read while they wait; decides nothing and keeps no record.
"""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fkd_kaggle.events import (
    EnsembleEnded,
    EnsembleStarted,
    EpochEnded,
    Event,
    MemberEnded,
    MemberFailed,
    MemberStarted,
    StepEnded,
)
from fkd_kaggle.tables import pixels

_PLAIN_SECONDS = 15.0
"""A log gets an epoch line no more often than this, and a member's first and last always."""
_SHOWN = 8
"""Finished members in the live view; the last ones."""


class TrainingDisplay:
    """Watch ``ensemble.train``: pass the display itself as ``on_event``.

    Use it as a context manager, so that the terminal is left in order whatever happens.

    Parameters
    ----------
    console
        Where to show it; live when it is a terminal, else plain lines without control codes.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        on_terminal = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(self, console=console, refresh_per_second=4) if on_terminal else None
        self._began = self._told = 0.0
        self._start: EnsembleStarted | None = None
        self._member: MemberStarted | None = None
        self._step: StepEnded | None = None
        self._epoch: EpochEnded | None = None
        self._ended: list[MemberEnded] = []

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            # What never began leaves no trace above the error.
            self._live.transient = self._start is None
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take in an event and show it."""
        self._take(event)
        if self._live is None:
            self._print(event)
        elif isinstance(event, MemberStarted) and event.note:
            self._console.print(f"{event.member}{_note(event)}", highlight=False, markup=False)
        elif isinstance(event, EnsembleEnded):
            self._live.stop()

    def __rich__(self) -> RenderableType:
        """Return the live view as of now; rich asks four times a second."""
        if self._start is None:
            return Text("getting ready…", "dim")
        bars = Table.grid(padding=(0, 1))
        bars.add_row(*self._members_bar(self._start))
        parts: list[RenderableType] = [self._header(self._start), bars]
        if self._member is not None:
            bars.add_row(*self._epochs_bar(self._member))
            parts.append(self._numbers())
        if self._ended:
            parts.append(_members_table(self._ended[-_SHOWN:]))
        return Group(*parts)

    def _take(self, event: Event) -> None:
        if isinstance(event, EnsembleStarted):
            self._start, self._began = event, time.monotonic()
            self._member, self._ended = None, []
        elif isinstance(event, MemberStarted):
            self._member, self._step, self._epoch, self._told = event, None, None, -math.inf
        elif isinstance(event, StepEnded):
            self._step = event
        elif isinstance(event, EpochEnded):
            self._epoch, self._step = event, None
        elif isinstance(event, MemberEnded):
            self._ended.append(event)
            self._member = None

    # --- plain --------------------------------------------------------------------------------

    def _print(self, event: Event) -> None:
        line = self._line(event)
        if line is not None:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        if isinstance(event, EnsembleEnded) and self._ended:
            self._console.print(_members_table(self._ended))

    def _line(self, event: Event) -> str | None:
        if isinstance(event, EnsembleStarted):
            limit = f", at most {duration(event.seconds_limit)}" if event.seconds_limit else ""
            before = f", {event.finished} of them finished before" if event.finished else ""
            return (
                f"run {event.run}: {len(event.members)} members{before}, {event.faces} faces, "
                f"{event.precision}{limit}"
            )
        if isinstance(event, MemberStarted):
            resumed = f", goes on after epoch {event.resumed_epoch}" if event.resumed_epoch else ""
            return (
                f"{self._place(event.member)} {event.member}: {event.parameters:,} parameters, "
                f"{event.training_faces} faces to learn from, {event.validation_faces} held out"
                f"{resumed}{_note(event)}"
            )
        if isinstance(event, EpochEnded):
            return self._epoch_line(event)
        if isinstance(event, MemberEnded):
            return (
                f"{self._place(event.member)} {event.member}: {pixels(event.rmse)} px on held-out "
                f"faces after {duration(event.seconds)} ({event.stopped})"
            )
        if isinstance(event, MemberFailed):
            return (
                f"{self._place(event.member)} {event.member} failed, the blend goes without it: "
                f"{event.reason}"
            )
        if isinstance(event, EnsembleEnded):
            return (
                f"{event.finished} of {event.members} members in {duration(event.seconds)} "
                f"({event.stopped})"
            )
        return None

    def _epoch_line(self, event: EpochEnded) -> str | None:
        now = time.monotonic()
        if now - self._told < _PLAIN_SECONDS and event.epoch < event.epochs:
            return None
        self._told = now
        score = "" if event.rmse is None else f"rmse {pixels(event.rmse)} px, "
        return (
            f"{self._place(event.member)} {event.member} epoch {event.epoch}/{event.epochs}: "
            f"loss {event.loss:.3f}, {score}{event.images_per_second:.0f} images/s, "
            f"{duration(event.seconds_left)} left"
        )

    def _place(self, member: str) -> str:
        names = self._start.members if self._start else ()
        return f"[{names.index(member) + 1}/{len(names)}]" if member in names else "[–]"

    # --- live ---------------------------------------------------------------------------------

    def _header(self, start: EnsembleStarted) -> Text:
        return Text.assemble(
            ("run ", "dim"), (start.run, "bold"),
            (f"  {start.faces:,} faces  {start.precision}", "dim"),
        )  # fmt: skip

    def _members_bar(self, start: EnsembleStarted) -> tuple[RenderableType, ...]:
        done, count = start.finished + len(self._ended), len(start.members)
        elapsed = time.monotonic() - self._began
        limit = f" of at most {duration(start.seconds_limit)}" if start.seconds_limit else ""
        running = self._done_share() if self._member else 0.0
        return (
            "members", _bar((done + running) / max(count, 1)), f"{done}/{count}",
            f"{duration(elapsed)}{limit}",
        )  # fmt: skip

    def _epochs_bar(self, member: MemberStarted) -> tuple[RenderableType, ...]:
        latest = self._step or self._epoch
        done = self._epoch.epoch if self._epoch else member.resumed_epoch
        epochs = f"/{self._epoch.epochs}" if self._epoch else ""
        left = f"{duration(latest.seconds_left)} left" if latest else "starting"
        return (
            Text(member.member, "bold cyan"), _bar(self._done_share()), f"epoch {done}{epochs}",
            left,
        )  # fmt: skip

    def _done_share(self) -> float:
        """Return how much of the current member is behind us, by time: epochs may be cut short."""
        latest = self._step or self._epoch
        if latest is None or self._member is None or not math.isfinite(latest.seconds_left):
            return 0.0
        spent = self._member_seconds()
        return spent / max(spent + latest.seconds_left, 1e-9)

    def _member_seconds(self) -> float:
        before = sum(one.seconds for one in self._ended)
        return max(0.0, time.monotonic() - self._began - before)

    def _numbers(self) -> Text:
        latest = self._step or self._epoch
        best = self._epoch.best_rmse if self._epoch else None
        rmse = self._epoch.rmse if self._epoch else None
        return Text.assemble(
            ("loss ", "dim"), _number(latest.loss if latest else None, 3),
            ("   held-out RMSE ", "dim"), pixels(rmse), (" px, best ", "dim"), pixels(best),
            ("   ", ""), _number(latest.images_per_second if latest else None, 0),
            (" images/s", "dim"),
        )  # fmt: skip


def duration(seconds: float | None) -> str:
    """Return seconds as people say them: 42 s, 3:07 min, 1:02 h."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def _members_table(ended: list[MemberEnded]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("member", "held-out RMSE, px", "time", "ended by"):
        table.add_column(name, justify="left" if name in ("member", "ended by") else "right")
    for one in ended:
        table.add_row(one.member, pixels(one.rmse), duration(one.seconds), one.stopped)
    return table


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(share, 1.0), width=32)


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def _note(event: MemberStarted) -> str:
    return f"; first weights: {event.note}" if event.note else ""
