"""Showing training: a live view on a terminal, plain lines in a log.

Turns ``events`` into what people read; decides nothing.
"""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
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
    MemberStarted,
    Scores,
    StepEnded,
)

_PLAIN_SECONDS = 15.0
"""A log gets an epoch line no more often than this, and a member's first and last always."""


class TrainingDisplay:
    """Watch ``ensemble.train``: pass the display itself as ``on_event``.

    Parameters
    ----------
    console
        Where to show it; live when it is a terminal, else plain lines without control codes.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self.started = time.monotonic()
        self.told = -math.inf
        self.start: EnsembleStarted | None = None
        self.member: MemberStarted | None = None
        self.step: StepEnded | None = None
        self.epoch: EpochEnded | None = None
        self.ended: list[MemberEnded] = []

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, event: Event) -> None:
        """Take in an event and show it."""
        if isinstance(event, EnsembleStarted):
            self.start = event
        elif isinstance(event, MemberStarted):
            self.member, self.step, self.epoch = event, None, None
        elif isinstance(event, StepEnded):
            self.step = event
        elif isinstance(event, EpochEnded):
            self.epoch = event
        elif isinstance(event, MemberEnded):
            self.ended.append(event)
        if self.live:
            self.live.update(self._view())
        else:
            line = self._line(event)
            if line:
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    # --- plain ----------------------------------------------------------------------------------

    def _line(self, event: Event) -> str | None:
        if isinstance(event, EnsembleStarted):
            limit = f", limit {duration(event.seconds_limit)}" if event.seconds_limit else ""
            return (
                f"run {event.run}: {len(event.members)} members on {event.faces} faces, "
                f"{event.precision}{limit}, {event.finished} finished before"
            )
        if isinstance(event, MemberStarted):
            self.told = -math.inf
            resumed = f", resumed after epoch {event.resumed_epoch}" if event.resumed_epoch else ""
            return (
                f"{self._place()} {event.member}: {event.parameters:,} parameters, "
                f"{event.training_faces} faces, {event.validation_faces} held out{resumed}"
            )
        if isinstance(event, EpochEnded):
            last = event.epoch >= event.epochs
            if time.monotonic() - self.told < _PLAIN_SECONDS and not last:
                return None
            self.told = time.monotonic()
            return (
                f"{self._place()} {event.member} epoch {event.epoch}/{event.epochs} "
                f"loss {event.loss:.3f} rmse {pixels(event.rmse)} "
                f"{event.images_per_second:.0f} images/s, {duration(event.seconds_left)} left"
            )
        if isinstance(event, MemberEnded):
            return (
                f"{self._place()} {event.member} done: {pixels(event.rmse)} px held out, "
                f"{duration(event.seconds)} ({event.stopped})"
            )
        if isinstance(event, EnsembleEnded):
            return (
                f"{event.finished} of {event.members} members in {duration(event.seconds)} "
                f"({event.stopped})"
            )
        return None

    # --- live -----------------------------------------------------------------------------------

    def _view(self) -> Group:
        parts: list[Table | Text | ProgressBar] = [self._header()]
        if self.ended:
            table = Table(box=None, pad_edge=False, header_style="dim")
            for name in ("member", "held out, px", "time", ""):
                table.add_column(name, justify="left" if name in ("member", "") else "right")
            for one in self.ended[-8:]:
                table.add_row(one.member, pixels(one.rmse), duration(one.seconds), one.stopped)
            parts.append(table)
        if self.member and not (self.ended and self.ended[-1].member == self.member.member):
            parts += self._current(self.member)
        return Group(*parts)

    def _header(self) -> Text:
        if self.start is None:
            return Text("reading the faces…")
        limit = f" of {duration(self.start.seconds_limit)}" if self.start.seconds_limit else ""
        elapsed = duration(time.monotonic() - self.started)
        return Text.assemble(
            ("run ", "dim"), (self.start.run, "bold"), "  ",
            f"{self.start.finished + len(self.ended)}/{len(self.start.members)} members  ",
            f"{self.start.faces} faces  {self.start.precision}  {elapsed}{limit}",
        )  # fmt: skip

    def _current(self, member: MemberStarted) -> list[Table | Text | ProgressBar]:
        done = self.epoch.epoch if self.epoch else member.resumed_epoch
        loss, speed, left, epochs = math.nan, math.nan, math.nan, 0
        if self.epoch:
            loss, speed = self.epoch.loss, self.epoch.images_per_second
            left, epochs = self.epoch.seconds_left, self.epoch.epochs
        share = 0.0
        if self.step and self.step.epoch > done:
            loss, speed, left = self.step.loss, self.step.images_per_second, self.step.seconds_left
            share = self.step.step / max(self.step.steps, 1)
        rmse = self.epoch.rmse if self.epoch and self.epoch.rmse is not None else None
        best = self.epoch.best_rmse if self.epoch else None
        line = Text.assemble(
            (member.member, "bold cyan"), f"  fold {member.fold}  epoch {done + 1}",
            f"/{epochs}" if epochs else "", f"  loss {number(loss)}",
            f"  rmse {pixels(rmse)} px (best {pixels(best)})",
            f"  {number(speed, 0)} images/s  {duration(left)} left",
        )  # fmt: skip
        return [line, ProgressBar(total=1.0, completed=share, width=40)]

    def _place(self) -> str:
        if not (self.start and self.member):
            return ""
        return f"[{self.member.position + 1}/{len(self.start.members)}]"


def scores_table(scores: Scores) -> Table:
    """Return the cross-validated scores as a table; RMSE in pixels."""
    table = Table(title="cross-validated RMSE, pixels", title_justify="left", box=None)
    table.add_column("faces")
    table.add_column("RMSE", justify="right")
    table.add_row("complete source (15 points)", pixels(scores.complete))
    table.add_row("partial source (4 points)", pixels(scores.partial))
    table.add_row("both, as the lookup table asks", pixels(scores.combined))
    table.add_row("[bold]expected on the leaderboard[/]", f"[bold]{pixels(scores.expected)}[/]")
    for name, value in sorted(scores.by_member.items(), key=lambda item: item[1]):
        table.add_row(f"[dim]  {name} alone[/]", f"[dim]{pixels(value)}[/]")
    return table


def pixels(value: float | None) -> str:
    """Return an RMSE with three decimals; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def number(value: float, decimals: int = 3) -> str:
    """Return a number, or a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"


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
