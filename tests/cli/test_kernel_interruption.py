"""What ``submit --via kernel`` prints after Ctrl-C, for records of several runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from fkd_kaggle.cli import connection, kernel_submission
from fkd_kaggle.display.console import INTERRUPTED, make_console
from fkd_kaggle.kaggle_api import endpoint
from fkd_kaggle.kernel import records, training
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.kernel.records import KernelRecord, State
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan

JOB = KernelJob(make_plan(TrainingOptions(("smoke",))))
OTHER = replace(JOB, shards=2)


@pytest.fixture(autouse=True)
def kaggle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use Kaggle itself instead of a practice Kaggle, whatever the environment says."""
    monkeypatch.delenv(endpoint.ENVIRONMENT, raising=False)


def push(
    runs_dir: Path,
    kernel: str,
    run: str,
    job: KernelJob,
    state: State = "pushed",
    *,
    practice: bool = False,
) -> None:
    """Write the record of a kernel, newer than those before."""
    pushed = f"2026-01-01T00:00:{len(records.read_records(runs_dir)):02}"
    records.write_record(
        runs_dir, KernelRecord(f"ada/{kernel}", run, job, "", state, pushed, 1, practice=practice)
    )


def interrupted_lines(
    capsys: pytest.CaptureFixture[str],
    runs_dir: Path,
    run: str | None = None,
    job: KernelJob | None = None,
) -> list[str]:
    """Return what is printed after Ctrl-C."""
    context = kernel_submission.explain_interruption(make_console(), runs_dir, run, job)
    with pytest.raises(typer.Exit) as caught, context:
        raise KeyboardInterrupt
    assert caught.value.exit_code == INTERRUPTED
    return capsys.readouterr().out.splitlines()


def test_kernels_of_other_runs_and_of_the_other_kaggle_are_not_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    push(tmp_path, "one", "one", JOB)
    push(tmp_path, "two", "two", OTHER)
    push(tmp_path, "three", "three", JOB, practice=True)
    expected = [
        "kernel ada/one continues to run on Kaggle and to use GPU time; to stop it: fkd-kaggle "
        "kernel stop one",
        "to continue: fkd-kaggle submit one --via kernel",
    ]
    assert interrupted_lines(capsys, tmp_path, job=JOB) == expected
    assert interrupted_lines(capsys, tmp_path, "one", JOB) == expected
    assert "stop two" in interrupted_lines(capsys, tmp_path)[0]


def test_every_running_kernel_of_the_run_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    push(tmp_path, "a-1", "a", OTHER, "collected")
    push(tmp_path, "a-2", "a", OTHER)
    push(tmp_path, "a-3", "a", OTHER)
    assert interrupted_lines(capsys, tmp_path, "a") == [
        "kernels ada/a-2, ada/a-3 continue to run on Kaggle and to use GPU time; to stop them: "
        "fkd-kaggle kernel stop a",
        "to continue: fkd-kaggle submit a --via kernel",
    ]


def test_nothing_is_said_about_a_run_that_was_not_pushed_or_is_submitted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert interrupted_lines(capsys, tmp_path) == []
    push(tmp_path, "one", "one", JOB)
    push(tmp_path, "two", "two", JOB, "submitted")
    assert interrupted_lines(capsys, tmp_path, job=JOB) == []
    assert interrupted_lines(capsys, tmp_path, "new", JOB) == []


def test_submit_names_the_run_that_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    push(tmp_path, "one", "one", JOB)
    push(tmp_path, "two", "two", OTHER)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    competition = SimpleNamespace(gpu_hours_left=lambda: None)
    monkeypatch.setattr(connection, "connect_competition", lambda _: competition)
    monkeypatch.setattr(kernel_submission, "ensure_data", lambda *_: None)
    monkeypatch.setattr(training, "train_on_kaggle", interrupt)
    folders = kernel_submission.Folders(tmp_path, tmp_path, tmp_path)
    for run, job in ((None, JOB), ("one", OTHER)):
        with pytest.raises(typer.Exit):
            kernel_submission.submit(run, job, None, None, False, folders)
        out = capsys.readouterr().out
        assert "submit one --via kernel" in out
        assert "two" not in out
