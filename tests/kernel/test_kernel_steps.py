"""The steps of a kernel in this process: errors, interruption, limits of time."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY_CNN

from fkd_kaggle import pipeline
from fkd_kaggle.kernel import entry_point, environment
from fkd_kaggle.kernel.entry_point import KernelRun
from fkd_kaggle.kernel.job import KernelTask, shard_tasks
from fkd_kaggle.recipes import plans
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.machine import MACHINE_FILE, read_machine
from fkd_kaggle.runs.scores import NO_SCORES, Scores


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Kaggle's folder, with an empty input."""
    root = tmp_path / "kaggle"
    (root / "input").mkdir(parents=True)
    (root / "working").mkdir()
    monkeypatch.setenv("FKD_KAGGLE_ROOT", str(root))
    before = signal.getsignal(signal.SIGTERM)
    yield root
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def task(tmp_path: Path) -> KernelTask:
    """A kernel that trains the two members of the run in ``trained_place``."""
    (tmp_path / "tiny.toml").write_text(TINY_CNN)
    options = plans.TrainingOptions([str(tmp_path / "tiny.toml")], folds=2, precision="float32")
    return KernelTask(plans.make_plan(options), "tiny-1")


class Training:
    """Replaces ``pipeline.train``: copies trained members instead.

    Parameters
    ----------
    members
        Folder of the trained members; None to copy nothing.
    status
        Status of the run after the training.
    """

    def __init__(self, members: Path | None = None, status: str = "finished") -> None:
        self.members, self.status = members, status
        self.limit = 0.0
        self.only: Collection[str] | None = None

    def __call__(
        self,
        run: Run,
        data_dir: Path,
        *,
        time_limit: float,
        only: Collection[str] | None,
        on_event: Any,
    ) -> Scores:
        self.limit, self.only = time_limit, only
        if self.members is not None:
            shutil.copytree(self.members, run.path / "members")
        run.update(status=self.status)
        return NO_SCORES


def mount(root: Path, data: Path) -> None:
    (root / "input" / "facial-keypoints-detection").symlink_to(data)


def test_results_before_a_training_are_one_line_that_names_the_missing_step(
    root: Path, task: KernelTask, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (KernelRun.write_submission, KernelRun.print_scores):
        with KernelRun(task.to_json()) as kernel:
            step(kernel)
        assert kernel.exit_code == 2
        line = "error: no network is trained yet: call train() or blend() first\n"
        assert capsys.readouterr().err == line


def test_an_interruption_is_one_line_and_its_exit_code(
    root: Path, task: KernelTask, capsys: pytest.CaptureFixture[str]
) -> None:
    with KernelRun(task.to_json()) as kernel:
        raise KeyboardInterrupt
    assert kernel.exit_code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_error_of_another_kind_keeps_its_traceback_and_leaves_no_temporary_files(
    root: Path, task: KernelTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with pytest.raises(ZeroDivisionError), KernelRun(task.to_json()):
        assert list((tmp_path / "temporary").iterdir())
        raise ZeroDivisionError
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.slow
def test_an_interrupted_training_is_blended_and_submitted(
    root: Path,
    task: KernelTask,
    trained_place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mount(root, trained_place / "data")
    training = Training(trained_place / "runs" / "tiny-1" / "members", "interrupted")
    monkeypatch.setattr(pipeline, "train", training)
    assert entry_point.main(task.to_json()) == 130
    out = capsys.readouterr().out
    assert "expected on the leaderboard" in out
    assert "tiny-1: interrupted after" in out
    run = Run.open(root / "working" / "tiny-1")
    assert run.status == "interrupted"
    assert run.scores is not None
    assert run.scores.combined is not None
    text = (root / "working" / "submission.csv").read_text()
    values = np.array([float(line.split(",")[1]) for line in text.splitlines()[1:]])
    sample = (trained_place / "data" / "SampleSubmission.csv").read_text()
    assert len(values) == len(sample.splitlines()) - 1
    assert np.isfinite(values).all()
    machine = read_machine(run.path / MACHINE_FILE)
    assert machine is not None
    assert machine.versions.keys() >= environment.OLDEST.keys()


@pytest.mark.slow
def test_a_shard_trains_its_members_and_blends_nothing(
    root: Path, task: KernelTask, competition_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(root, competition_dir)
    training = Training()
    monkeypatch.setattr(pipeline, "train", training)
    shard = shard_tasks(task, 2)[1]
    assert entry_point.main(shard.to_json()) == 0
    assert training.only == [member.name for member in shard.members]
    assert not (root / "working" / "submission.csv").exists()
    assert Run.open(root / "working" / "tiny-1").scores is None


@pytest.mark.parametrize(
    ("plan_limit", "session_limit", "limit"),
    [
        (None, 1000.0, 900.0),  # a tenth of the session is left for the results
        (60.0, 1000.0, 57.0),
        (1000.0, 12 * 3600.0, 990.0),
        (1000.0, 100.0, 90.0),
    ],
)
def test_training_ends_before_the_limits_of_the_plan_and_of_the_session(
    root: Path,
    task: KernelTask,
    competition_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    plan_limit: float | None,
    session_limit: float,
    limit: float,
) -> None:
    mount(root, competition_dir)
    training = Training()
    monkeypatch.setattr(pipeline, "train", training)
    monkeypatch.setattr("fkd_kaggle.ensemble.run_blend.blend_run", lambda *_, **__: NO_SCORES)
    plan = replace(task.plan, time_limit=plan_limit)
    with KernelRun(replace(task, plan=plan, session_limit=session_limit).to_json()) as kernel:
        # The time before the training, here 5 seconds, counts.
        monkeypatch.setattr(kernel, "_began", kernel._began - 5.0)
        kernel.find_data()
        kernel.train()
    assert limit - 20.0 < training.limit <= limit - 5.0


def test_figures_that_fail_do_not_cost_the_run(
    root: Path,
    task: KernelTask,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no font [bold]")

    monkeypatch.setattr("fkd_kaggle.report.run_figures.write_run_figures", fail)
    monkeypatch.setattr(KernelRun, "run", None)
    with KernelRun(task.to_json()) as kernel:
        assert kernel.write_report() == []
    assert kernel.exit_code == 0
    assert capsys.readouterr().out == "no figures (ValueError: no font [bold])\n"
