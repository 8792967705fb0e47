"""How fast members train, beside plain ``fit`` with the augmentation people write today.

    python tests/benchmarks/training.py [RECIPE …]

The same network, batch and optimizer three ways, in turns within one run:

- ``fit`` in float32 on an ``ImageDataGenerator`` (rotation, shift, zoom, shear, brightness, flip);
- ``fit`` in float32 on a ``tf.data`` pipeline of Keras' image layers (the same changes);
- as this package trains it: views inside the step, the precision that suits the machine.

Neither of the first two moves the keypoints along with the image, which would cost them more time.
Prints images/s of the best round and the ratios.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from fkd_kaggle import backend, recipes

FACES = 512
ROUNDS = 3
STEPS = 12
DEFAULTS = ("deep15", "cascade", "heatmap")


def main(names: list[str]) -> None:
    """Time each recipe three ways."""
    policy = backend.start("auto")
    import keras

    print(
        f"keras {keras.__version__} on {keras.backend.backend()}, {os.cpu_count()} cores, {policy}"
    )
    print(f"{'recipe':16}{'batch':>6}{'generator':>11}{'layers':>9}{'ours':>8}{'ratios':>16}")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (FACES, 96, 96), dtype=np.uint8)
    for name in names:
        recipe = recipes.load(name)
        if not isinstance(recipe, recipes.Recipe):
            sys.exit(f"{name} is an ensemble: name its networks")
        points = sum(len(output) for output in recipe.outputs())
        labels = rng.uniform(10, 86, (FACES, points, 2)).astype("float32")
        ways = [
            _plain(recipe, _generator(images, labels, recipe.batch_size)),
            _plain(recipe, _layers(images, labels, recipe.batch_size)),
            _ours(recipe, images, labels, policy),
        ]
        # In turns, and the best of each: other jobs on the machine then slow all three or none.
        speeds = [[way() for way in ways] for _ in range(ROUNDS)]
        generator, layers, ours = np.max(speeds, axis=0)
        print(
            f"{name:16}{recipe.batch_size:6}{generator:11.0f}{layers:9.0f}{ours:8.0f}"
            f"{ours / generator:8.2f}x{ours / layers:6.2f}x",
            flush=True,
        )


def _plain(recipe: recipes.Recipe, batches: Iterator) -> Callable[[], float]:
    """Return a round of plain ``fit`` in float32; it returns images/s."""
    import keras

    from fkd_kaggle import networks

    keras.config.set_dtype_policy("float32")
    network = networks.build_network(recipe)
    network.compile(optimizer=keras.optimizers.Adam(recipe.learning_rate), loss="mse")
    return lambda: _speed(network, batches, recipe.batch_size)


def _ours(
    recipe: recipes.Recipe, images: np.ndarray, labels: np.ndarray, policy: str
) -> Callable[[], float]:
    """Return a round as ``training`` does it; it returns images/s."""
    import keras

    from fkd_kaggle import networks
    from fkd_kaggle.training import Learner

    keras.config.set_dtype_policy(policy)
    learner = Learner(networks.build_network(recipe), recipe, 0, images)
    optimizer = keras.optimizers.AdamW(recipe.learning_rate, clipnorm=1.0)
    learner.compile(optimizer=optimizer, jit_compile=backend.compiles())

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(0)
        while True:
            rows = rng.integers(0, FACES, recipe.batch_size)
            yield rows.astype(np.int32), labels[rows]

    endless = batches()
    return lambda: _speed(learner, endless, recipe.batch_size)


def _speed(model: object, batches: Iterator, batch_size: int) -> float:
    options = {"epochs": 1, "verbose": 0, "shuffle": False}
    model.fit(batches, steps_per_epoch=2, **options)  # type: ignore[attr-defined]
    began = time.perf_counter()
    model.fit(batches, steps_per_epoch=STEPS, **options)  # type: ignore[attr-defined]
    return STEPS * batch_size / (time.perf_counter() - began)


def _generator(images: np.ndarray, labels: np.ndarray, batch_size: int) -> Iterator:
    """Return what notebooks of 2017 to today feed ``fit`` with."""
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(
        rotation_range=10, width_shift_range=0.05, height_shift_range=0.05, zoom_range=0.1,
        shear_range=5, brightness_range=(0.8, 1.2), horizontal_flip=True, rescale=1 / 255,
    )  # fmt: skip
    return generator.flow(images[..., None].astype("float32"), labels, batch_size=batch_size)


def _layers(images: np.ndarray, labels: np.ndarray, batch_size: int) -> Iterator:
    """Return Keras' image layers in a ``tf.data`` pipeline."""
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
    data = data.shuffle(FACES).repeat().batch(batch_size, drop_remainder=True)
    return data.map(change, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


if __name__ == "__main__":
    main(sys.argv[1:] or list(DEFAULTS))
