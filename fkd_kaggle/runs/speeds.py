"""Speeds of training that are remembered with each run (speed.json).

    runs/<name>/speed.json    machine, speed of a core, and images per second of each recipe

This module reads and writes the file; ``workers.calibration`` measures.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.runs.folder import RUN_FILE, Run
from fkd_kaggle.runs.history import read_histories

Histories = Mapping[str, Mapping[str, np.ndarray]]
"""What ``read_histories`` returns."""

_FILE: Final = "speed.json"

_TOTALS: Final = ("seconds", "images")
"""Columns of a history that grow from epoch to epoch."""


@dataclass(frozen=True)
class RememberedSpeeds:
    """What a run's training showed about the speed of the machine."""

    machine: str
    """Name of the machine, with its devices."""
    core: float
    """Operations per second of the core of one worker during training. Other load is included, that
    of other workers on the same core too."""
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


def measured_speeds(run: Run, before: Histories) -> dict[str, float]:
    """Return the speeds of the members that were trained since some moment.

    Parameters
    ----------
    run
        The run.
    before
        Its histories at that moment. Epochs in them may come from another machine and are not used.

    Returns
    -------
    dict
        Images per second of one worker, validation included, by digest of the recipe; empty if no
        member was trained for two epochs.
    """
    histories = read_histories(run)
    speeds = {}
    for member in run.plan.members:
        if member.name not in histories:
            continue
        totals = _new_totals(histories[member.name], before.get(member.name))
        # The first epoch includes the compilation of the network, which says little about the
        # following ones: a network that was stopped after one epoch is not remembered.
        seconds, images = np.ptp(totals, 0) if len(totals) else (0.0, 0.0)
        if seconds > 0 and images > 0:
            speeds[member.recipe.digest] = float(images / seconds)
    return speeds


def remember_speeds(run: Run, speeds: RememberedSpeeds, *, gpus: int) -> None:
    """Store speeds in a run's folder.

    Speeds of other recipes that the folder has from an earlier training on the same machine are
    kept.

    Parameters
    ----------
    run
        The run.
    speeds
        Speeds of at least one recipe.
    gpus
        Number of GPUs of the machine. Without GPUs, a speed depends on that of the core.
    """
    earlier = _read_speeds(run.path / _FILE)
    kept: dict[str, float] = {}
    if earlier is not None and earlier.machine == speeds.machine:
        scale = 1.0 if gpus else speeds.core / max(earlier.core, 1.0)
        kept = {digest: scale * one for digest, one in earlier.images_per_second.items()}
    merged = replace(speeds, images_per_second={**kept, **speeds.images_per_second})
    files.write_json(run.path / _FILE, asdict(merged))


def recall_speeds(runs_dir: Path, machine: str) -> list[RememberedSpeeds]:
    """Return what runs have remembered about a machine, the newest last."""
    found = []
    for path in sorted(runs_dir.glob(f"*/{_FILE}"), key=lambda path: path.stat().st_mtime):
        remembered = _read_speeds(path)
        if remembered is None or not (path.parent / RUN_FILE).exists():
            continue
        if remembered.machine == machine:
            found.append(remembered)
    return found


def _new_totals(
    history: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray] | None
) -> np.ndarray:
    """Return (E, 2) seconds and images after each epoch that an earlier history lacks.

    An epoch that was trained again, after an older checkpoint, takes another time and is new.
    """
    totals = np.column_stack([history[name] for name in _TOTALS])
    if before is None:
        return totals
    earlier = np.column_stack([before[name] for name in _TOTALS])
    count = min(len(totals), len(earlier))
    same = (totals[:count] == earlier[:count]).all(1)
    return totals[int(np.argmin([*same, False])) :]


def _read_speeds(path: Path) -> RememberedSpeeds | None:
    """Return the speeds in a file; None if it is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        speeds = {str(key): float(one) for key, one in values["images_per_second"].items()}
        return RememberedSpeeds(str(values["machine"]), float(values["core"]), speeds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
