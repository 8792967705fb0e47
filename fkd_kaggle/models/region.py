"""Region CNN: a compact convolutional regressor for the keypoints of one part of the face.

It sees the whole face, because the position of the mouth depends on that of the eyes. It predicts
the keypoints of its region only, so that its features can specialise.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn.regression import regression_head


def build_model(
    heads: tuple[int, ...],
    *,
    filters: Sequence[int] = (32, 64, 128, 256),
    dense: int = 256,
    dropout: float = 0.1,
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
    target_scale
        Unit of the outputs before they are converted to pixels (``nn.regression``).
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    x = image
    for channels in filters:
        for stride in (1, 2):
            x = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.LeakyReLU(0.1)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(dense, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(image, regression_head(x, heads, target_scale), name="region")
