"""What can be typed: times as people write them, names a shell may offer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle.cli.options import parse_duration
from fkd_kaggle.errors import FkdError
from fkd_kaggle.recipes import loading


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("45", 45), (" 2 M ", 120), (".5h", 1800)],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_no_time_is_no_limit() -> None:
    assert parse_duration(None) is None


@given(st.floats(1e-3, 1e6), st.sampled_from("smh"))
def test_every_time_is_positive_and_scales_with_its_unit(number: float, unit: str) -> None:
    text = f"{number:.4f}{unit}"
    seconds = parse_duration(text)
    assert seconds is not None
    assert seconds == pytest.approx(float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[unit])


@pytest.mark.parametrize("text", ["", "0", "0m", "-5m", "soon", "5d", "1h30m", "nan", "inf", "1e3"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(FkdError, match="is not a time: write 90s, 20m"):
        parse_duration(text)


def offered(words: str, folder: Path) -> list[str]:
    """Return what bash would be offered for the last of ``words``."""
    code = "from fkd_kaggle.cli.app import app; app(prog_name='fkd-kaggle')"
    environment = {
        "_FKD_KAGGLE_COMPLETE": "complete_bash", "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1), "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True
    )
    return done.stdout.split()


def test_a_shell_is_offered_commands_recipes_and_runs(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
    assert offered("fkd-kaggle lead", tmp_path) == ["leaderboard"]
    eyes = [name for name in loading.recipe_names() if name.startswith("e")]
    assert offered("fkd-kaggle train-ensemble --recipe e", tmp_path) == eyes
    assert offered("fkd-kaggle submit s", tmp_path) == ["second"]
