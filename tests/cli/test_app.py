"""Errors of the command line: one line, exit codes, crash reports; broken output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command, assert_one_line_error

from fkd_kaggle.runs import folder

TOKEN = "KGAT_0123456789abcdef0123"


@pytest.fixture
def crash_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of crash reports."""
    monkeypatch.setenv("FKD_CRASH_DIR", str(tmp_path / "crashes"))
    monkeypatch.delenv("FKD_DEBUG", raising=False)
    return tmp_path / "crashes"


def raise_from_runs(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the command ``runs`` raise an exception."""

    def fail(path: Path) -> None:
        raise error

    monkeypatch.setattr(folder, "list_runs", fail)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"bad header b'Bearer {TOKEN}\\n'\nsecond line \x1b[31m"),
        EOFError(),
        AttributeError("'str' object has no attribute '__cause__'"),
        MemoryError(),
        OSError("no number"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_unforeseen_exception_is_one_line_and_a_crash_report(
    fkd: Command, crash_dir: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    raise_from_runs(monkeypatch, error)
    result = fkd("runs", "--json")
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert result.err.startswith("error: ")
    assert "\x1b" not in result.err
    (report,) = crash_dir.iterdir()
    assert str(report) in result.err
    text = report.read_text()
    assert "Traceback (most recent call last)" in text
    assert type(error).__name__ in text
    assert "command: fkd-kaggle runs" in text
    assert "keras: " in text
    assert TOKEN not in result.all + text
    assert report.stat().st_mode & 0o077 == 0


def test_debug_prints_the_traceback(
    fkd: Command, crash_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_from_runs(monkeypatch, RuntimeError("some reason"))
    monkeypatch.setenv("FKD_DEBUG", "")  # restored after the test
    result = fkd("runs", "--json", "--debug")
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.err
    assert result.err.splitlines()[-1].startswith("error: unexpected RuntimeError: some reason")


def test_crash_report_is_written_elsewhere_if_its_folder_is_read_only(
    fkd: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FKD_CRASH_DIR", str(tmp_path / "file" / "x"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    raise_from_runs(monkeypatch, RuntimeError("some reason"))
    assert fkd("runs", "--json").code == 1
    assert len(list((tmp_path / "state" / "fkd-kaggle").iterdir())) == 1


def test_secret_of_the_environment_is_redacted_even_if_it_looks_like_a_word(
    fkd: Command, crash_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "horse battery\nstaple")
    raise_from_runs(monkeypatch, RuntimeError("refused: b'horse battery\\nstaple', battery"))
    result = fkd("runs", "--json")
    (report,) = crash_dir.iterdir()
    for text in (result.err, report.read_text()):
        assert "battery" not in text
        assert "staple" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch"], ["no such command", "nosuch", "--help"]),
        (["train"], ["'train'", "Did you mean 'train-ensemble' or 'train-photos'?"]),
        (["runs", "--foo"], ["no such option: --foo", "runs --help"]),
        (["fetch", "--data-dir"], ["--data-dir", "requires an argument"]),
        (["train-ensemble", "--folds", "x"], ["--folds", "integer"]),
        (["leaderboard", "--rows", "0"], ["--rows"]),
        (["runs", "extra\x1b[31m"], ["extra\\x1b"]),
    ],
)
def test_wrong_arguments_are_one_line(fkd: Command, arguments: list[str], words: list[str]) -> None:
    assert_one_line_error(fkd(*arguments), *words)


def test_ctrl_c_gives_130(fkd: Command, crash_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_from_runs(monkeypatch, KeyboardInterrupt())
    result = fkd("runs", "--json")
    assert (result.code, result.err) == (130, "interrupted\n")
    assert not crash_dir.exists()


def run_command(
    *arguments: str, redirect: str = "", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``fkd-kaggle`` in a shell with a redirection."""
    command = [sys.executable, "-m", "fkd_kaggle", *arguments]
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirect}', "bash", *command],
        env={**os.environ, **variables},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        pytest.param({"PYTHONIOENCODING": "cp1251"}, marks=pytest.mark.slow),
        pytest.param({"PYTHONIOENCODING": "cp932"}, marks=pytest.mark.slow),
        pytest.param({"PYTHONIOENCODING": "cp437"}, marks=pytest.mark.slow),
        pytest.param({"PYTHONIOENCODING": "gbk"}, marks=pytest.mark.slow),
        pytest.param({"PYTHONIOENCODING": "utf-16"}, marks=pytest.mark.slow),
        pytest.param(
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, marks=pytest.mark.slow
        ),
        {"COLUMNS": "1"},
        pytest.param({"COLUMNS": "10"}, marks=pytest.mark.slow),
        {"COLUMNS": "x", "LINES": "-1", "TERM": "nonsense"},
        pytest.param({"FORCE_COLOR": "1", "COLUMNS": "3"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_printing_works_in_every_encoding_and_width(variables: dict[str, str]) -> None:
    result = run_command("recipes", **variables)
    assert result.returncode == 0, result.stderr
    assert result.stderr == b""
    if "PYTHONIOENCODING" in variables:
        assert "cascade" in result.stdout.decode(variables["PYTHONIOENCODING"])


@pytest.mark.parametrize(
    "redirect",
    [
        "| head -1",
        pytest.param(">&-", marks=pytest.mark.slow),
        pytest.param(">&- 2>&-", marks=pytest.mark.slow),
        pytest.param("< /dev/null > /dev/null", marks=pytest.mark.slow),
    ],
)
def test_closed_output_is_no_error(redirect: str) -> None:
    result = run_command("recipes", redirect=redirect)
    assert result.returncode == 0
    assert result.stderr == b""


def test_output_on_a_full_disk_is_reported() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    result = run_command("recipes", redirect="> /dev/full")
    assert result.returncode == 1
    assert b"error: the output cannot be written (No space left on device)" in result.stderr


def test_log_records_of_libraries_are_redacted(
    fkd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    def log(path: Path) -> list[object]:
        # Pytest's handlers on the root logger would replace the last resort.
        logger = logging.getLogger("some.library")
        monkeypatch.setattr(logger, "propagate", False)
        logger.warning("Retrying after %s", f"https://host/upload?X-Goog-Signature={TOKEN}")
        return []

    monkeypatch.setattr(folder, "list_runs", log)
    result = fkd("runs", "--json")
    assert "Retrying after https://host/upload" in result.err
    assert TOKEN not in result.all


def test_control_characters_of_a_recipe_file_do_not_reach_the_terminal(fkd: Command) -> None:
    Path("evil.toml").write_text('description = "x"\n# \x1b]0;title\x07\n')
    result = fkd("recipes", "evil.toml")
    assert "\x1b" not in result.all
