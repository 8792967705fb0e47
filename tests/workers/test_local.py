"""Worker processes on this machine."""

from __future__ import annotations

import signal
from pathlib import Path

import joblib
import pytest
from conftest import write_competition

from fkd_kaggle.ensemble import fitting
from fkd_kaggle.recipes import plans
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.training.events import (
    EnsembleStarted,
    EpochEnded,
    Event,
    MemberEnded,
    MemberStarted,
)
from fkd_kaggle.workers import local
from fkd_kaggle.workers.devices import Machine, Slot

TINY = """
architecture = "heatmap"
optimizer = "muon"
epochs = 1
batch_size = 8
heatmap_loss = 0.5
options = { width = 8, depth = 1 }
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_competition(tmp_path / "data", train=40, test=12)
    (tmp_path / "tiny.toml").write_text(TINY)
    plan = plans.make_plan(
        plans.TrainingOptions([str(tmp_path / "tiny.toml")], folds=2, precision="float32")
    )
    return fitting.start_run(tmp_path / "runs", "tiny", plan, tmp_path / "data")


@pytest.fixture
def no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpus")
def test_two_workers_train_two_members(run: Run, tmp_path: Path) -> None:
    events: list[Event] = []
    start_workers = local.workers_for_run(run, tmp_path / "data", 2, workers=2, tensorboard=True)
    assert start_workers is not None
    scores = fitting.train_run(
        run, tmp_path / "data", on_event=events.append, start_workers=start_workers
    )
    assert scores.combined is not None
    assert scores.expected is not None
    (start,) = (event for event in events if isinstance(event, EnsembleStarted))
    assert start.precision == "2 × float32"
    kinds = [type(event) for event in events if isinstance(event, MemberStarted | MemberEnded)]
    assert sorted(kinds, key=str) == [MemberEnded, MemberEnded, MemberStarted, MemberStarted]
    assert all((run.tensorboard_folder / member.name).is_dir() for member in run.plan.members)


@pytest.mark.usefixtures("no_gpus")
def test_one_member_or_one_core_needs_no_worker(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    assert local.workers_for_run(run, data, 1) is None
    assert local.workers_for_run(run, data, 2, workers=1) is None
    assert local.workers_for_run(run, data, 2) is not None
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    assert local.workers_for_run(run, data, 2) is None


def test_the_default_is_one_worker_for_each_gpu_or_core() -> None:
    memory = 64 << 30
    assert local.default_worker_count(Machine(("0", "1", "2"), cores=2, memory=memory)) == 3
    assert local.default_worker_count(Machine((), cores=4, memory=memory)) == 4
    assert local.default_worker_count(Machine((), cores=1, memory=memory)) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpus")
def test_workers_of_a_background_job_can_be_stopped(tmp_path: Path) -> None:
    """A shell makes background jobs and their children ignore SIGINT."""
    data = tmp_path / "data"
    write_competition(data, train=40, test=12)
    (tmp_path / "long.toml").write_text(TINY.replace("epochs = 1", "epochs = 100000"))
    plan = plans.make_plan(
        plans.TrainingOptions([str(tmp_path / "long.toml")], folds=2, precision="float32")
    )
    run = fitting.start_run(tmp_path / "runs", "long", plan, data)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with local.start_workers(run.path, data, [Slot(threads=1)]) as pool:
            assert pool.stop is not None
            stop = pool.stop

            def on_event(event: Event) -> None:
                if isinstance(event, EpochEnded) and event.epoch == 1:
                    stop()

            with pytest.raises(KeyboardInterrupt):
                pool.trainers[0](run.path, run.plan.members[0], None, on_event)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (run.member_folder(run.plan.members[0].name) / "checkpoint.npz").exists()
