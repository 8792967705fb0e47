"""Tests of the shared options: durations, completion, training options."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fkd_kaggle.cli.options import (
    choose_run,
    given_training_options,
    make_training_options,
    parse_duration,
)
from fkd_kaggle.errors import FkdError
from fkd_kaggle.recipes import loading
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs.folder import Run


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("45", 45), (" 2 M ", 120), (".5h", 1800)],
)
def test_parse_duration_reads_seconds_minutes_and_hours(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_parse_duration_of_none_is_none() -> None:
    assert parse_duration(None) is None


@given(st.floats(1e-3, 1e6), st.sampled_from("smh"))
def test_parse_duration_scales_with_the_unit(number: float, unit: str) -> None:
    text = f"{number:.4f}{unit}"
    seconds = parse_duration(text)
    assert seconds is not None
    assert seconds == pytest.approx(float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[unit])


@pytest.mark.parametrize(
    "text", ["", "0", "0m", "-5m", "soon", "5d", "1h30m", "nan", "inf", "1e3", "٥m"]
)
def test_parse_duration_refuses_other_text(text: str) -> None:
    with pytest.raises(FkdError, match="is not a time: write 90s, 20m"):
        parse_duration(text)


def completions(words: str, folder: Path) -> list[str]:
    """Return the completions that bash gets for the last of ``words``."""
    code = "from fkd_kaggle.cli.app import app; app(prog_name='fkd-kaggle')"
    environment = {
        "_FKD_KAGGLE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True
    )
    return done.stdout.split()


@pytest.mark.slow
def test_shell_completes_commands_recipes_and_runs(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
    assert completions("fkd-kaggle lead", tmp_path) == ["leaderboard"]
    eyes = [name for name in loading.recipe_names() if name.startswith("e")]
    assert completions("fkd-kaggle train-ensemble --recipe e", tmp_path) == eyes
    assert completions("fkd-kaggle submit s", tmp_path) == ["second"]
    other = tmp_path / "other" / "third"
    other.mkdir(parents=True)
    (other / "run.json").write_text("{}")
    assert completions("fkd-kaggle submit --runs-dir other t", tmp_path) == ["third"]
    assert completions("fkd-kaggle runs --runs-dir other delete t", tmp_path) == ["third"]


def test_given_training_options_are_those_that_differ_from_the_defaults() -> None:
    assert given_training_options(make_training_options()) == []
    training = make_training_options(["smoke"], "20m", batch_size=8)
    assert training.time_limit == 1200
    assert given_training_options(training) == ["--recipe", "--time-limit", "--batch-size"]


def test_run_without_a_trained_network_is_not_announced_as_trained(tmp_path: Path) -> None:
    output = io.StringIO()
    run = Run.create(tmp_path, "quick-1", make_plan(TrainingOptions(("quick",))), "0" * 32)
    assert choose_run(Console(file=output), None, tmp_path).name == "quick-1"
    assert output.getvalue() == ""
    weights = run.path / "members" / "cascade-f0" / "best.weights.h5"
    weights.parent.mkdir(parents=True)
    weights.touch()
    choose_run(Console(file=output), None, tmp_path)
    assert "run quick-1, the newest with a trained network" in output.getvalue()
