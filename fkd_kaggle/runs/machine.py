"""The machine on which a run was trained: versions of packages, image, GPUs (machine.json)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from fkd_kaggle import files

MACHINE_FILE: Final = "machine.json"
"""Name of the file in a run folder."""


@dataclass(frozen=True)
class Machine:
    """What can differ between the machines of a run's shards."""

    python: str
    """Version of Python."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Version of each package by its import name."""
    image: str = ""
    """Kaggle's image, "repository@sha256:…"; empty if unknown."""
    gpus: int = 0
    """Number of GPUs."""


def write_machine(run: Path, machine: Machine) -> None:
    """Write the machine of a run to its folder."""
    files.write_json(run / MACHINE_FILE, asdict(machine))


def read_machine(path: Path) -> Machine | None:
    """Return the machine described by a file; None if the file is missing or damaged.

    Parameters
    ----------
    path
        The file, with any name.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        versions = {str(name): str(version) for name, version in values["versions"].items()}
        image, gpus = str(values.get("image", "")), int(values.get("gpus", 0))
        return Machine(str(values["python"]), versions, image, gpus)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def describe_difference(one: Machine, other: Machine) -> str:
    """Return the versions in which two machines differ; empty if there are none.

    Returns
    -------
    str
        For example "keras 3.13.2 and 3.14.0, python 3.12.13 and 3.13.1".
    """
    first, second = ({"python": each.python, **each.versions} for each in (one, other))
    return ", ".join(
        f"{name} {first.get(name, 'missing')} and {second.get(name, 'missing')}"
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    )
