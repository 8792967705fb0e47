"""Speeds of training that are remembered with each run (speed.json).

    runs/<name>/speed.json    machine, speed of a core, and images per second of each recipe

This module reads and writes the file; ``workers.calibration`` measures.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.runs.folder import RUN_FILE, Run
from fkd_kaggle.runs.history import read_histories

_FILE: Final = "speed.json"

_TOTALS: Final = ("seconds", "images")
"""Columns of a history that grow from epoch to epoch."""


@dataclass(frozen=True)
class RememberedSpeeds:
    """What a run's training showed about the speed of the machine."""

    machine: str
    """Name of the machine, with its devices."""
    core: float
    """Operations per second of one core during training, other load included."""
    images_per_second: Mapping[str, float]
    """Images per second of one worker, validation included, by digest of the recipe."""


def machine_name(cores: int, gpus: int, cluster: str | None = None) -> str:
    """Return the name of this machine, or of a cluster, with its devices.

    Parameters
    ----------
    cores, gpus
        Numbers of the devices.
    cluster
        Address of the cluster; None for this machine.
    """
    node = platform.node()
    if cluster is not None:
        node = f"Ray cluster {node if cluster == 'auto' else cluster}"
    return f"{node}/{cores} cores/{gpus} GPUs"


def remember_speeds(run: Run, machine: str, core: float) -> None:
    """Store the speeds of a run's members, from their histories.

    Parameters
    ----------
    run
        A run of which members were trained on this machine.
    machine
        Name of the machine.
    core
        Operations per second of one core during training.
    """
    histories = read_histories(run)
    speeds = {}
    for member in run.plan.members:
        history = histories.get(member.name)
        if history is None:
            continue
        # The first epoch includes the compilation of the network, which says little about the
        # following ones: a network that was stopped after one epoch is not remembered.
        seconds, images = (np.ptp(history[name]) if len(history[name]) else 0.0 for name in _TOTALS)
        if seconds > 0 and images > 0:
            speeds[member.recipe.digest] = float(images / seconds)
    if speeds:
        files.write_json(run.path / _FILE, asdict(RememberedSpeeds(machine, core, speeds)))


def recall_speeds(runs_dir: Path, machine: str) -> list[RememberedSpeeds]:
    """Return what runs have remembered about a machine, the newest last."""
    found = []
    for path in sorted(runs_dir.glob(f"*/{_FILE}"), key=lambda path: path.stat().st_mtime):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            speeds = {str(key): float(one) for key, one in values["images_per_second"].items()}
            remembered = RememberedSpeeds(str(values["machine"]), float(values["core"]), speeds)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if remembered.machine == machine and (path.parent / RUN_FILE).exists():
            found.append(remembered)
    return found
