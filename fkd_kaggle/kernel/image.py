"""What a kernel needs of the machine's image: packages and GPUs.

Looks; imports and starts nothing heavy, so that a GPU is not taken before it is used.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
from collections.abc import Sequence
from typing import Final

from fkd_kaggle import backend
from fkd_kaggle.errors import KernelError

OLDEST: Final = {
    "keras": "3.8",
    "tensorflow": "2.18",
    "numpy": "1.26",
    "pandas": "2.2",
    "scipy": "1.13",
    "sklearn": "1.2.2",
    "rich": "13",
}
"""Import names and the oldest versions that tests/image_versions.py trains with; Kaggle holds
scikit-learn back at 1.2.2 (Kaggle/docker-python, kaggle_requirements.txt)."""

_SIMULATED: Final = "FKD_SIMULATED_GPUS"


def check() -> dict[str, str]:
    """Return the installed version of each package; refuse an image that lacks one.

    Raises
    ------
    KernelError
        Names each package that is missing or too old, what was found and the oldest version that
        will do.
    """
    installed = importlib.metadata.packages_distributions()
    found, wrong = {}, []
    for name, oldest in OLDEST.items():
        versions = [importlib.metadata.version(one) for one in installed.get(name, ())]
        if not versions:
            wrong.append(f"{name} is missing (at least {oldest} is needed)")
            continue
        found[name] = max(versions, key=_numbers)
        if _numbers(found[name]) < _numbers(oldest):
            wrong.append(f"{name} is {found[name]} (at least {oldest} is needed)")
    if wrong:
        raise KernelError(
            f"this machine's image will not do: {', '.join(wrong)}; "
            "choose the latest environment in the kernel's settings on Kaggle"
        )
    return found


def devices() -> list[str]:
    """Return the GPUs' numbers as CUDA_VISIBLE_DEVICES takes them; empty where there are none.

    ``FKD_SIMULATED_GPUS=2`` makes the CPU stand in for so many.
    """
    if simulated := os.environ.get(_SIMULATED):
        return [str(number) for number in range(int(simulated))]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [one for one in chosen.split(",") if one and one != "-1"]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.split()


def environment(group: Sequence[str]) -> dict[str, str]:
    """Return the variables by which a process sees a group of ``devices`` and no other."""
    if os.environ.get(_SIMULATED):
        return {"CUDA_VISIBLE_DEVICES": "-1", backend.LOGICAL_CPUS: str(len(group))}
    return {"CUDA_VISIBLE_DEVICES": ",".join(group), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3])
