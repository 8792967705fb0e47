"""A slot on a Ray cluster whose worker process is replaced: errors, its end, files, devices."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.workers import ray_slot
from fkd_kaggle.workers.devices import Slot
from fkd_kaggle.workers.local import Message, Messages, WorkerOptions
from fkd_kaggle.workers.pool import Task
from fkd_kaggle.workers.ray_slot import RaySlot
from fkd_kaggle.workers.transfer import DataFiles

READY = {"ready": "float32", "speed": 100.0}

PROGRESS = "members/tiny-f0/progress.json"

TASK = Task("tiny-f0", Path("elsewhere"), cast(Member, SimpleNamespace(name="tiny-f0")), budget=9.0)


class FakeWorker:
    """Replaces ``WorkerProcess``: records what it is asked; the test sends its messages."""

    def __init__(
        self,
        name: str,
        run: Path,
        data_dir: Path,
        slot: Slot,
        options: WorkerOptions,
        messages: Messages,
    ) -> None:
        self.run, self.data_dir, self.slot, self.options = run, data_dir, slot, options
        self.messages = messages
        self.error: str | None = None
        self.tasks: list[Task] = []
        self.asked: list[str] = []
        for message in type(self).first:
            self.send(message)

    first: tuple[Message, ...] = (READY,)
    """Messages that are there as soon as the process has started."""

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.messages.put(("slot", message))

    def train(self, task: Task) -> None:
        self.tasks.append(task)

    def stop(self) -> None:
        self.asked.append("stop")

    def close(self, *, kill: bool) -> None:
        self.asked.append(f"close, kill={kill}")

    def exit_message(self, activity: str) -> str:
        return f"the worker was killed at {activity}"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[FakeWorker]:
    """The workers that slots have started."""
    workers: list[FakeWorker] = []

    def start(*arguments: Any) -> FakeWorker:
        workers.append(FakeWorker(*arguments))
        return workers[-1]

    monkeypatch.setattr(ray_slot, "WorkerProcess", start)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return workers


def set_up(slot: RaySlot, *, gpu: bool = False) -> dict[str, Any]:
    data = DataFiles({"test.csv": b"ImageId"}, {})
    return slot.set_up("tiny", {"run.json": b"{}"}, data, gpu, True)


def trains(slot: RaySlot) -> None:
    """Set a slot up and give it a member with a checkpoint."""
    set_up(slot)
    slot.start("tiny", {"run.json": b"{}", PROGRESS: b"1"}, TASK)


def test_a_slot_writes_the_files_and_reports_its_node(started: list[FakeWorker]) -> None:
    assert set_up(RaySlot()) == {**READY, "node": socket.gethostname()}
    (worker,) = started
    assert (worker.run / "run.json").read_bytes() == b"{}"
    assert (worker.data_dir / "test.csv").read_bytes() == b"ImageId"
    assert worker.slot == Slot(threads=1)
    assert worker.options.measure
    assert worker.options.test


def test_a_slot_with_a_gpu_uses_the_one_that_ray_names(
    started: list[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    set_up(RaySlot(), gpu=True)
    set_up(RaySlot(), gpu=False)
    assert [worker.slot for worker in started] == [Slot(gpus=("3",)), Slot(threads=1)]


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (({"error": "no network"},), "no network"),
        ((None,), "the worker was killed at starting"),
        ((), "the worker process does not start"),
    ],
    ids=["error", "ended", "silent"],
)
def test_a_worker_that_does_not_start_is_an_error(
    started: list[FakeWorker],
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[Message, ...],
    error: str,
) -> None:
    monkeypatch.setattr(FakeWorker, "first", first)
    monkeypatch.setattr(ray_slot, "_START_SECONDS", 0.01)
    assert set_up(RaySlot())["error"] == error


def test_a_task_is_trained_in_the_folder_of_the_slot(started: list[FakeWorker]) -> None:
    slot = RaySlot()
    trains(slot)
    (worker,) = started
    (task,) = worker.tasks
    assert (task.title, task.run, task.budget) == ("tiny-f0", worker.run, 9.0)
    assert (worker.run / PROGRESS).read_bytes() == b"1"
    # Files of an earlier attempt on this slot would not fit the checkpoint that comes.
    (worker.run / "members" / "tiny-f0" / "best.weights.h5").touch()
    slot.start("tiny", {}, TASK)
    assert not (worker.run / "members" / "tiny-f0").exists()


def test_events_arrive_with_the_last_step_only(started: list[FakeWorker]) -> None:
    slot = RaySlot()
    trains(slot)
    step = {"event": "StepEnded", "step": 1}
    started[0].send(step, {"event": "EpochEnded"}, {**step, "step": 2}, {"event": "MemberEnded"})
    assert slot.poll(1.0) == [
        {"event": "EpochEnded"},
        {"event": "MemberEnded"},
        {**step, "step": 2},
    ]
    assert slot.poll(0.01) == []


def test_files_come_once_for_each_checkpoint_and_before_the_end(
    started: list[FakeWorker],
) -> None:
    slot = RaySlot()
    trains(slot)
    (worker,) = started
    assert slot.poll(0.01) == []
    (worker.run / PROGRESS).write_bytes(b"2")
    os.utime(worker.run / PROGRESS, (1, 1))
    (message,) = slot.poll(0.01)
    assert message == {"files": {PROGRESS: b"2"}, "final": False}
    assert slot.poll(0.01) == []
    worker.send({"done": 3.0})
    files, done = slot.poll(1.0)
    assert files == {"files": {PROGRESS: b"2"}, "final": True}
    assert done == {"done": 3.0}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ((None,), "the worker was killed at tiny-f0"),
        (({"error": "runs: No space left on device"}, None), "runs: No space left on device"),
    ],
)
def test_the_end_of_a_worker_is_reported_with_node_and_reason(
    started: list[FakeWorker], messages: tuple[Message, ...], reason: str
) -> None:
    slot = RaySlot()
    trains(slot)
    started[0].send(*messages)
    assert slot.poll(1.0) == [{"lost": f"{socket.gethostname()}: {reason}"}]


def test_a_closed_slot_leaves_no_process_and_no_files(
    started: list[FakeWorker], tmp_path: Path
) -> None:
    slot = RaySlot()
    slot.stop()  # before the worker exists
    trains(slot)
    assert list(tmp_path.glob("fkd-*"))
    slot.stop()
    slot.close()
    assert started[0].asked == ["stop", "close, kill=True"]
    assert not list(tmp_path.glob("fkd-*"))
