"""The display of a training: a live view on a terminal, plain lines in a log.

Turns the events of ``training.events`` into text. Does not control training and stores nothing.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field
from typing import Self

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
    Stopping,
    Waiting,
)
from fkd_kaggle.training.interruption import ACKNOWLEDGEMENT

MIN_SECONDS_BETWEEN_LINES = 15.0
"""Minimum time between two epoch lines of a member in a log; the first and the last always appear.
"""

_MAX_ENDED_MEMBERS = 8
"""Number of finished members in the live view."""


class TrainingDisplay:
    """Shows the events of a training; pass the display as ``on_event``.

    It is a context manager, which restores the terminal at the end and after errors.

    Parameters
    ----------
    console
        Where to show the events: a live view on a terminal, else plain lines without control codes.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view = LiveView(console, self)
        self._start_time = 0.0
        self._start: EnsembleStarted | None = None
        self._running: dict[str, _RunningMember] = {}
        self._ended: list[MemberEnded] = []

    def __enter__(self) -> Self:
        self._view.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Erased, if no training has started: an error message follows.
        self._view.stop(erase=self._start is None)

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._update(event)
        if not self._view.is_live:
            self._print(event)
        elif isinstance(event, MemberStarted) and event.note:
            self._console.print(f"{event.member}{_note(event)}", highlight=False, markup=False)
        elif isinstance(event, MemberFailed | Waiting):
            self._console.print(self._line(event), highlight=False, markup=False)
        elif isinstance(event, Stopping):
            self._console.print(_stopping_line(event), highlight=False, markup=False)
        elif isinstance(event, EnsembleEnded):
            self._view.stop()

    def __rich__(self) -> RenderableType:
        """Return the current state of the live view."""
        if self._start is None:
            return Text("getting ready…", "dim")
        bars = Table.grid(padding=(0, 1))
        bars.add_row(*self._members_bar(self._start))
        parts: list[RenderableType] = [_header(self._start), bars]
        for member in tuple(self._running.values()):  # a copy: other threads send events
            bars.add_row(*_epochs_bar(member))
            bars.add_row("", _numbers(member), "", "")
        if self._ended:
            parts.append(_members_table(self._ended[-_MAX_ENDED_MEMBERS:]))
        return Group(*parts)

    def _update(self, event: Event) -> None:
        """Update the state that the live view shows."""
        if isinstance(event, EnsembleStarted):
            self._start, self._start_time = event, time.monotonic()
            self._running, self._ended = {}, []
        elif isinstance(event, MemberStarted):
            self._running[event.member] = _RunningMember(event)
        elif isinstance(event, StepEnded) and event.member in self._running:
            self._running[event.member].step = event
        elif isinstance(event, EpochEnded) and event.member in self._running:
            member = self._running[event.member]
            member.epoch, member.step = event, None
        elif isinstance(event, MemberEnded):
            self._ended.append(event)
            self._running.pop(event.member, None)
        elif isinstance(event, MemberFailed):
            self._running.pop(event.member, None)

    def _print(self, event: Event) -> None:
        """Print the line of an event, if it has one."""
        line = self._line(event)
        if line is not None:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        if isinstance(event, EnsembleEnded) and self._ended and not event.scores.members:
            self._console.print(_members_table(self._ended))

    def _line(self, event: Event) -> str | None:
        """Return the line of an event in a log, or None."""
        match event:
            case EnsembleStarted():
                return _start_line(event)
            case MemberStarted():
                return self._member_line(event)
            case EpochEnded():
                return self._epoch_line(event) if self._is_due(event) else None
            case MemberEnded():
                return (
                    f"{self._number(event.member)} {event.member}: {format_pixels(event.rmse)} px "
                    f"on held-out faces after {format_duration(event.seconds)} ({event.stopped})"
                )
            case MemberFailed():
                return (
                    f"{self._number(event.member)} {event.member} failed, the blend does not "
                    f"include it: {event.reason}"
                )
            case Stopping():
                return _stopping_line(event)
            case Waiting():
                return event.reason
            case EnsembleEnded():
                return (
                    f"{event.finished} of {event.members} networks in "
                    f"{format_duration(event.seconds)} ({event.stopped})"
                )
        return None

    def _member_line(self, event: MemberStarted) -> str:
        resumed = f", resumes after epoch {event.resumed_epoch}" if event.resumed_epoch else ""
        return (
            f"{self._number(event.member)} {event.member}: {event.parameters:,} parameters, "
            f"{event.training_faces} training faces, {event.validation_faces} held out"
            f"{resumed}{_note(event)}{_node(event)}"
        )

    def _epoch_line(self, event: EpochEnded) -> str:
        score = "" if event.rmse is None else f"rmse {format_pixels(event.rmse)} px, "
        return (
            f"{self._number(event.member)} {event.member} epoch {event.epoch}/{event.epochs}: "
            f"loss {event.loss:.3f}, {score}{event.images_per_second:.0f} images/s, "
            f"{format_duration(event.seconds_left)} left"
        )

    def _is_due(self, event: EpochEnded) -> bool:
        """Return whether a log shows this epoch; if so, record the time."""
        member = self._running.get(event.member)
        if member is None:
            return True
        now = time.monotonic()
        is_last = event.epoch >= event.epochs
        if now - member.last_line < MIN_SECONDS_BETWEEN_LINES and not is_last:
            return False
        member.last_line = now
        return True

    def _number(self, member: str) -> str:
        """Return the member's number among all members, as in ``[2/8]``."""
        names = self._start.members if self._start else ()
        return f"[{names.index(member) + 1}/{len(names)}]" if member in names else "[–]"

    def _members_bar(self, start: EnsembleStarted) -> tuple[RenderableType, ...]:
        """Return the cells of the row that shows the progress of the whole training."""
        done, count = start.finished + len(self._ended), len(start.members)
        elapsed = time.monotonic() - self._start_time
        limit = f" of at most {format_duration(start.seconds_limit)}" if start.seconds_limit else ""
        running = sum(member.progress() for member in self._running.values())
        return (
            "members",
            _bar((done + running) / max(count, 1)),
            f"{done}/{count}",
            f"{format_duration(elapsed)}{limit}",
        )


@dataclass
class _RunningMember:
    """The latest events of a member that is being trained."""

    start: MemberStarted
    start_time: float = field(default_factory=time.monotonic)
    last_line: float = -math.inf
    """Time of its last line in a log."""
    epoch: EpochEnded | None = None
    step: StepEnded | None = None

    @property
    def latest(self) -> StepEnded | EpochEnded | None:
        return self.step or self.epoch

    def progress(self) -> float:
        """Return the completed share of the training, from elapsed and estimated time."""
        latest = self.latest
        if latest is None or not math.isfinite(latest.seconds_left):
            return 0.0
        elapsed = time.monotonic() - self.start_time
        return elapsed / max(elapsed + latest.seconds_left, 1e-9)


def _stopping_line(event: Stopping) -> str:
    if event.reason == "interrupted":
        return ACKNOWLEDGEMENT
    return "the time is over: stopping after this step"


def describe_precision(precision: str) -> str:
    """Return the number of workers and the arithmetic in words.

    Parameters
    ----------
    precision
        Keras' dtype policy with the number of workers, such as "2 × mixed_bfloat16".
    """
    found = re.fullmatch(r"(?:(\d+) × )?(mixed_)?([a-z]+\d+)(.*)", precision)
    if found is None:
        return precision
    count, mixed, dtype, rest = found.groups()
    numbers = f"{dtype} and float32 numbers" if mixed else f"{dtype} numbers"
    together = f"{count} networks at a time, " if count else ""
    return f"{together}{numbers}{rest}"


def _start_line(event: EnsembleStarted) -> str:
    limit = f", at most {format_duration(event.seconds_limit)}" if event.seconds_limit else ""
    finished = f", {event.finished} of them finished before" if event.finished else ""
    plural = "" if len(event.members) == 1 else "s"
    return (
        f"run {event.run}: {len(event.members)} network{plural}{finished}, {event.faces} faces, "
        f"{describe_precision(event.precision)}{limit}"
    )


def _header(start: EnsembleStarted) -> Text:
    return Text.assemble(
        ("run ", "dim"),
        (start.run, "bold"),
        (f"  {start.faces:,} faces, {describe_precision(start.precision)}", "dim"),
    )


def _epochs_bar(member: _RunningMember) -> tuple[RenderableType, ...]:
    """Return the cells of the row that shows the progress of a member."""
    done = member.epoch.epoch if member.epoch else member.start.resumed_epoch
    epochs = f"/{member.epoch.epochs}" if member.epoch else ""
    latest = member.latest
    left = f"{format_duration(latest.seconds_left)} left" if latest else "starting"
    name = Text(member.start.member, "bold cyan").append(_node(member.start), "dim")
    return name, _bar(member.progress()), f"epoch {done}{epochs}", left


def _numbers(member: _RunningMember) -> Text:
    """Return loss, RMSE and speed of a member."""
    latest, epoch = member.latest, member.epoch
    return Text.assemble(
        ("loss ", "dim"),
        _format_number(latest.loss if latest else None, 3),
        ("  RMSE ", "dim"),
        format_pixels(epoch.rmse if epoch else None),
        ("  ", ""),
        _format_number(latest.images_per_second if latest else None, 0),
        (" images/s", "dim"),
    )


def _members_table(ended: list[MemberEnded]) -> Table:
    """Return the table of finished members."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("member", "held-out RMSE, px", "time", "ended by"):
        table.add_column(name, justify="left" if name in ("member", "ended by") else "right")
    for event in ended:
        table.add_row(
            event.member, format_pixels(event.rmse), format_duration(event.seconds), event.stopped
        )
    return table


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(share, 1.0), width=32)


def _format_number(value: float | None, decimals: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def _node(event: MemberStarted) -> str:
    return f"; on {event.node}" if event.node else ""


def _note(event: MemberStarted) -> str:
    return f"; initial weights: {event.note}" if event.note else ""
