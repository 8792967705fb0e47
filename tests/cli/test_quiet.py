"""Tests of ``--quiet``."""

from __future__ import annotations

from pathlib import Path

from conftest import Command, assert_one_line_error

from fkd_kaggle.display.console import make_console, print_line, silence_output
from fkd_kaggle.practice.server import PracticeKaggle


def test_quiet_command_prints_nothing(fkd: Command, practice: PracticeKaggle) -> None:
    result = fkd("fetch", "--quiet")
    assert result.code == 0
    assert result.all == ""
    assert Path("data", "training.csv").exists()
    assert "training faces" in fkd("fetch").out  # only this call is silent


def test_quiet_command_prints_errors(fkd: Command) -> None:
    assert_one_line_error(fkd("predict", "--quiet"), "no run in runs")


def test_silence_ends_with_its_context(capsys: object) -> None:
    with silence_output():
        assert make_console().quiet
    with silence_output(False):
        assert not make_console().quiet
    print_line(make_console(), "after")
    assert not make_console().quiet
