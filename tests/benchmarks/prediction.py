"""How fast an ensemble answers for a whole test set, beside one ``predict`` a face.

    python tests/benchmarks/prediction.py [RECIPE] [NETWORKS]

Five networks of the recipe (``cascade``, the one of ``quick``) with weights on disk answer for
1,571 faces, each averaged with its mirror image: loading, compiling and predicting are all timed.
The loop of ``model.predict`` over single faces that notebooks have is timed on 64 faces of one
network, without the mirror images, and scaled up.
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
    """Time both ways and print how they compare."""
    policy = backend.start_keras("auto")
    from fkd_kaggle.training import forward
    from fkd_kaggle.training.network import build_network, flip_order, load_network

    recipe = loading.load_recipe(name)
    if not isinstance(recipe, schema.Recipe):
        sys.exit(f"{name} is an ensemble: name one of its networks")
    images = np.random.default_rng(0).integers(0, 256, (FACES, 96, 96), dtype=np.uint8)
    flip = flip_order(recipe)
    with tempfile.TemporaryDirectory(prefix="fkd-prediction-") as folder:
        members = [Path(folder) / str(number) for number in range(count)]
        for member in members:
            member.mkdir()
            build_network(recipe).save_weights(member / "best.weights.h5")
        began = time.perf_counter()
        for member in members:
            network = load_network(recipe, member)
            forward.predict_points(network, images, flip)
        ours = time.perf_counter() - began
    grey = images[:SAMPLE, ..., None] / np.float32(255)
    network.predict(grey[:1], verbose=0)
    began = time.perf_counter()
    for face in grey:
        network.predict(face[None], verbose=0)
    loop = (time.perf_counter() - began) / SAMPLE * FACES * count
    print(f"{count} networks of {name}, {FACES} faces, {os.cpu_count()} cores, {policy}")
    print(f"batches, with mirror images{ours:10.1f} s")
    print(f"predict face by face, without{loop:8.1f} s  ({loop / ours:.1f}x)")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given[0] if given else "cascade", int(given[1]) if len(given) > 1 else 5)
