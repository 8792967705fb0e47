"""Benchmark: prediction of a test set with several networks, and with ``predict`` for each face.

    python tests/benchmarks/prediction.py [RECIPE] [NETWORKS]

Five networks of the recipe (default: ``cascade``, the recipe of ``quick``) predict 1,571 faces,
averaged with mirror images. The time includes loading and compiling. The alternative is the loop
of notebooks: ``model.predict`` for each face. It is timed for 64 faces and one network, without
mirror images, and scaled up.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fkd_kaggle.nn import backend
from fkd_kaggle.recipes import loading, schema

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FACES = 1571

SAMPLE = 64


def main(name: str, count: int) -> None:
    """Time both ways and print the results."""
    policy = backend.start_keras("auto")
    from fkd_kaggle.runs.members import weights_path
    from fkd_kaggle.training.forward import predict_points
    from fkd_kaggle.training.network import build_network, load_network
    from fkd_kaggle.training.outputs import flip_order

    recipe = loading.load_recipe(name)
    if not isinstance(recipe, schema.Recipe):
        sys.exit(f"{name} is an ensemble: name one of its recipes")
    images = np.random.default_rng(0).integers(0, 256, (FACES, 96, 96), dtype=np.uint8)
    flip = flip_order(recipe)
    with tempfile.TemporaryDirectory(prefix="fkd-prediction-") as folder:
        members = [Path(folder) / str(number) for number in range(count)]
        for member in members:
            member.mkdir()
            build_network(recipe).save_weights(weights_path(member))
        began = time.perf_counter()
        for member in members:
            network = load_network(recipe, member)
            predict_points(network, images, flip)
        ours = time.perf_counter() - began
    grey = images[:SAMPLE, ..., None] / np.float32(255)
    network.predict(grey[:1], verbose=0)
    began = time.perf_counter()
    for face in grey:
        network.predict(face[None], verbose=0)
    loop = (time.perf_counter() - began) / SAMPLE * FACES * count
    print(f"{count} networks of {name}, {FACES} faces, {os.cpu_count()} cores, {policy}")
    print(f"batches, with mirror images{ours:13.1f} s")
    print(f"face by face, without mirror images{loop:5.1f} s  ({loop / ours:.1f}x)")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(arguments[0] if arguments else "cascade", int(arguments[1]) if len(arguments) > 1 else 5)
