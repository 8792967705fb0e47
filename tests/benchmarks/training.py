"""Benchmark: training speed of members, and of plain ``fit`` with common augmentation.

    python tests/benchmarks/training.py [--batch 32] [RECIPE …]

Trains the same network in three ways, alternating within one run, each with the whole machine:

- plain ``fit`` in float32 on an ``ImageDataGenerator`` (rotation, shift, zoom, shear, brightness,
  flip), compiled as Keras chooses, in batches of 32, the default of both;
- plain ``fit`` on a ``tf.data`` pipeline of Keras' image layers with the same changes;
- as this package trains members: views inside the step, the machine's best precision and the
  recipe's batch size, one process for each GPU or core. The images/s of all processes are added.

The plain trainings use Adam and the mean squared error of all points, the first predictions of a
cascade included. They do not transform the keypoints with the image, which would take more time.
Prints images/s, the ratios, and the floating-point operations per second of our training (three
times those of a forward pass, see ``fkd_kaggle.nn.flops``) next to those of multiplying large
matrices. All numbers are medians over rounds, the ratios medians of the ratios in each round.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fkd_kaggle.nn import backend
from fkd_kaggle.recipes import loading, schema
from fkd_kaggle.workers import devices

if TYPE_CHECKING:
    import keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROUNDS = 5

WARM = 12
"""Steps before timing starts. A generator has prepared ten batches by then."""

STEPS = 24

DEFAULTS = ("deep15", "cascade", "heatmap")


def main(names: list[str], batch: int) -> None:
    """Time each recipe in three ways; plain ``fit`` uses batches of ``batch``."""
    policy = backend.start_keras("auto")
    import keras

    from fkd_kaggle.nn import flops
    from fkd_kaggle.training.network import build_network

    slots = _all_slots()
    print(
        f"keras {keras.__version__} on {keras.backend.backend()}, {os.cpu_count()} cores, "
        f"{len(slots)} × {policy}; matrices: {_matrix_rate(policy) / 1e9:.0f} GFLOP/s"
    )
    print(
        f"{'recipe':16}{'batches':>10}{'generator':>11}{'layers':>9}{'ours':>8}{'ratios':>16}"
        f"{'GFLOP/s':>9}"
    )
    for name in names:
        recipe = _recipe(name)
        faces = _faces(recipe)
        ways = [
            _plain(recipe, _generator, faces, batch),
            _plain(recipe, _layers, faces, batch),
        ]
        with _workers(name, policy, slots) as train_round:
            ways.append(train_round)
            # Alternating: the speed of a shared machine changes from minute to minute.
            speeds = np.array([[way() for way in ways] for _ in range(ROUNDS)])
        generator, layers, ours = np.median(speeds, axis=0)
        ratios = np.median(speeds[:, 2:] / speeds[:, :2], axis=0)
        rate = ours * 3 * flops.forward_flops(build_network(recipe))
        print(
            f"{name:16}{batch:6}/{recipe.batch_size:<3}{generator:11.0f}{layers:9.0f}{ours:8.0f}"
            f"{ratios[0]:8.2f}x{ratios[1]:6.2f}x{rate / 1e9:9.0f}",
            flush=True,
        )


def _recipe(name: str) -> schema.Recipe:
    recipe = loading.load_recipe(name)
    if not isinstance(recipe, schema.Recipe):
        sys.exit(f"{name} is an ensemble: name its recipes")
    return recipe


def _faces(recipe: schema.Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Return random (N, 96, 96) uint8 images and (N, P, 2) float32 labels."""
    rng = np.random.default_rng(0)
    points = sum(len(output) for output in recipe.outputs())
    count = (WARM + STEPS) * recipe.batch_size
    images = rng.integers(0, 256, (count, 96, 96), dtype=np.uint8)
    return images, rng.uniform(10, 86, (count, points, 2)).astype("float32")


def _all_slots() -> list[devices.Slot]:
    return devices.inspect_machine().slots(sys.maxsize)


def _matrix_rate(policy: str) -> float:
    """Return operations per second of multiplying matrices of 2,048 rows on all cores."""
    from keras import ops

    dtype = policy.removeprefix("mixed_")
    one = ops.cast(np.random.default_rng(0).normal(size=(2048, 2048)), dtype)
    best = 0.0
    for _ in range(8):
        began = time.perf_counter()
        float(ops.sum(ops.cast(ops.matmul(one, one)[:1], "float32")))
        best = max(best, 2 * 2048**3 / (time.perf_counter() - began))
    return best


@contextmanager
def _workers(name: str, policy: str, slots: list[devices.Slot]) -> Iterator[Callable[[], float]]:
    """Start a process in each slot; yield a function that trains a round and returns images/s."""
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, "--worker", name, policy],
            env={**os.environ, **slot.environment()},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for slot in slots
    ]

    def speeds() -> list[float]:
        return [float(worker.stdout.readline()) for worker in workers]  # type: ignore[union-attr]

    def train_round() -> float:
        for worker in workers:
            print(file=worker.stdin, flush=True)
        return sum(speeds())

    speeds()  # all processes have compiled
    try:
        yield train_round
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def worker(name: str, policy: str) -> None:
    """Train a round for each line of input and print images/s."""
    backend.start_keras(policy.removeprefix("mixed_"))
    recipe = _recipe(name)
    ours = _ours(recipe, *_faces(recipe))
    print(ours(), flush=True)
    for _ in sys.stdin:
        print(ours(), flush=True)


def _plain(
    recipe: schema.Recipe,
    feed: Callable[[np.ndarray, np.ndarray, int], Iterator[Any]],
    faces: tuple[np.ndarray, np.ndarray],
    batch: int,
) -> Callable[[], float]:
    """Return a function that trains a round with plain ``fit`` in float32; it returns images/s."""
    import keras

    from fkd_kaggle.training.network import build_network

    keras.config.set_dtype_policy("float32")
    network = build_network(recipe)
    images, labels = faces
    if any(layer.name == "coarse_points" for layer in network.layers):
        both = [network.output, network.get_layer("coarse_points").output]
        network = keras.Model(network.input, keras.layers.Concatenate(axis=1)(both))
        labels = np.concatenate([labels, labels], axis=1)
    optimizer = keras.optimizers.Adam(recipe.learning_rate)
    network.compile(optimizer, "mse")
    batches = feed(images, labels, batch)
    return lambda: _speed(network, batches, batch)


def _ours(recipe: schema.Recipe, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """Return a function that trains a round as this package does; it returns images/s."""
    from fkd_kaggle.training.learner import Learner, compile_learner, make_optimizer
    from fkd_kaggle.training.network import build_network

    learner = Learner(build_network(recipe), recipe, 0, images)
    compile_learner(learner, make_optimizer(recipe))

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(0)
        while True:
            rows = rng.integers(0, len(images), recipe.batch_size)
            yield rows.astype(np.int32), labels[rows]

    endless = batches()
    return lambda: _speed(learner, endless, recipe.batch_size)


def _speed(model: keras.Model, batches: Iterator[Any], batch_size: int) -> float:
    """Return images/s of a ``fit`` after its first steps, which use prepared batches."""
    import keras

    ends: list[tuple[int, float]] = []
    recorder = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append((batch, time.perf_counter()))
    )
    model.fit(
        batches,
        steps_per_epoch=WARM + STEPS,
        epochs=1,
        verbose=0,
        shuffle=False,
        callbacks=[recorder],
    )
    first, began = next(end for end in ends if end[0] >= WARM)
    last, ended = ends[-1]
    return (last - first) * batch_size / (ended - began)


def _generator(images: np.ndarray, labels: np.ndarray, batch_size: int) -> Iterator[Any]:
    """Return batches of an ``ImageDataGenerator``, as in notebooks from 2017 until today."""
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(
        rotation_range=10,
        width_shift_range=0.05,
        height_shift_range=0.05,
        zoom_range=0.1,
        shear_range=5,
        brightness_range=(0.8, 1.2),
        horizontal_flip=True,
        rescale=1 / 255,
    )
    return generator.flow(images[..., None].astype("float32"), labels, batch_size=batch_size)


def _layers(images: np.ndarray, labels: np.ndarray, batch_size: int) -> Iterator[Any]:
    """Return batches of a ``tf.data`` pipeline with Keras' image layers."""
    import tensorflow as tf
    from keras import layers

    changes = [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(10 / 360),
        layers.RandomTranslation(0.05, 0.05),
        layers.RandomZoom(0.1),
        layers.RandomBrightness(0.2, value_range=(0, 1)),
    ]

    def change(image: object, label: object) -> tuple[object, object]:
        for layer in changes:
            image = layer(image, training=True)
        return image, label

    data = tf.data.Dataset.from_tensor_slices((images[..., None] / np.float32(255), labels))
    data = data.shuffle(len(images)).repeat().batch(batch_size, drop_remainder=True)
    return data.map(change, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("recipes", nargs="*", default=list(DEFAULTS))
        parser.add_argument("--batch", type=int, default=32, help="of the plain trainings")
        arguments = parser.parse_args()
        main(arguments.recipes, arguments.batch)
