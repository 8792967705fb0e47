"""The machine's GPUs and cores, and how they are dealt out to processes that train.

Looks and starts nothing, so that a GPU is not taken before it is used.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fkd_kaggle.nn import backend

_SIMULATED: Final = "FKD_SIMULATED_GPUS"

_MEMORY: Final = 3 * 1024**3
"""Bytes of the machine's memory for each process that trains on a CPU: one that has trained a
cascade and deep15 had taken 3 to 4 GB at its highest."""

_KEEP_MEMORY: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 31),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
"""Has glibc keep freed memory for the next training step; means nothing to other systems.

TensorFlow allocates each activation anew. glibc would fetch the large ones from the system each
time and hand them back, which costs a cascade's step a thousand page faults and 4 % of its time,
deep15's seventy times as many and 10 % (EXPERIMENTS.md).
"""


@dataclass(frozen=True)
class Slot:
    """What one process trains on: GPUs, or threads of the CPU where it has none."""

    gpus: tuple[str, ...] = ()
    threads: int = 0

    def environment(self) -> dict[str, str]:
        """Return the variables by which a process uses this share and nothing else."""
        if self.threads:
            count = str(self.threads)
            # Several threads would wait for each other at a lone arena.
            memory = _KEEP_MEMORY if self.threads == 1 else {}
            return {
                "TF_NUM_INTRAOP_THREADS": count,
                "TF_NUM_INTEROP_THREADS": count,
                "OMP_NUM_THREADS": count,
                **{name: os.environ.get(name, value) for name, value in memory.items()},
            }
        if os.environ.get(_SIMULATED):
            return {"CUDA_VISIBLE_DEVICES": "-1", backend.LOGICAL_CPUS: str(len(self.gpus))}
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def __str__(self) -> str:
        """Return what a message calls it."""
        if self.threads:
            return f"{self.threads} CPU thread{'s' if self.threads > 1 else ''}"
        return f"GPU {', '.join(self.gpus)}"


def list_gpus() -> list[str]:
    """Return the GPUs' numbers as CUDA_VISIBLE_DEVICES takes them; empty where there are none.

    ``FKD_SIMULATED_GPUS=2`` makes the CPU stand in for so many.
    """
    if simulated := os.environ.get(_SIMULATED):
        return [str(number) for number in range(int(simulated))]
    listed = _listed()
    return listed if listed and backend.sees_gpus() else []


def _listed() -> list[str]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [one for one in chosen.split(",") if one and one != "-1"]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.split()


def gpu_slots(numbers: Sequence[str], members: int, workers: int | None = None) -> list[Slot]:
    """Deal GPUs out to at most ``members`` processes: one each, or several each."""
    count = max(1, min(len(numbers), members, workers or len(numbers)))
    return [Slot(gpus=tuple(numbers[worker::count])) for worker in range(count)]


def cpu_slots(members: int, workers: int | None = None) -> list[Slot]:
    """Deal the CPU's cores out to at most ``members`` processes.

    The convolutions of these networks are too small to be split well: two threads on two cores
    train one of them hardly faster than one thread does (EXPERIMENTS.md), two processes train two
    in the same time. There are as many processes as cores unless ``workers`` says otherwise, and
    as memory allows.
    """
    # Knows containers' quotas and affinities, which os.cpu_count does not.
    import joblib

    cores = joblib.cpu_count()
    count = max(1, min(members, workers or min(cores, _memory() // _MEMORY)))
    return [Slot(threads=max(1, cores // count)) for _ in range(count)]


def _memory() -> int:
    """Return the machine's memory in bytes; plenty where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 1 << 40
