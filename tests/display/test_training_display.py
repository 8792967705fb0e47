"""Watching a training: plain lines in a log, a live view on a terminal, nothing cut."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from fkd_kaggle.display import training
from fkd_kaggle.display.training import TrainingDisplay
from fkd_kaggle.formatting import format_duration
from fkd_kaggle.runs.scores import Scores
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

MEMBERS = ("heatmap-f0", "deep15-f0")

STORY: tuple[Event, ...] = (
    EnsembleStarted("night", MEMBERS, 1, 7049, "mixed_bfloat16", 3300.0),
    MemberStarted("deep15-f0", "deep15", 0, 1, 7_123_456, 5639, 1410, 3),
    EpochEnded("deep15-f0", 4, 100, 2.5, None, None, 1e-3, 310.0, 18.0, 1700.0),
    StepEnded("deep15-f0", 5, 40, 80, 2.25, 312.0, 1690.0),
    EpochEnded("deep15-f0", 5, 100, 2.125, 3.875, 3.75, 1e-3, 311.0, 18.0, 1680.0),
    MemberEnded("deep15-f0", 1.5, 1800.0, "finished"),
    EnsembleEnded(Scores(1.5, 1.4, 1.45, 1.3, {}), 2, 2, 1805.0, "finished"),
)


def watch(events: tuple[Event, ...], *, terminal: bool) -> str:
    """Return everything that a display has written after ``events``."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=100, _environ={})
    with TrainingDisplay(console) as shown:
        for event in events:
            shown(event)
    return written.getvalue()


def test_a_log_reads_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_PLAIN_SECONDS", 0.0)
    lines = watch(STORY, terminal=False).splitlines()
    assert lines[0] == (
        "run night: 2 members, 1 of them finished before, 7049 faces, mixed_bfloat16, "
        "at most 55:00 min"
    )
    assert lines[1].startswith("[2/2] deep15-f0: 7,123,456 parameters, 5639 faces")
    assert lines[1].endswith("goes on after epoch 3")
    assert lines[2] == (
        "[2/2] deep15-f0 epoch 4/100: loss 2.500, 310 images/s, 28:20 min left"
    )  # not evaluated in this epoch: no score is shown
    assert "rmse 3.875 px" in lines[3]
    assert lines[4] == "[2/2] deep15-f0: 1.500 px on held-out faces after 30:00 min (finished)"
    assert lines[5] == "2 of 2 members in 30:05 min (finished)"
    assert re.fullmatch(r"deep15-f0 +1\.500 +30:00 min +finished *", lines[7])  # the final table


def test_a_member_that_fails_is_not_passed_over() -> None:
    story = (STORY[0], MemberFailed("deep15-f0", "out of memory"))
    assert "[2/2] deep15-f0 failed, the blend goes without it: out of memory" in watch(
        story, terminal=False
    )


def test_a_log_has_no_control_codes() -> None:
    assert watch(STORY, terminal=False).isprintable() is False  # line ends
    assert watch(STORY, terminal=False).replace("\n", "").isprintable()


def test_a_log_is_not_flooded_by_short_epochs() -> None:
    epochs = [
        EpochEnded("deep15-f0", number, 50, 1.0, 2.0, 2.0, 1e-3, 300.0, 0.1, 5.0)
        for number in range(1, 51)
    ]
    text = watch((*STORY[:2], *epochs), terminal=False)
    shown = re.findall(r"epoch (\d+)/50", text)
    assert shown == ["1", "50"]


def test_the_live_view_shows_where_training_is() -> None:
    console = Console(file=io.StringIO(), width=100, _environ={})
    shown = TrainingDisplay(console)
    for event in STORY[:4]:
        shown(event)
    with console.capture() as capture:
        console.print(shown)
    text = capture.get()
    for part in ("run night", "7,049 faces", "1/2", "55:00 min", "deep15-f0", "epoch 4/100",
                 "28:10 min left", "2.250", "312 images/s"):  # fmt: skip
        assert part in text, text


def test_the_live_view_keeps_the_members_that_ended() -> None:
    text = watch(STORY, terminal=True)
    assert "1.500" in text
    assert "2/2" in text


def test_a_failure_leaves_the_terminal_in_order() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, _environ={})
    with pytest.raises(ZeroDivisionError), TrainingDisplay(console) as shown:
        shown(STORY[0])
        raise ZeroDivisionError
    hidden, visible = "\x1b[?25l", "\x1b[?25h"
    assert written.getvalue().rfind(visible) > written.getvalue().rfind(hidden) >= 0


def test_what_never_began_leaves_no_trace() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, _environ={})
    with pytest.raises(ZeroDivisionError), TrainingDisplay(console):
        raise ZeroDivisionError
    text = written.getvalue()
    assert "getting ready" in text
    assert "\x1b[2K" in text[text.rfind("getting ready") :]  # the line is erased


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (187, "3:07 min"), (3599.7, "1:00 h"),
     (5400, "1:30 h"), (None, "–"), (float("nan"), "–"), (float("inf"), "–")],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(seconds: float | None, said: str) -> None:
    assert format_duration(seconds) == said
