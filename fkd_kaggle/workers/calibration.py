"""How fast this machine trains each recipe: remembered from earlier runs, or estimated.

Where no run has trained a recipe on this machine, its speed is estimated from the operations of
its network and from the speed of a core in a matrix product, which is measured in 0.3 seconds and
includes the load by other programs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Final

import numpy as np

from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.speeds import RememberedSpeeds

REFERENCE_CORE: Final = 1.3e11
"""Operations per second of an idle core of the machine of docs/experiments.md, in float32."""

_SIZE: Final = 384

_SECONDS: Final = 0.3
"""Duration of a measurement."""

_EFFICIENCY: Final = 0.29
"""Operations of forward passes per second of training in bfloat16, as a fraction of those of a
matrix product in float32: 267 images per second of a cascade with 144 million operations on a core
of ``REFERENCE_CORE`` (docs/experiments.md)."""

_FLOAT32_EFFICIENCY: Final = 0.19
"""The same for training in float32: 287 images per second of a cascade with 105 million operations,
and 234 of ``heatmap-small`` with 126 million, on a core of an Intel Xeon with 1.5e11 operations per
second (docs/results.md)."""

_UNKNOWN_OPERATIONS: Final = 2e8
"""Assumed operations of a network that is not shipped, nor any with its architecture."""

_GPU_FACTOR: Final = 25.0
"""Assumed speed of a GPU in cores."""


def measure_core() -> float:
    """Return the operations per second of one core in a matrix product, other load included."""
    from threadpoolctl import threadpool_limits

    matrix = np.random.default_rng(0).random((_SIZE, _SIZE), np.float32)
    with threadpool_limits(1):
        matrix @ matrix
        start, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < _SECONDS:
            matrix @ matrix
            count += 1
    return float(2 * _SIZE**3 * count / elapsed)


def speed_estimator(
    recalled: Sequence[RememberedSpeeds], core: float, *, gpus: int, bfloat16: bool = True
) -> Callable[[Recipe], float]:
    """Return a function that returns the images per second of a worker with a recipe.

    Parameters
    ----------
    recalled
        Speeds that runs on this machine have remembered, the newest last.
    core
        What ``measure_core`` returned now.
    gpus
        Number of GPUs.
    bfloat16
        Whether a CPU trains in bfloat16, as the reference machine does, or in float32.
    """
    efficiency = _EFFICIENCY if bfloat16 or gpus else _FLOAT32_EFFICIENCY

    def speed(recipe: Recipe) -> float:
        for run in reversed(recalled):
            if recipe.digest in run.images_per_second:
                # A GPU's speed does not depend on the load of the cores.
                load = 1.0 if gpus else float(np.clip(core / max(run.core, 1.0), 0.05, 20.0))
                return run.images_per_second[recipe.digest] * load
        estimate = efficiency * (REFERENCE_CORE * _GPU_FACTOR if gpus else core)
        return estimate / _operations(recipe)

    return speed


def _operations(recipe: Recipe) -> float:
    """Return the operations of one forward pass for one face, as far as they are known."""
    known = shipped_operations()
    if recipe.name in known:
        return known[recipe.name]
    # NAME-width-24 was made from NAME.
    for name in sorted(known, key=len, reverse=True):
        if recipe.name.startswith(f"{name}-"):
            return known[name]
    return _UNKNOWN_OPERATIONS


@cache
def shipped_operations() -> dict[str, float]:
    """Return the operations of a forward pass of each shipped recipe's network, by name.

    Counted by ``tests/models/test_architectures.py``, because counting needs Keras.
    """
    source = resources.files("fkd_kaggle.recipes") / "operations.json"
    return {name: float(one) for name, one in json.loads(source.read_text("utf-8")).items()}
