"""Tests of the training display: lines in a log, a live view on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from fkd_kaggle.display import training
from fkd_kaggle.display.training import TrainingDisplay, describe_precision
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

EVENTS: tuple[Event, ...] = (
    EnsembleStarted("night", MEMBERS, 1, 7049, "mixed_bfloat16", 3300.0),
    MemberStarted("deep15-f0", "deep15", 0, 1, 7_123_456, 5639, 1410, 3),
    EpochEnded("deep15-f0", 4, 100, 2.5, None, None, 1e-3, 310.0, 18.0, 1700.0),
    StepEnded("deep15-f0", 5, 40, 80, 2.25, 312.0, 1690.0),
    EpochEnded("deep15-f0", 5, 100, 2.125, 3.875, 3.75, 1e-3, 311.0, 18.0, 1680.0),
    MemberEnded("deep15-f0", 1.5, 1800.0, "finished"),
    EnsembleEnded(Scores(1.5, 1.4, 1.45, 1.3, {}), 2, 2, 1805.0, "finished"),
)


def output_of(events: tuple[Event, ...], *, terminal: bool) -> str:
    """Return the output of a display for ``events``."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=100, _environ={})
    with TrainingDisplay(console) as display:
        for event in events:
            display(event)
    return written.getvalue()


def test_log_has_a_line_for_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MIN_SECONDS_BETWEEN_LINES", 0.0)
    lines = output_of(EVENTS, terminal=False).splitlines()
    assert lines[0] == (
        "run night: 2 networks, 1 of them finished before, 7049 faces, "
        "bfloat16 and float32 numbers, "
        "at most 55:00 min"
    )
    assert lines[1].startswith("[2/2] deep15-f0: 7,123,456 parameters, 5639 training faces")
    assert lines[1].endswith("resumes after epoch 3")
    assert lines[2] == (
        "[2/2] deep15-f0 epoch 4/100: loss 2.500, 310 images/s, 28:20 min left"
    )  # this epoch was not evaluated and has no score
    assert "rmse 3.875 px" in lines[3]
    assert lines[4] == "[2/2] deep15-f0: 1.500 px on held-out faces after 30:00 min (finished)"
    assert lines[5] == "2 of 2 networks in 30:05 min (finished)"
    assert re.fullmatch(r"deep15-f0 +1\.500 +30:00 min +finished *", lines[7])  # the final table


@pytest.mark.parametrize("terminal", [False, True])
def test_a_failed_member_is_named(terminal: bool) -> None:
    events = (EVENTS[0], MemberFailed("deep15-f0", "out of memory"))
    assert "[2/2] deep15-f0 failed, the blend does not include it: out of memory" in output_of(
        events, terminal=terminal
    )


def test_log_has_no_control_codes() -> None:
    assert output_of(EVENTS, terminal=False).isprintable() is False  # line ends
    assert output_of(EVENTS, terminal=False).replace("\n", "").isprintable()


def test_log_shows_first_and_last_of_many_short_epochs() -> None:
    epochs = [
        EpochEnded("deep15-f0", number, 50, 1.0, 2.0, 2.0, 1e-3, 300.0, 0.1, 5.0)
        for number in range(1, 51)
    ]
    text = output_of((*EVENTS[:2], *epochs), terminal=False)
    shown = re.findall(r"epoch (\d+)/50", text)
    assert shown == ["1", "50"]


def test_live_view_shows_the_current_state() -> None:
    console = Console(file=io.StringIO(), width=100, _environ={})
    display = TrainingDisplay(console)
    for event in EVENTS[:4]:
        display(event)
    with console.capture() as capture:
        console.print(display)
    text = capture.get()
    for part in (
        "run night",
        "7,049 faces",
        "1/2",
        "55:00 min",
        "deep15-f0",
        "epoch 4/100",
        "28:10 min left",
        "2.250",
        "312 images/s",
    ):
        assert part in text, text


def test_live_view_keeps_finished_members() -> None:
    text = output_of(EVENTS, terminal=True)
    assert "1.500" in text
    assert "2/2" in text


def test_error_restores_the_terminal() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, _environ={})
    with pytest.raises(ZeroDivisionError), TrainingDisplay(console) as display:
        display(EVENTS[0])
        raise ZeroDivisionError
    hidden, visible = "\x1b[?25l", "\x1b[?25h"
    assert written.getvalue().rfind(visible) > written.getvalue().rfind(hidden) >= 0


def test_display_without_events_is_erased() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, _environ={})
    with pytest.raises(ZeroDivisionError), TrainingDisplay(console):
        raise ZeroDivisionError
    text = written.getvalue()
    assert "getting ready" in text
    assert "\x1b[2K" in text[text.rfind("getting ready") :]  # the line is erased


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("float32", "float32 numbers"),
        ("mixed_float16", "float16 and float32 numbers"),
        ("2 × mixed_bfloat16", "2 networks at a time, bfloat16 and float32 numbers"),
        ("something else", "something else"),
    ],
)
def test_the_precision_is_described_in_words(policy: str, words: str) -> None:
    assert describe_precision(policy) == words
