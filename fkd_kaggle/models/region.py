"""Region CNN: a compact convolutional regressor for the keypoints of one part of the face.

It sees the whole face, because the position of the mouth depends on that of the eyes. It predicts
the keypoints of its region only, so that its features can specialise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import keras
from keras import layers

from fkd_kaggle.errors import RecipeError
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.models.cascade import regress
from fkd_kaggle.nn.convolutions import (
    ScaledConv2D,
    dense_stack,
    leaky_gain,
    standardise_images,
)

_SLOPE: Final = 0.1
"""Slope of the leaky ReLU below zero."""


def build_model(
    heads: tuple[int, ...],
    *,
    filters: Sequence[int] = (32, 64, 128, 256),
    dense: int = 256,
    dropout: float = 0.1,
    normalise: str = "before",
    coarse_width: int = 0,
    zoom: float = 1.1,
    jitter: float = 1.0,
    target_scale: str = "auto",
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32, points in pixels.

    Parameters
    ----------
    heads
        Number of points of each head.
    filters
        Channels of each stage: two 3×3 convolutions, the second with stride 2.
    dense
        Units of the ReLU layer between the features and the output.
    dropout
        Dropout rate after that layer.
    normalise
        Batch normalisation "before" the activation, or "scaled": filters of fixed mean and norm
        instead of batch normalisation (``nn.convolutions.ScaledConv2D``).
    coarse_width
        Width of a heatmap network that aligns the face for the convolutions (``cascade.align``);
        0 for no alignment.
    zoom, jitter
        Size of the aligned face and random change of the alignment, as for ``cascade``.
    target_scale
        Unit of the outputs before they are converted to pixels (``nn.regression``).

    Raises
    ------
    RecipeError
        ``normalise`` is unknown.
    """
    if normalise not in ("before", "scaled"):
        raise RecipeError(f"normalise must be before or scaled, not {normalise!r}")

    def features(image: Any) -> Any:
        x = standardise_images(image) if normalise == "scaled" else image
        for channels in filters:
            for stride in (1, 2):
                x = _conv(x, channels, stride, normalise)
        return dense_stack(x, (dense,), dropout)

    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    points = regress(
        image,
        heads,
        features,
        target_scale,
        coarse_width=coarse_width,
        zoom=zoom,
        jitter=jitter,
    )
    return keras.Model(image, points, name="region")


def _conv(x: Any, channels: int, stride: int, normalise: str) -> Any:
    """Return the leaky ReLU of a normalised convolution."""
    if normalise == "scaled":
        x = ScaledConv2D(channels, 3, strides=stride, gain=leaky_gain(_SLOPE))(x)
    else:
        x = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.LeakyReLU(_SLOPE)(x)
