"""deep15: fifteen 3×3 convolutions, five poolings, one dense layer on the linear output.

The plain deep regressor of the competition's notebooks and course reports, kept as they describe
it: batch normalisation after each convolution, leaky ReLU, dropout 0.1. Coordinates are regressed
directly, each annotation source from a dense layer of its own on the shared trunk.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from fkd_kaggle.keypoints import SIZE
from fkd_kaggle.models._dense import regress

FILTERS = (32, 32, 64, 64, 96, 96, 128, 128, 256, 256, 512, 512, 1024, 1024, 1024)


def build(
    heads: tuple[int, ...],
    *,
    filters: Sequence[int] = FILTERS,
    poolings: int = 5,
    dropout: float = 0.1,
    dense: Sequence[int] = (),
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32, points in pixels.

    Parameters
    ----------
    filters
        Channels of each convolution.
    poolings
        2×2 max-poolings, one after every second convolution until they are used up.
    dropout
        Share of the flattened features dropped before the output.
    dense
        Units of ReLU layers between the features and the output.
    """
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = image
    for position, channels in enumerate(filters, start=1):
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.LeakyReLU(0.1)(x)
        if position % 2 == 0 and position // 2 <= poolings:
            x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    for units in dense:
        x = layers.Dense(units, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(image, regress(x, heads), name="deep15")
