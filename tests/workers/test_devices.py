"""Devices of the machine and their division into slots."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import joblib
import pytest

from fkd_kaggle.workers import devices
from fkd_kaggle.workers.devices import Machine, Slot


@pytest.mark.parametrize(
    ("gpus", "members", "workers", "expected"),
    [
        (["0", "1"], 8, None, [("0",), ("1",)]),
        (["0", "1"], 1, None, [("0", "1")]),
        (["0", "1"], 8, 1, [("0", "1")]),
        (["0", "1", "2", "3"], 3, None, [("0", "3"), ("1",), ("2",)]),
    ],
)
def test_every_gpu_is_used(
    gpus: list[str], members: int, workers: int | None, expected: list[tuple[str, ...]]
) -> None:
    assert [slot.gpus for slot in devices.gpu_slots(gpus, members, workers)] == expected
    machine = Machine(tuple(gpus), cores=8, memory=64 << 30)
    assert [slot.gpus for slot in machine.slots(members, workers)] == expected


@pytest.mark.parametrize(
    ("cores", "gigabytes", "members", "workers", "expected"),
    [
        (2, 16, 4, None, [1, 1]),
        (8, 64, 4, None, [2, 2, 2, 2]),
        (8, 64, 1, None, [8]),
        (8, 9, 10, None, [4, 4]),  # 3.5 GB for each worker, 2 GB for the system
        (2, 8, 4, None, [2]),
        (2, 1, 4, None, [2]),
        (2, 64, 4, 1, [2]),
        (2, 64, 4, 3, [1, 1, 1]),
    ],
)
def test_every_core_is_used(
    cores: int, gigabytes: int, members: int, workers: int | None, expected: list[int]
) -> None:
    machine = Machine((), cores, gigabytes << 30)
    assert [slot.threads for slot in machine.slots(members, workers)] == expected


def test_the_machine_is_inspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FKD_SIMULATED_GPUS", "2")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 6)
    machine = devices.inspect_machine()
    assert (machine.gpus, machine.cores) == (("0", "1"), 6)
    assert machine.memory > 1 << 28


def test_the_memory_limit_of_a_container_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(devices, "_CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    machine = devices.inspect_machine().memory
    (tmp_path / "memory.max").write_text("67108864\n")
    assert devices.inspect_machine().memory == 64 << 20 < machine


def test_a_process_sees_only_the_devices_of_its_slot() -> None:
    assert Slot(gpus=("1", "3")).environment()["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert Slot(threads=2).environment()["TF_NUM_INTRAOP_THREADS"] == "2"


@pytest.mark.parametrize(("visible", "order"), [(None, "PCI_BUS_ID"), ("1,3", None)])
def test_gpus_that_the_user_numbers_keep_the_order_of_the_user(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, order: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert Slot(gpus=("1",)).environment().get("CUDA_DEVICE_ORDER") == order


def test_a_slot_is_named_by_its_devices() -> None:
    assert str(Slot(gpus=("1", "3"))) == "GPU 1, 3"
    assert str(Slot(threads=1)) == "1 CPU thread"


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tests options of glibc's malloc")
def test_a_process_with_one_thread_keeps_freed_memory() -> None:
    """Large arrays are created and deleted in a thread, like a step's activations."""
    program = (
        "import ctypes, resource, threading, numpy\n"
        # Without huge pages, whose number depends on the machine.
        "ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)\n"
        "def steps():\n"
        "    for _ in range(20): numpy.empty(60 << 20, numpy.uint8).fill(1)\n"
        "thread = threading.Thread(target=steps); thread.start(); thread.join()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"
    )

    def page_faults(changes: dict[str, str]) -> int:
        environment = {**os.environ, **changes}
        command = [sys.executable, "-c", program]
        return int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)

    assert page_faults(Slot(threads=1).environment()) < 0.3 * page_faults({})


def test_malloc_options_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert Slot(threads=1).environment()["MALLOC_ARENA_MAX"] == "4"
    assert "MALLOC_ARENA_MAX" not in Slot(threads=8).environment()


def test_gpus_that_the_backend_cannot_use_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FKD_SIMULATED_GPUS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr("fkd_kaggle.nn.backend.sees_gpus", lambda: True)
    assert devices.list_gpus() == ["0", "1"]
    monkeypatch.setattr("fkd_kaggle.nn.backend.sees_gpus", lambda: False)
    assert devices.list_gpus() == []
