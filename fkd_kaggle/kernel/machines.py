"""Kaggle's machines: names of accelerators, retired names, limits of sessions.

Names and replacements are those of the client 2.2.5 (``_RETIRED_ACCELERATORS``) and of the
documentation of its ``kernels push``, verified in November 2026. Kaggle can add names at any time,
so an unknown name is allowed with a warning.
"""

from __future__ import annotations

import difflib
import re
from typing import Final

from fkd_kaggle.errors import KernelError

ACCELERATOR: Final = "NvidiaTeslaT4"
"""Kaggle's name of a machine with two T4 GPUs, and Kaggle's default."""

MACHINES: Final = {
    "NvidiaTeslaT4": "two T4 GPUs, the default",
    "NvidiaL4": "four L4 GPUs, in certain competitions",
    "NvidiaL4X1": "one L4 GPU, in certain competitions",
    "NvidiaTeslaA100": "one A100 GPU, in certain competitions",
    "NvidiaH100": "one H100 GPU, in certain competitions",
    "NvidiaRtxPro6000": "one RTX Pro 6000 GPU, in certain competitions",
    "Gpu": "Kaggle's default GPU",
    "None": "no GPU",
}
"""Names of machines on which a kernel of this package can run."""

_RETIRED: Final = {"nvidiateslap100": "two T4 GPUs (NvidiaTeslaT4)"}
"""Retired name in lower case → what a session runs on instead."""

_TPU: Final = re.compile(r"tpu", re.IGNORECASE)


def check_accelerator(name: str) -> str:
    """Check the name of an accelerator before GPU quota is used for it.

    Parameters
    ----------
    name
        Kaggle's name of the machine.

    Returns
    -------
    str
        A warning about a retired or unknown name in one line; empty if there is none.

    Raises
    ------
    KernelError
        The name is a TPU's, or not a name at all.
    """
    if _TPU.match(name):
        raise KernelError(
            f"--accelerator {name}: kernels cannot use TPUs, because TensorFlow in Kaggle's image "
            "is built for CPUs and GPUs; the session would use TPU quota and train on the CPU: "
            f"choose {ACCELERATOR}, another GPU or None"
        )
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name):
        raise KernelError(
            f"--accelerator {name!r}: a machine's name has letters and digits, such as "
            f"{ACCELERATOR}; known are {', '.join(MACHINES)}"
        )
    instead = _RETIRED.get(name.lower())
    if instead is not None:
        return f"{name} is retired: Kaggle runs the session on {instead}"
    if name in MACHINES:
        return ""
    similar = difflib.get_close_matches(name.lower(), [known.lower() for known in MACHINES], 1, 0.8)
    meant = next((known for known in MACHINES if known.lower() in similar), None)
    hint = f"did you mean {meant}?" if meant else f"known are {', '.join(MACHINES)}"
    return f"{name} is a machine that this version does not know; {hint}"


def uses_gpu(accelerator: str) -> bool:
    """Return whether a machine uses GPU quota; an unknown name is taken for a GPU's."""
    return accelerator != "None"
