"""Heatmap network: an encoder–decoder with a heatmap for each point and soft-argmax.

The softmax of a map is a probability distribution over the image, and its expectation is the
coordinate. The network is trained on coordinates and needs far fewer epochs than a network with a
dense output layer ("integral regression", Sun et al. 2018; DSNT, Nibali et al. 2018). The encoder–
decoder is a small residual hourglass (Newell et al. 2016) after two strided convolutions.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn.convolutions import ScaledConv2D, standardise_images
from fkd_kaggle.nn.heatmaps import SoftArgmax


def build_model(
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
        Number of points of each head; there is a heatmap for each point.
    width
        Channels at 24×24. The first convolution has half as many channels. The number doubles at
        each lower resolution, up to four times ``width``.
    blocks
        Residual blocks at each resolution, in the encoder and in the decoder.
    depth
        Number of halvings below 24×24: 2 reaches 6×6, 3 reaches 3×3.
    map_size
        Height and width of the heatmaps: 24 or 48.
    dropout
        Rate of the spatial dropout at the lowest resolution.
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    maps = hourglass(
        image,
        sum(heads),
        width=width,
        blocks=blocks,
        depth=depth,
        map_size=map_size,
        dropout=dropout,
    )
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
    """Return (B, S, S, count) float32 logits; S is H/4, or H/2 with a ``map_size`` of 48.

    Parameters
    ----------
    image
        (B, H, H, 1) float32 images.
    count
        Number of heatmaps.
    width, blocks, depth, map_size, dropout
        As for ``build_model``.
    name
        Name of the last layer.
    """
    x = standardise_images(image)
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
    # float32, because bfloat16 rounds logits by up to 0.4 %, which moves the expected coordinate
    # by pixels.
    return layers.Conv2D(count, 1, dtype="float32", name=name)(x)


def _conv(x: Any, filters: int, kernel: int = 3, stride: int = 1) -> Any:
    """Return the ReLU of a scaled convolution."""
    x = ScaledConv2D(filters, kernel, strides=stride)(x)
    return layers.Activation("relu")(x)


def _residual(x: Any) -> Any:
    """Return a residual block of two convolutions, initialized as the identity."""
    y = _conv(x, x.shape[-1])
    y = ScaledConv2D(x.shape[-1], 3, gain=0.0)(y)
    return layers.Activation("relu")(layers.Add()([x, y]))
