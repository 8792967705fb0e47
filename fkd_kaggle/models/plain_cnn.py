"""Plain CNN: convolutions and poolings one after another, then dense layers.

The regressor of many of the competition's notebooks and course reports. Recipes reproduce published
systems by options: number and width of convolutions, places of poolings and of batch normalisation,
and dense layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import keras

from fkd_kaggle.errors import RecipeError
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.models.cascade import regress
from fkd_kaggle.nn.convolutions import conv_stack, dense_stack

FILTERS: Final = (32, 32, 64, 64, 96, 96, 128, 128, 256, 256, 512, 512, 1024, 1024, 1024, 1024)
"""Default channels of the convolutions."""

MAX_POOLINGS: Final = math.ceil(math.log2(IMAGE_SIZE))
"""Number of poolings that reduce an image to a single pixel."""


def build_model(
    heads: tuple[int, ...],
    *,
    convolutions: int = 15,
    filters: Sequence[int] = (),
    kernel: int = 3,
    poolings: int = 5,
    pool_after: Sequence[int] = (),
    normalise: str = "before",
    slope: float = 0.1,
    drop_after_pool: Sequence[float] = (),
    dense: Sequence[int] = (),
    dropout: float = 0.1,
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
    convolutions
        Number of convolutions, with the channels of ``FILTERS``; ignored if ``filters`` is given.
    filters
        Channels of each convolution.
    poolings
        Number of 2×2 max-poolings, at most 7: one after every second convolution, or evenly spread
        if there are more. Ignored if ``pool_after`` is given.
    kernel
        Height and width of the filters.
    pool_after
        Positions, from 1, of the convolutions that are followed by a pooling; replaces
        ``poolings``.
    normalise
        Batch normalisation "before" or "after" the activation, "none", or "scaled": filters of
        fixed mean and norm instead of batch normalisation (``nn.convolutions.ScaledConv2D``).
    slope
        Slope of the leaky ReLU below zero; 0 is ReLU.
    drop_after_pool
        Dropout rate after each pooling; poolings beyond its length have no dropout.
    dense
        Units of each ReLU layer between the convolutions and the output layer.
    dropout
        Dropout rate after each of them, or after the convolutions if there are none.
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
        There are too many convolutions or poolings.
    """
    if not filters and not 1 <= convolutions <= len(FILTERS):
        raise RecipeError(f"convolutions must be 1 to {len(FILTERS)}, not {convolutions}")
    channels = tuple(filters) or FILTERS[:convolutions]
    pool_after = tuple(pool_after) or _spread_poolings(len(channels), poolings)
    if len(pool_after) > MAX_POOLINGS:
        raise RecipeError(f"{len(pool_after)} poolings: {MAX_POOLINGS} leave a single pixel")

    def features(image: Any) -> Any:
        x = conv_stack(
            image,
            channels,
            pool_after,
            kernel=kernel,
            normalise=normalise,
            slope=slope,
            drop_after_pool=drop_after_pool,
        )
        return dense_stack(x, dense, dropout)

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
    return keras.Model(image, points)


def _spread_poolings(convolutions: int, poolings: int) -> tuple[int, ...]:
    """Return the positions, from 1, of the convolutions that are followed by a pooling."""
    if not 0 <= poolings <= MAX_POOLINGS:
        raise RecipeError(f"poolings must be 0 to {MAX_POOLINGS}, not {poolings}")
    if 2 * poolings <= convolutions:
        return tuple(range(2, 2 * poolings + 1, 2))
    return tuple(math.ceil(place * convolutions / poolings) for place in range(1, poolings + 1))
