"""The last layers of networks that regress coordinates directly."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
from keras import layers

from fkd_kaggle.keypoints import SIZE
from fkd_kaggle.recipes import TARGET_SCALES


def regress(features: Any, heads: tuple[int, ...], target_scale: str = "auto") -> Any:
    """Return (B, sum(heads), 2) float32 pixels from (B, F) features, a linear layer per source.

    With a ``target_scale`` the layers are as the published systems have them: Keras' own initial
    weights, no bias to begin with, answering in that scale.
    """
    if target_scale != "auto":
        scale, offset = TARGET_SCALES[target_scale]
        points = _heads(features, heads, "output", kernel_initializer="glorot_uniform")
        return layers.Rescaling(scale, offset, dtype="float32", name="points")(points)
    # Adam moves every weight by the learning rate, so an output moves with the number of features:
    # by 180 pixels a step for deep15's 9,216 without this (the 1/√n of Yang et al. 2022).
    features = layers.Rescaling(features.shape[-1] ** -0.5, dtype="float32")(features)
    # Small weights: the first guess is the bias, which ``start_from`` sets to a mean face.
    small = keras.initializers.RandomNormal(stddev=1e-2)
    points = _heads(features, heads, "head", kernel_initializer=small)
    return layers.Rescaling(SIZE / 2, (SIZE - 1) / 2, dtype="float32", name="points")(points)


def _heads(features: Any, heads: tuple[int, ...], name: str, **options: Any) -> Any:
    """Return (B, sum(heads), 2) float32: a linear layer for each of ``heads``, side by side."""
    points = []
    for position, count in enumerate(heads):
        head = layers.Dense(2 * count, dtype="float32", name=f"{name}{position}", **options)
        # In float32 as its neighbours: bfloat16 rounds coordinates to fifths of a pixel.
        points.append(layers.Reshape((count, 2), dtype="float32")(head(features)))
    return points[0] if len(points) == 1 else layers.Concatenate(axis=1, dtype="float32")(points)


def start_from(network: keras.Model, points: np.ndarray) -> None:
    """Make an untrained regressor answer ``points``, (sum(heads), 2) pixels, for every face.

    Networks without heads of this kind, such as heatmap networks and those with a target scale of
    their own, are left as they are.
    """
    named = {layer.name: layer for layer in network.layers}
    place = 0
    for position in itertools.count():
        head = named.get(f"head{position}")
        if head is None:
            return
        block = points[place : place + head.units // 2]
        head.bias.assign(((block - (SIZE - 1) / 2) / (SIZE / 2)).reshape(-1))
        place += head.units // 2
