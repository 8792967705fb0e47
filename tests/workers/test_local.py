"""Worker processes on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY_CNN, write_competition

from fkd_kaggle.ensemble import fitting
from fkd_kaggle.errors import RunError
from fkd_kaggle.recipes import plans
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.lock import lock_run
from fkd_kaggle.training.events import (
    EnsembleStarted,
    EpochEnded,
    Event,
    MemberEnded,
    MemberStarted,
    OnEvent,
)
from fkd_kaggle.workers import local
from fkd_kaggle.workers.devices import Machine, Slot
from fkd_kaggle.workers.pool import Task
from fkd_kaggle.workers.schedule import Outcome, train_members

TINY = 'optimizer = "muon"\n' + TINY_CNN


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
def test_members_are_trained_in_this_process_on_request_only(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert local.workers_for_run(run, data, 2, workers=0) is None
    assert local.workers_for_run(run, data, 0) is None
    assert local.workers_for_run(run, data, 1) is not None


def test_the_default_is_one_worker_for_each_gpu_or_core() -> None:
    memory = 64 << 30
    assert local.default_worker_count(Machine(("0", "1", "2"), cores=2, memory=memory)) == 3
    assert local.default_worker_count(Machine((), cores=4, memory=memory)) == 4
    assert local.default_worker_count(Machine((), cores=1, memory=memory)) == 1


@pytest.fixture
def long_run(tmp_path: Path) -> Run:
    """A run of two members that train until they are stopped."""
    data = tmp_path / "data"
    write_competition(data, train=40, test=12)
    (tmp_path / "long.toml").write_text(TINY.replace("epochs = 1", "epochs = 100000"))
    plan = plans.make_plan(
        plans.TrainingOptions([str(tmp_path / "long.toml")], folds=2, precision="float32")
    )
    return fitting.start_run(tmp_path / "runs", "long", plan, data)


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpus")
def test_ctrl_c_keeps_checkpoints_and_a_killed_worker_is_named(
    long_run: Run, tmp_path: Path
) -> None:
    """Three trainings of one run: a worker is killed, then Ctrl-C, then both members resume."""
    data = tmp_path / "data"
    pids: list[int] = []

    def act_after_an_epoch(act: Callable[[str], None]) -> OnEvent:
        begun: set[str] = set()

        def on_event(event: Event) -> None:
            if isinstance(event, EpochEnded) and event.member not in begun:
                begun.add(event.member)
                act(event.member)

        return on_event

    def train(workers: int, on_event: OnEvent) -> Outcome:
        slots = [Slot(threads=1)] * workers
        tasks = [Task(member.name, long_run.path, member) for member in long_run.plan.members]
        with local.start_workers(long_run.path, data, slots) as pool:
            assert isinstance(pool, local.LocalPool)
            pids[:] = pool.pids
            return train_members(tasks[:workers], pool, lambda _, event: on_event(event))

    def kill(_: str) -> None:
        os.kill(pids[0], signal.SIGKILL)

    outcome = train(1, act_after_an_epoch(kill))
    assert outcome.status == "failures"
    assert "killed by signal 9" in str(outcome.failures["long-f0"])
    assert "--workers 1" in str(outcome.failures["long-f0"])

    begun: list[str] = []

    def press_ctrl_c(member: str) -> None:
        begun.append(member)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    outcome = train(2, act_after_an_epoch(press_ctrl_c))
    assert outcome == Outcome("interrupted", {}, 0)
    for member in long_run.plan.members:
        assert (long_run.member_folder(member.name) / "checkpoint.npz").exists()
    assert time.monotonic() - began < 120
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_run_is_trained_by_one_process_at_a_time(run: Run, tmp_path: Path) -> None:
    with lock_run(run.path), pytest.raises(RunError, match=f"process {os.getpid()} on"):
        fitting.train_run(run, tmp_path / "data")
    with lock_run(run.path):
        pass  # the lock is free again
