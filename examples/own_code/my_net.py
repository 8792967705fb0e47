"""A network of my own, for recipes: architecture = "my_net.py:build"."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


def build(
    heads: tuple[int, ...], *, filters: Sequence[int] = (16, 32), dense: int = 64
) -> keras.Model:
    """Map (B, 96, 96, 1) grey values in [0, 1] to (B, sum(heads), 2) pixels."""
    inputs = keras.Input((96, 96, 1))
    x = inputs
    for count in filters:
        x = layers.Conv2D(count, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(dense, activation="relu")(layers.Flatten()(x))
    points = layers.Dense(2 * sum(heads), dtype="float32")(x)
    points = layers.Rescaling(20.0, offset=48.0, dtype="float32")(points)
    return keras.Model(inputs, layers.Reshape((sum(heads), 2), dtype="float32")(points))
