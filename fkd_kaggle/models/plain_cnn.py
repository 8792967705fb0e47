"""The ladder: convolutions and poolings one after another, then dense layers.

The plain deep regressor of the competition's notebooks and course reports, from three convolutions
to sixteen. How many, how wide, where the poolings and the batch normalisation go and what follows
are options; a published system of this kind is a recipe with its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from fkd_kaggle.errors import RecipeError
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn.convolutions import conv_stack, dense_stack
from fkd_kaggle.nn.regression import regression_head

FILTERS = (32, 32, 64, 64, 96, 96, 128, 128, 256, 256, 512, 512, 1024, 1024, 1024, 1024)

MOST_POOLINGS = math.ceil(math.log2(IMAGE_SIZE))


def build(
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
    target_scale: str = "auto",
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32, points in pixels.

    Parameters
    ----------
    convolutions
        How many of ``FILTERS``, where ``filters`` gives no channels of its own.
    poolings
        2×2 max-poolings: one after every second convolution until they are used up, evenly spread
        where there are more than that; 7 at most. ``pool_after`` says the places instead.
    kernel, normalise, slope, drop_after_pool
        See ``convolve``.
    dense
        Units of ReLU layers between the features and the output, which is a dense layer itself.
    dropout
        Share dropped after each of them, or of the features where there is none.

    Raises
    ------
    RecipeError
        There are too many convolutions or poolings.
    """
    if not filters and not 1 <= convolutions <= len(FILTERS):
        raise RecipeError(f"convolutions must be 1 to {len(FILTERS)}, not {convolutions}")
    channels = tuple(filters) or FILTERS[:convolutions]
    places = tuple(pool_after) or _places(len(channels), poolings)
    if len(places) > MOST_POOLINGS:
        raise RecipeError(f"{len(places)} poolings: {MOST_POOLINGS} leave a single pixel")
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    x = conv_stack(
        image, channels, places, kernel=kernel, normalise=normalise, slope=slope,
        drop_after_pool=drop_after_pool,
    )  # fmt: skip
    return keras.Model(image, regression_head(dense_stack(x, dense, dropout), heads, target_scale))


def _places(convolutions: int, poolings: int) -> tuple[int, ...]:
    if not 0 <= poolings <= MOST_POOLINGS:
        raise RecipeError(f"poolings must be 0 to {MOST_POOLINGS}, not {poolings}")
    if 2 * poolings <= convolutions:
        return tuple(range(2, 2 * poolings + 1, 2))
    return tuple(math.ceil(place * convolutions / poolings) for place in range(1, poolings + 1))
