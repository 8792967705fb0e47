"""Memory of a command that trains many members on a cluster, without a cluster.

    PYTHONPATH=tests python tests/benchmarks/driver_memory.py [--members 300] [--slots 64]

The scheduler, the slots' messages and files, the run folder and the display are the real ones. A
stand-in for Ray answers as slots do: events, three checkpoints and the files of each member, of
random bytes. Prints the resident memory of this process before and after the training.
Nothing is trained and nothing is blended. The faces in the object store are not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conftest import write_competition
from workers.fake_ray import FakeActor, FakeRay

from fkd_kaggle.data import dataset
from fkd_kaggle.display.console import make_console
from fkd_kaggle.display.training import TrainingDisplay
from fkd_kaggle.ensemble import fitting
from fkd_kaggle.recipes import plans
from fkd_kaggle.training.events import EpochEnded, MemberEnded, MemberStarted, StepEnded
from fkd_kaggle.workers.pool import Pool, Task
from fkd_kaggle.workers.ray_cluster import RayPool

EPOCHS = 3
"""Epochs of each member; each ends with a checkpoint."""


class SimulatedRay(FakeRay):
    """Slots that answer at once; no argument of a call is kept."""

    def __init__(self, slots: int, size: int) -> None:
        super().__init__(slots)
        self.content = os.urandom(size)
        self.progress: dict[int, tuple[Task, int]] = {}
        """Task and number of answers by actor."""

    def remote(self, **_: Any) -> Any:
        return lambda _: types.SimpleNamespace(
            options=lambda **_: types.SimpleNamespace(remote=lambda: SimulatedActor(self))
        )

    def wait(self, calls: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return calls, []

    def get(self, call: Any) -> Any:
        name, actor = call
        if name == "set_up":
            return {"ready": "float32", "speed": 1.0, "node": "simulated"}
        if name == "start":
            return None
        task, answers = self.progress[id(actor)]
        self.progress[id(actor)] = (task, answers + 1)
        return self.answer(task.member.name, answers)

    def answer(self, member: str, answers: int) -> list[dict[str, Any]]:
        """Return what ``RaySlot.poll`` returns at the given time of a training."""
        path = f"members/{member}"
        if answers == 0:
            started = MemberStarted(member, "r", 0, 0, 600_000, 100, 10, 0)
            return [{"event": "MemberStarted", **asdict(started)}]
        if answers <= EPOCHS:
            step = StepEnded(member, answers, 5, 10, 1.0, 100.0, 60.0)
            epoch = EpochEnded(member, answers, EPOCHS, 1.0, 2.0, 2.0, 1e-3, 100.0, 10.0, 60.0)
            files = {f"{path}/checkpoint.npz": self.content, f"{path}/progress.json": b"{}"}
            return [
                {"event": "StepEnded", **asdict(step)},
                {"event": "EpochEnded", **asdict(epoch)},
                {"files": files, "final": False},
            ]
        ended = MemberEnded(member, 2.0, 30.0, "finished")
        files = {f"{path}/best.weights.h5": self.content, f"{path}/progress.json": b"{}"}
        return [
            {"event": "MemberEnded", **asdict(ended)},
            {"files": files, "final": True},
            {"done": 1.0},
        ]


class SimulatedActor(FakeActor):
    """A slot of ``SimulatedRay``."""

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> Any:
            if name == "start":
                self.ray.progress[id(self)] = (arguments[2], 0)  # type: ignore[attr-defined]
            return name, self

        method = types.SimpleNamespace(remote=remote)
        method.options = lambda **_: method
        return method


def main() -> None:
    """Train simulated members and print the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--members", type=int, default=300)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--megabytes", type=float, default=2.4, help="size of a member's weights")
    options = parser.parse_args()
    strategies = types.ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda *_, **__: None  # type: ignore[attr-defined]
    for name in ("ray", "ray.util"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[strategies.__name__] = strategies
    with tempfile.TemporaryDirectory(prefix="fkd-") as folder:
        data = Path(folder, "data")
        write_competition(data, train=max(600, 2 * options.members), test=12)
        dataset.read_training(data)  # parsing needs more memory than all that follows
        chosen = plans.TrainingOptions(["heatmap-small"], folds=options.members, batch_size=8)
        run = fitting.start_run(Path(folder), "run", plans.make_plan(chosen), data)

        @contextmanager
        def start() -> Iterator[Pool]:
            ray = SimulatedRay(options.slots, int(options.megabytes * 1e6))
            yield RayPool(ray, run.path, "data", options.members, True)

        before = peak_memory()
        at_start = resident_memory()
        with TrainingDisplay(make_console(stderr=True)) as display:
            fitting.train_run(
                run,
                data,
                only={member.name for member in run.plan.members},
                on_event=display,
                start_workers=start,
            )
        ended = len(list(run.path.glob("members/*/best.weights.h5")))
        print(
            f"{ended} members in {options.slots} slots: {at_start / 2**20:.0f} MiB before the "
            f"training (with a peak of {before / 2**20:.0f} MiB), {resident_memory() / 2**20:.0f} "
            f"MiB after the training (with a peak of {peak_memory() / 2**20:.0f} MiB)"
        )


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident_memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
