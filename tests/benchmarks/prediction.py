"""Benchmark: prediction of a test set with several networks, and with ``predict`` for each face.

    python tests/benchmarks/prediction.py --weights RUN/members/NAME/best.weights.h5 --data DATA

Five networks of a recipe (default: ``cascade``, the recipe of ``quick``) predict 1,571 test faces,
averaged with mirror images. All five have the same weights. Without ``--weights`` they are not
trained, and without ``--data`` the faces are noise: then the crop search predicts 3 % of the faces
again from 29 windows each, which nearly doubles the work. Trained networks need it for few faces.

Each measurement is a new process: the time includes the start of Python and Keras, loading and
compiling. The networks are loaded into one compiled network, one after the other, as ``predict``
does, and for comparison into a network of their own each. Both ways alternate; printed are medians
over rounds, the median of the ratios in each round, and the processor time, which depends less on
other programs than the duration.

The alternative is the loop of notebooks: ``model.predict`` for each face. It is timed for 64 faces
and one network, without mirror images, and scaled up.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.keypoints import NUM_KEYPOINTS
from fkd_kaggle.nn import keras_settings
from fkd_kaggle.recipes import loading, schema
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.runs.folder import Run

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FACES: Final = 1571

SAMPLE: Final = 64

ROUNDS: Final = 3

_IMAGES: Final = "images.npy"

WAYS: Final = ("one network for all members", "a network for each member")


def main(arguments: Sequence[str]) -> None:
    """Time all ways and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="cascade")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--weights", type=Path, help="of a trained network of the recipe")
    parser.add_argument("--data", type=Path, help="data folder with the test faces")
    options = parser.parse_args(arguments)
    name, count = options.recipe, options.networks
    recipe = loading.load_recipe(name)
    if not isinstance(recipe, schema.Recipe):
        sys.exit(f"{name} is an ensemble: name one of its recipes")
    with tempfile.TemporaryDirectory(prefix="fkd-prediction-") as folder:
        path = Path(folder) / "runs" / "benchmark"
        np.save(Path(folder) / _IMAGES, _read_images(options.data))
        _child("--make", str(path), name, str(count), str(options.weights or ""))
        # Alternating: the speed of a shared machine changes from minute to minute.
        measured = np.array(
            [[_child("--predict", str(path), way) for way in WAYS] for _ in range(ROUNDS)]
        )
    loop = _loop(recipe) * count
    seconds, cpu = np.median(measured, axis=0).T
    ratio = np.median(measured[:, 0] / measured[:, 1], axis=0)
    print(f"{count} networks of {name}, {FACES} faces, {os.cpu_count()} cores, cold start")
    for way, wall, used in zip(WAYS, seconds, cpu, strict=True):
        print(f"{way:38}{wall:6.1f} s, processor time {used:6.1f} s")
    print(f"{'ratio':38}{ratio[0]:6.2f}    processor time {ratio[1]:6.2f}")
    print(f"{'face by face, without mirror images':38}{loop:6.1f} s  ({loop / seconds[0]:.1f}x)")


def _read_images(data: Path | None) -> np.ndarray:
    """Return (FACES, 96, 96) uint8: test faces, repeated if there are too few, or noise."""
    if data is None:
        return np.random.default_rng(0).integers(0, 256, (FACES, 96, 96), dtype=np.uint8)
    return np.resize(dataset.read_test(data).images, (FACES, 96, 96))


def _child(*arguments: str) -> tuple[float, float]:
    """Run this file in a new process; return its duration and its processor time in seconds."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, __file__, *arguments], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - began, used


def make_run(path: str, name: str, count: str, trained: str) -> None:
    """Create a run of networks with the weights of a file, or untrained ones."""
    from fkd_kaggle.nn import backend

    backend.start_keras("auto")
    from fkd_kaggle.runs.members import weights_path
    from fkd_kaggle.training.network import build_network

    recipe = loading.load_recipe(name)
    assert isinstance(recipe, schema.Recipe)
    ensemble = schema.Ensemble(name, (schema.EnsembleMember(recipe),), folds=int(count))
    folder = Path(path)
    run = Run.create(folder.parent, folder.name, Plan(ensemble), "no data")
    for member in run.plan.members:
        weights = weights_path(run.member_folder(member.name))
        weights.parent.mkdir(parents=True)
        network = build_network(recipe)
        if trained:
            network.load_weights(trained)
        network.save_weights(weights)


def predict(path: str, way: str) -> None:
    """Predict the stored faces with all members of a run."""
    from fkd_kaggle.ensemble.member_predictions import predict_with_members

    keras_settings.claim_process()  # as commands do
    run = Run.open(Path(path))
    images = np.load(Path(path).parents[1] / _IMAGES)
    labels = np.full((FACES, NUM_KEYPOINTS, 2), np.nan, np.float32)
    faces, annotators = Faces(images, labels, np.arange(FACES)), np.zeros(FACES, np.uint8)
    members = run.plan.members
    groups = [members] if way == WAYS[0] else [(member,) for member in members]
    for group in groups:
        predict_with_members(run, group, faces, annotators)
    # Without TensorFlow's shutdown, like the end of a worker.
    sys.stdout.flush()
    os._exit(0)


def _loop(recipe: schema.Recipe) -> float:
    """Return the seconds of ``model.predict`` for each face, with one network."""
    from fkd_kaggle.nn import backend

    backend.start_keras("auto")
    from fkd_kaggle.training.network import build_network

    network = build_network(recipe)
    images = np.random.default_rng(0).random((SAMPLE, 96, 96, 1), np.float32)
    network.predict(images[:1], verbose=0)
    began = time.perf_counter()
    for face in images:
        network.predict(face[None], verbose=0)
    return (time.perf_counter() - began) / SAMPLE * FACES


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--make"]:
        make_run(*arguments[1:])
    elif arguments[:1] == ["--predict"]:
        predict(*arguments[1:])
    else:
        main(arguments)
