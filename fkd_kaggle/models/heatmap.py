"""Heatmap network: an encoder–decoder whose maps become coordinates by soft-argmax.

Each output has a map; its softmax is a distribution over places and the expectation is the
coordinate, so the network is trained on pixels and learns far faster than a dense regressor
("integral regression", Sun et al. 2018; DSNT, Nibali et al. 2018). The trunk is a small U-shaped
residual network (hourglass, Newell et al. 2016) behind a strided stem.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn.convolutions import ScaledConv2D
from fkd_kaggle.nn.heatmaps import SoftArgmax


def build(
    heads: tuple[int, ...],
    *,
    width: int = 48,
    blocks: int = 1,
    depth: int = 2,
    map_size: int = 24,
    dropout: float = 0.0,
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32, points in pixels.

    Parameters
    ----------
    heads
        Points to answer for, by source; each point has a map of its own.
    width
        Channels at 24×24; the stem has half, each level below twice as many, up to four times.
    blocks
        Residual blocks at each level, on the way down and on the way up.
    depth
        Halvings below 24×24: 2 reaches 6×6, 3 reaches 3×3.
    map_size
        24 or 48: the maps' height and width.
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    maps = hourglass(
        image, sum(heads), width=width, blocks=blocks, depth=depth, map_size=map_size,
        dropout=dropout,
    )  # fmt: skip
    points = SoftArgmax(name="points", dtype="float32")(maps)
    return keras.Model(image, points, name="heatmap")


def hourglass(
    image: Any,
    count: int,
    *,
    width: int,
    blocks: int = 1,
    depth: int = 2,
    map_size: int = 24,
    dropout: float = 0.0,
    name: str = "maps",
) -> Any:
    """Return (B, S, S, count) float32 maps of a (B, H, H, 1) image; see ``build``.

    S is a quarter of H, or half of it with a ``map_size`` of 48.
    """
    # Each face to zero mean and unit spread: bright and dark photos look alike to the stem.
    x = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, epsilon=1e-3)(image)
    fine = _conv(x, width // 2, kernel=5, stride=2)
    x = _conv(fine, width, stride=2)
    skips = []
    channels = width
    for _ in range(depth):
        for _ in range(blocks):
            x = _residual(x)
        skips.append(x)
        channels = min(2 * channels, 4 * width)
        x = _conv(x, channels, stride=2)
    for _ in range(blocks):
        x = _residual(x)
    if dropout:
        x = layers.SpatialDropout2D(dropout)(x)
    for skip in reversed(skips):
        x = layers.Conv2D(skip.shape[-1], 1, use_bias=False)(x)
        x = layers.UpSampling2D(2, interpolation="nearest")(x)
        x = layers.Add()([x, skip])
        for _ in range(blocks):
            x = _residual(x)
    if map_size == IMAGE_SIZE // 2:
        x = layers.Conv2D(width // 2, 1, use_bias=False)(x)
        x = layers.UpSampling2D(2, interpolation="nearest")(x)
        x = layers.Add()([x, fine])
        x = _conv(x, width // 2)
    # In float32: a bfloat16 logit is off by up to 0.4 %, which the expectation turns into pixels.
    return layers.Conv2D(count, 1, dtype="float32", name=name)(x)


def _conv(x: Any, filters: int, kernel: int = 3, stride: int = 1) -> Any:
    x = ScaledConv2D(filters, kernel, strides=stride)(x)
    return layers.Activation("relu")(x)


def _residual(x: Any) -> Any:
    y = _conv(x, x.shape[-1])
    y = ScaledConv2D(x.shape[-1], 3, gain=0.0)(y)
    return layers.Activation("relu")(layers.Add()([x, y]))
