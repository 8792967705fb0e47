"""deep15: fifteen 3×3 convolutions, five poolings, one dense layer on the linear output.

The ladder's fifteenth rung as the mission describes it: batch normalisation after each
convolution, leaky ReLU, dropout 0.1. Coordinates are regressed directly, each annotation source
from a dense layer of its own on the shared trunk.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from fkd_kaggle.models import plain_cnn


def build(
    heads: tuple[int, ...],
    *,
    filters: Sequence[int] = plain_cnn.FILTERS[:15],
    poolings: int = 5,
    dropout: float = 0.1,
    dense: Sequence[int] = (),
    target_scale: str = "auto",
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32; options as ``ladder``'s."""
    return plain_cnn.build(
        heads, filters=filters, poolings=poolings, dropout=dropout, dense=dense,
        target_scale=target_scale,
    )  # fmt: skip
