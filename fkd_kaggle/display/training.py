"""Showing training: a live view on a terminal, plain lines in a log.

Turns ``events`` into what people read while they wait; decides nothing and keeps no record.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fkd_kaggle.display.live import LiveView
from fkd_kaggle.formatting import format_duration, format_pixels
from fkd_kaggle.training.events import (
    EnsembleEnded,
    EnsembleStarted,
    EpochEnded,
    Event,
    MemberEnded,
    MemberFailed,
    MemberStarted,
    StepEnded,
)

_PLAIN_SECONDS = 15.0
"""A log gets an epoch line no more often than this, and a member's first and last always."""

_SHOWN = 8
"""Finished members in the live view; the last ones."""


@dataclass
class _Running:
    """A member that is being trained."""

    start: MemberStarted
    began: float = field(default_factory=time.monotonic)
    told: float = -math.inf
    """When a log was last told of it."""
    epoch: EpochEnded | None = None
    step: StepEnded | None = None

    @property
    def latest(self) -> StepEnded | EpochEnded | None:
        return self.step or self.epoch

    def done(self) -> float:
        """Return the share that is behind us, by time: epochs may be cut short."""
        latest = self.latest
        if latest is None or not math.isfinite(latest.seconds_left):
            return 0.0
        spent = time.monotonic() - self.began
        return spent / max(spent + latest.seconds_left, 1e-9)


class TrainingDisplay(LiveView):
    """Watch ``ensemble.train``: pass the display itself as ``on_event``.

    Use it as a context manager, so that the terminal is left in order whatever happens.

    Parameters
    ----------
    console
        Where to show it; live when it is a terminal, else plain lines without control codes.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._began = 0.0
        self._start: EnsembleStarted | None = None
        self._running: dict[str, _Running] = {}
        self._ended: list[MemberEnded] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been shown yet."""
        return self._start is None

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
        for one in tuple(self._running.values()):
            bars.add_row(*_epochs_bar(one))
            bars.add_row("", _numbers(one), "", "")
        if self._ended:
            parts.append(_members_table(self._ended[-_SHOWN:]))
        return Group(*parts)

    def _take(self, event: Event) -> None:
        if isinstance(event, EnsembleStarted):
            self._start, self._began = event, time.monotonic()
            self._running, self._ended = {}, []
        elif isinstance(event, MemberStarted):
            self._running[event.member] = _Running(event)
        elif isinstance(event, StepEnded) and event.member in self._running:
            self._running[event.member].step = event
        elif isinstance(event, EpochEnded) and event.member in self._running:
            one = self._running[event.member]
            one.epoch, one.step = event, None
        elif isinstance(event, MemberEnded):
            self._ended.append(event)
            self._running.pop(event.member, None)
        elif isinstance(event, MemberFailed):
            self._running.pop(event.member, None)

    # --- plain --------------------------------------------------------------------------------

    def _print(self, event: Event) -> None:
        line = self._line(event)
        if line is not None:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        if isinstance(event, EnsembleEnded) and self._ended:
            self._console.print(_members_table(self._ended))

    def _line(self, event: Event) -> str | None:
        if isinstance(event, EnsembleStarted):
            limit = (
                f", at most {format_duration(event.seconds_limit)}" if event.seconds_limit else ""
            )
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
                f"{self._place(event.member)} {event.member}: {format_pixels(event.rmse)} px on held-out "
                f"faces after {format_duration(event.seconds)} ({event.stopped})"
            )
        if isinstance(event, MemberFailed):
            return (
                f"{self._place(event.member)} {event.member} failed, the blend goes without it: "
                f"{event.reason}"
            )
        if isinstance(event, EnsembleEnded):
            return (
                f"{event.finished} of {event.members} members in {format_duration(event.seconds)} "
                f"({event.stopped})"
            )
        return None

    def _epoch_line(self, event: EpochEnded) -> str | None:
        now, one = time.monotonic(), self._running.get(event.member)
        if one is not None:
            if now - one.told < _PLAIN_SECONDS and event.epoch < event.epochs:
                return None
            one.told = now
        score = "" if event.rmse is None else f"rmse {format_pixels(event.rmse)} px, "
        return (
            f"{self._place(event.member)} {event.member} epoch {event.epoch}/{event.epochs}: "
            f"loss {event.loss:.3f}, {score}{event.images_per_second:.0f} images/s, "
            f"{format_duration(event.seconds_left)} left"
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
        limit = f" of at most {format_duration(start.seconds_limit)}" if start.seconds_limit else ""
        running = sum(one.done() for one in self._running.values())
        return (
            "members", _bar((done + running) / max(count, 1)), f"{done}/{count}",
            f"{format_duration(elapsed)}{limit}",
        )  # fmt: skip


def _epochs_bar(one: _Running) -> tuple[RenderableType, ...]:
    done = one.epoch.epoch if one.epoch else one.start.resumed_epoch
    epochs = f"/{one.epoch.epochs}" if one.epoch else ""
    left = f"{format_duration(one.latest.seconds_left)} left" if one.latest else "starting"
    return Text(one.start.member, "bold cyan"), _bar(one.done()), f"epoch {done}{epochs}", left


def _numbers(one: _Running) -> Text:
    latest, epoch = one.latest, one.epoch
    return Text.assemble(
        ("loss ", "dim"), _number(latest.loss if latest else None, 3),
        ("  RMSE ", "dim"), format_pixels(epoch.rmse if epoch else None),
        ("  ", ""), _number(latest.images_per_second if latest else None, 0),
        (" images/s", "dim"),
    )  # fmt: skip


def _members_table(ended: list[MemberEnded]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("member", "held-out RMSE, px", "time", "ended by"):
        table.add_column(name, justify="left" if name in ("member", "ended by") else "right")
    for one in ended:
        table.add_row(
            one.member, format_pixels(one.rmse), format_duration(one.seconds), one.stopped
        )
    return table


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(share, 1.0), width=32)


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def _note(event: MemberStarted) -> str:
    return f"; first weights: {event.note}" if event.note else ""
