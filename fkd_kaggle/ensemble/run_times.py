"""How long the members of a run take on this machine, and which fit a time limit.

Measures the machine and reads remembered speeds; ``ensemble.time_plan`` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fkd_kaggle.ensemble.time_plan import Speed, Times
from fkd_kaggle.nn.backend import has_fast_bfloat16
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.speeds import machine_name, recall_speeds
from fkd_kaggle.workers import ray_connection
from fkd_kaggle.workers.calibration import REFERENCE_CORE, measure_core, speed_estimator
from fkd_kaggle.workers.devices import Machine, inspect_machine

_OVERHEAD: Final = 8.0
"""Seconds for compiling a network and predicting with it, on an idle core of the reference machine.
"""

_GPU_OVERHEAD: Final = 25.0
"""The same on a GPU, where compilation takes most of the time."""

_START: Final = 10.0
"""Seconds for starting TensorFlow, the blend and the report, on an idle reference machine."""


@dataclass(frozen=True)
class MachineTimes:
    """Speeds of this machine or of a cluster now."""

    machine: Machine
    """The devices; those of all nodes of a cluster."""
    core: float
    """Operations per second of one core, other load included."""
    name: str
    """Name under which speeds are remembered."""
    runs_dir: Path
    on_cluster: bool = False
    """Whether the devices are those of a cluster."""

    @classmethod
    def measure(cls, runs_dir: Path, cluster: str | None = None) -> MachineTimes:
        """Measure this machine, which takes about half a second.

        Parameters
        ----------
        runs_dir
            Folder of the runs, which remember speeds.
        cluster
            Address of a Ray cluster, see ``workers.ray_connection.connect``. Its cores are assumed
            to be as fast as those of this machine until runs have remembered speeds of the
            cluster.

        Raises
        ------
        FkdError
            The cluster cannot be used.
        """
        machine = inspect_machine() if cluster is None else ray_connection.cluster_devices(cluster)
        # The largest of two: another program may have used the core for a moment.
        core = max(measure_core(), measure_core())
        name = machine_name(machine.cores, len(machine.gpus), cluster)
        return cls(machine, core, name, runs_dir, cluster is not None)

    def times(
        self,
        members: Sequence[Member],
        faces: Callable[[Recipe], int],
        workers: int | None = None,
        *,
        idle: bool = False,
    ) -> Times:
        """Return what plans of these members depend on.

        Parameters
        ----------
        members
            The members to train.
        faces
            Returns the number of faces that a recipe of the members is trained on
            (``face_counts.face_counter``).
        workers
            Number of workers, limited to the slots of the machine; None for the default, 0 to train
            one member after the other in the command's own process.
        idle
            Whether to assume that no other program uses the machine, and that a core is at least as
            fast as ``calibration.REFERENCE_CORE``.
        """
        core = max(self.core, REFERENCE_CORE) if idle else self.core
        gpus = len(self.machine.gpus)
        recalled = recall_speeds(self.runs_dir, self.name)
        images_per_second = speed_estimator(recalled, core, gpus=gpus, bfloat16=has_fast_bfloat16())
        load = max(1.0, REFERENCE_CORE / core)
        overhead = _GPU_OVERHEAD if gpus else _OVERHEAD * load

        def speed(recipe: Recipe) -> Speed:
            return Speed(images_per_second(recipe), overhead)

        count = 1 if workers == 0 else len(self.machine.slots(len(members), workers))
        cores = None if gpus else self.machine.cores
        return Times(count, faces, _START * load, speed, cores)
