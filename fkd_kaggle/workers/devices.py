"""Devices of this machine (GPUs, CPU cores, memory) and their division into slots.

A slot is the place of one worker. This module starts no process and allocates no GPU memory.
"""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fkd_kaggle.errors import NoteWarning
from fkd_kaggle.nn import backend

_SIMULATED: Final = "FKD_SIMULATED_GPUS"

WORKER_MEMORY: Final = 3_500_000_000
"""Bytes of memory for each worker on a CPU. Two workers of `standard` used 6.9 GB at their peak."""

_OTHER_MEMORY: Final = 2_000_000_000
"""Bytes for the system and the process that starts the workers."""

UNKNOWN_MEMORY: Final = 1 << 40
"""Bytes that ``usable_memory`` returns if the system does not report its memory."""

_CONTROL_GROUP: Final = Path("/sys/fs/cgroup")

_MALLOC_OPTIONS: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 31),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
"""Makes glibc keep freed memory for the next training step; other systems ignore the variables.

TensorFlow allocates each activation anew. By default glibc requests large blocks from the system
and returns them each time. This costs a cascade's step a thousand page faults and 4 % of its time,
and deep15's step seventy times as many and 10 % (docs/experiments.md).
"""


@dataclass(frozen=True)
class Machine:
    """The devices of a machine."""

    gpus: tuple[str, ...]
    """Numbers or names of the GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    cores: int
    """CPU cores that this process may use."""
    memory: int
    """Bytes of memory."""

    def slots(self, members: int, workers: int | None = None) -> list[Slot]:
        """Return the slots for training a number of members.

        Parameters
        ----------
        members
            Number of members to train.
        workers
            Number of workers; None for as many as the devices allow.

        Returns
        -------
        At most ``members`` slots, with all GPUs or, without GPUs, all cores.
        """
        if self.gpus:
            return gpu_slots(self.gpus, members, workers)
        return cpu_slots(self.cores, self.memory, members, workers)


@dataclass(frozen=True)
class Slot:
    """The devices of one worker: GPUs, or CPU threads where there are no GPUs."""

    gpus: tuple[str, ...] = ()
    """GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    threads: int = 0
    """Number of CPU threads; 0 with GPUs."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables that restrict a process to these devices."""
        if self.threads:
            count = str(self.threads)
            # Several threads would wait for each other at a single arena.
            options = _MALLOC_OPTIONS if self.threads == 1 else {}
            return {
                "TF_NUM_INTRAOP_THREADS": count,
                "TF_NUM_INTEROP_THREADS": count,
                "OMP_NUM_THREADS": count,
                **{name: os.environ.get(name, value) for name, value in options.items()},
            }
        if os.environ.get(_SIMULATED):
            return {"CUDA_VISIBLE_DEVICES": "-1", backend.LOGICAL_CPUS: str(len(self.gpus))}
        # Numbers from nvidia-smi are in this order; those that the user gives are in the user's.
        order = {} if _visible_devices() is not None else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus), **order}

    def __str__(self) -> str:
        """Return the devices in words, for messages."""
        if self.threads:
            return f"{self.threads} CPU thread{'s' if self.threads > 1 else ''}"
        return f"GPU {', '.join(self.gpus)}"


def inspect_machine() -> Machine:
    """Return the devices of this machine."""
    # joblib respects quotas of containers and CPU affinity, which os.cpu_count does not.
    import joblib

    return Machine(tuple(list_gpus()), joblib.cpu_count(), usable_memory())


def list_gpus() -> list[str]:
    """Return the GPUs that the backend can use, as CUDA_VISIBLE_DEVICES takes them.

    With ``FKD_SIMULATED_GPUS=2`` the CPU is used as two GPUs.
    """
    if simulated := os.environ.get(_SIMULATED):
        return [str(number) for number in range(int(simulated))]
    gpus = _visible_gpus()
    if not gpus or backend.sees_gpus():
        return gpus
    if hint := unseen_gpus_hint():
        warnings.warn(hint, NoteWarning, stacklevel=2)
    return []


def unseen_gpus_hint() -> str | None:
    """Return a line about NVIDIA cards that TensorFlow does not see, and what to do.

    None if TensorFlow sees them, if there are none, or if CUDA_VISIBLE_DEVICES hides them.
    """
    if not _visible_gpus() or not (cards := _driver_gpus()) or backend.sees_gpus():
        return None
    count = "a GPU" if len(cards) == 1 else f"{len(cards)} GPUs"
    return f"this machine has {count} that TensorFlow does not see: pip install 'fkd-kaggle[cuda]'"


def gpu_slots(gpus: Sequence[str], members: int, workers: int | None = None) -> list[Slot]:
    """Return at most ``members`` slots with all GPUs, one or more in each slot.

    Parameters
    ----------
    gpus
        The GPUs.
    members
        Number of members to train.
    workers
        Number of workers; None for one for each GPU.
    """
    count = max(1, min(len(gpus), members, workers or len(gpus)))
    return [Slot(gpus=tuple(gpus[worker::count])) for worker in range(count)]


def usable_memory() -> int:
    """Return the memory that this process may use, in bytes; ``UNKNOWN_MEMORY`` if it is unknown.

    In a container the limit of its control group can be smaller than the machine's memory.
    """
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        physical = UNKNOWN_MEMORY
    return min([physical, *_container_limits()])


def memory_for(workers: int) -> int:
    """Return the bytes of memory of a machine that trains with a number of workers on its CPU."""
    return _OTHER_MEMORY + workers * WORKER_MEMORY


def cpu_slots(cores: int, memory: int, members: int, workers: int | None = None) -> list[Slot]:
    """Return at most ``members`` slots with the cores of the CPU.

    The convolutions of these networks are too small to be divided between threads: two threads on
    two cores train one network hardly faster than one thread, while two processes train two
    networks in the same time (docs/experiments.md). The default is therefore one worker for each
    core, if there is enough memory.

    Parameters
    ----------
    cores
        Number of cores.
    memory
        Bytes of memory; limits the default number of workers.
    members
        Number of members to train.
    workers
        Number of workers; None for the default.
    """
    fitting = max(0, memory - _OTHER_MEMORY) // WORKER_MEMORY
    count = max(1, min(members, workers or min(cores, fitting)))
    return [Slot(threads=max(1, cores // count)) for _ in range(count)]


def _visible_gpus() -> list[str]:
    """Return the GPUs in CUDA_VISIBLE_DEVICES, or all that the driver lists."""
    visible = _visible_devices()
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu and gpu != "-1"]
    return _driver_gpus()


def _visible_devices() -> str | None:
    """Return CUDA_VISIBLE_DEVICES; None if it is not set."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def _driver_gpus() -> list[str]:
    """Return the numbers of the GPUs that NVIDIA's driver lists."""
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return listing.stdout.split()


def _container_limits() -> list[int]:
    """Return the memory limits of the control group, version 2 and version 1, in bytes."""
    limits = []
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int((_CONTROL_GROUP / name).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return [limit for limit in limits if limit > 0]
