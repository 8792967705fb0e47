"""deep15: fifteen 3×3 convolutions, five poolings and a linear output layer.

``plain_cnn`` with other defaults: batch normalisation after each convolution, leaky ReLU, dropout
0.1. Coordinates are regressed directly, by a head for each annotator on shared features.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from fkd_kaggle.models import plain_cnn


def build_model(
    heads: tuple[int, ...],
    *,
    filters: Sequence[int] = plain_cnn.FILTERS[:15],
    poolings: int = 5,
    pool_after: Sequence[int] = (),
    normalise: str = "before",
    slope: float = 0.1,
    dropout: float = 0.1,
    dense: Sequence[int] = (),
    coarse_width: int = 0,
    zoom: float = 1.1,
    jitter: float = 1.0,
    target_scale: str = "auto",
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32, points in pixels.

    The parameters and errors are those of ``plain_cnn.build_model``.
    """
    return plain_cnn.build_model(
        heads,
        filters=filters,
        poolings=poolings,
        pool_after=pool_after,
        normalise=normalise,
        slope=slope,
        dropout=dropout,
        dense=dense,
        coarse_width=coarse_width,
        zoom=zoom,
        jitter=jitter,
        target_scale=target_scale,
    )
