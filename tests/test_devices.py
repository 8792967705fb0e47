"""Dealing the machine out to processes that train."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import joblib
import pytest

from fkd_kaggle.workers import devices
from fkd_kaggle.workers.devices import Slot


@pytest.mark.parametrize(
    ("numbers", "members", "workers", "expected"),
    [
        (["0", "1"], 8, None, [("0",), ("1",)]),
        (["0", "1"], 1, None, [("0", "1")]),
        (["0", "1"], 8, 1, [("0", "1")]),
        (["0", "1", "2", "3"], 3, None, [("0", "3"), ("1",), ("2",)]),
    ],
)
def test_every_gpu_has_work(
    numbers: list[str], members: int, workers: int | None, expected: list[tuple[str, ...]]
) -> None:
    assert [share.gpus for share in devices.gpu_slots(numbers, members, workers)] == expected


@pytest.mark.parametrize(
    ("cores", "gigabytes", "members", "workers", "expected"),
    [
        (2, 16, 4, None, [1, 1]),
        (8, 64, 4, None, [2, 2, 2, 2]),
        (8, 64, 1, None, [8]),
        (8, 9, 10, None, [2, 2, 2]),  # 3 GB a process
        (2, 1, 4, None, [2]),
        (2, 64, 4, 1, [2]),
        (2, 64, 4, 3, [1, 1, 1]),
    ],
)
def test_every_core_has_work(
    cores: int,
    gigabytes: int,
    members: int,
    workers: int | None,
    expected: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    monkeypatch.setattr(devices, "_memory", lambda: gigabytes << 30)
    assert [share.threads for share in devices.cpu_slots(members, workers)] == expected


def test_a_share_is_all_that_its_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Slot(gpus=("1", "3")).environment()["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert Slot(threads=2).environment()["TF_NUM_INTRAOP_THREADS"] == "2"
    assert str(Slot(gpus=("1", "3"))) == "GPU 1, 3"
    assert str(Slot(threads=1)) == "1 CPU thread"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks of glibc's malloc")
def test_a_process_on_cores_keeps_the_memory_it_needs_again() -> None:
    """Large arrays made and dropped as a step's activations are, in a thread as TensorFlow's."""
    program = (
        "import ctypes, resource, threading, numpy\n"
        # No large pages, of which a machine may have many or few.
        "ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)\n"
        "def steps():\n"
        "    for _ in range(20): numpy.empty(60 << 20, numpy.uint8).fill(1)\n"
        "thread = threading.Thread(target=steps); thread.start(); thread.join()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"
    )

    def faults(changes: dict[str, str]) -> int:
        environment = {**os.environ, **changes}
        command = [sys.executable, "-c", program]
        return int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)

    assert faults(Slot(threads=1).environment()) < 0.3 * faults({})


def test_what_the_user_says_of_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert Slot(threads=1).environment()["MALLOC_ARENA_MAX"] == "4"
    assert "MALLOC_ARENA_MAX" not in Slot(threads=8).environment()


def test_gpus_of_no_use_to_the_backend_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FKD_SIMULATED_GPUS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr("fkd_kaggle.nn.backend.sees_gpus", lambda: True)
    assert devices.list_gpus() == ["0", "1"]
    monkeypatch.setattr("fkd_kaggle.nn.backend.sees_gpus", lambda: False)
    assert devices.list_gpus() == []
