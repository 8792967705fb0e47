"""Stacks of convolutions and poolings, the trunk that most published systems share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from fkd_kaggle.errors import RecipeError

NORMALISATIONS = ("before", "after", "none")


def convolve(
    x: Any,
    filters: Sequence[int],
    pool_after: Sequence[int],
    *,
    kernel: int = 3,
    normalise: str = "before",
    slope: float = 0.1,
    drop_after_pool: Sequence[float] = (),
) -> Any:
    """Return (B, h, w, C) features of (B, H, W, c): convolutions, with 2×2 max-poolings between.

    Parameters
    ----------
    filters
        Channels of each convolution, which keeps height and width.
    pool_after
        After which convolutions, counted from 1, a pooling halves both; twice where named twice.
    normalise
        Batch normalisation "before" or "after" the activation; the convolutions then need no
        bias. "none": convolutions with bias and nothing else.
    slope
        Of the leaky ReLU below zero; 0 is ReLU.
    drop_after_pool
        Share of features dropped after each pooling; none where shorter.

    Raises
    ------
    RecipeError
        ``normalise`` is unknown, or poolings and convolutions do not fit each other.
    """
    if normalise not in NORMALISATIONS:
        raise RecipeError(f"normalise must be one of {', '.join(NORMALISATIONS)}: {normalise!r}")
    if not set(pool_after) <= set(range(1, len(filters) + 1)):
        raise RecipeError(
            f"poolings after convolutions {list(pool_after)} of {len(filters)} convolutions"
        )
    shares = [*drop_after_pool]
    for position, channels in enumerate(filters, start=1):
        x = layers.Conv2D(channels, kernel, padding="same", use_bias=normalise == "none")(x)
        if normalise == "before":
            x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.LeakyReLU(slope)(x) if slope else layers.ReLU()(x)
        if normalise == "after":
            x = layers.BatchNormalization(momentum=0.9)(x)
        for _ in range(list(pool_after).count(position)):
            # "same": a seventh pooling still halves what is 1 or 3 pixels wide.
            x = layers.MaxPooling2D(2, padding="same" if min(x.shape[1:3]) < 4 else "valid")(x)
            if shares:
                x = layers.Dropout(shares.pop(0))(x)
    return x


def connect(x: Any, dense: Sequence[int], dropout: float) -> Any:
    """Return (B, F): ReLU layers of ``dense`` units, each with dropout; dropout where none."""
    x = layers.Flatten()(x)
    for units in dense:
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    return x if len(dense) else layers.Dropout(dropout)(x)
