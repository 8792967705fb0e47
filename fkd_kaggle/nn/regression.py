"""Output layers of networks that regress coordinates without heatmaps."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
from keras import layers

from fkd_kaggle.keypoints import IMAGE_SIZE, TARGET_SCALES


def regression_head(
    features: Any, heads: tuple[int, ...], target_scale: str = "auto", name: str = "points"
) -> Any:
    """Return (B, sum(heads), 2) float32 pixels from (B, F) features.

    Parameters
    ----------
    features
        (B, F) tensor.
    heads
        Number of keypoints of each head; a head is one linear layer.
    target_scale
        One of ``keypoints.TARGET_SCALES``. "auto" scales the features by 1/√F and starts at the
        points of ``set_initial_points``. Any other value follows the publications: Keras' default
        initial weights, no initial bias, and outputs in this unit.
    name
        Name of the last layer.
    """
    if target_scale != "auto":
        scale, offset = TARGET_SCALES[target_scale]
        points = _linear_heads(features, heads, "output", kernel_initializer="glorot_uniform")
        return layers.Rescaling(scale, offset, dtype="float32", name=name)(points)
    # Adam changes every weight by about the learning rate, so an output changes in proportion to
    # the number of features: by 180 pixels a step with deep15's 9,216. The factor 1/√F prevents
    # this (Yang et al. 2022).
    features = layers.Rescaling(features.shape[-1] ** -0.5, dtype="float32")(features)
    # With small weights the first predictions are the bias, which is set to the mean face.
    small = keras.initializers.RandomNormal(stddev=1e-2)
    points = _linear_heads(features, heads, "head", kernel_initializer=small)
    return layers.Rescaling(IMAGE_SIZE / 2, (IMAGE_SIZE - 1) / 2, dtype="float32", name=name)(
        points
    )


def set_initial_points(network: keras.Model, points: np.ndarray) -> None:
    """Set the biases of an untrained network so that it predicts ``points`` for every face.

    Does nothing to networks without the heads of ``target_scale="auto"``.

    Parameters
    ----------
    network
        A network whose output comes from ``regression_head``, or any other.
    points
        (sum(heads), 2) pixels.
    """
    named = {layer.name: layer for layer in network.layers}
    start = 0
    for position in itertools.count():
        head = named.get(f"head{position}")
        if head is None:
            return
        block = points[start : start + head.units // 2]
        head.bias.assign(((block - (IMAGE_SIZE - 1) / 2) / (IMAGE_SIZE / 2)).reshape(-1))
        start += head.units // 2


def _linear_heads(features: Any, heads: tuple[int, ...], name: str, **options: Any) -> Any:
    """Return (B, sum(heads), 2) float32: a linear layer for each head, concatenated."""
    points = []
    for position, count in enumerate(heads):
        head = layers.Dense(2 * count, dtype="float32", name=f"{name}{position}", **options)
        # All in float32: bfloat16 rounds coordinates to fifths of a pixel.
        points.append(layers.Reshape((count, 2), dtype="float32")(head(features)))
    return points[0] if len(points) == 1 else layers.Concatenate(axis=1, dtype="float32")(points)
