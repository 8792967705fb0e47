"""Multi-branch CNN: a convolutional branch for each region of the face, merged at the end.

Each branch sees the whole image. The dense features of all branches are concatenated, and one
linear layer predicts all keypoints (kachanovska's report).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn.convolutions import conv_stack, dense_stack
from fkd_kaggle.nn.regression import regression_head


def build_model(
    heads: tuple[int, ...],
    *,
    branches: int = 2,
    filters: Sequence[int] = (32, 64, 128),
    normalise: str = "none",
    slope: float = 0.0,
    dense: Sequence[int] = (256,),
    dropout: float = 0.2,
    target_scale: str = "auto",
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32, points in pixels.

    Parameters
    ----------
    heads
        Number of points of each head.
    branches
        Number of branches.
    filters
        Channels of the 3×3 convolutions of a branch, each followed by a 2×2 max-pooling.
    normalise
        Batch normalisation "before" or "after" the activation, "none", or "scaled": filters of
        fixed mean and norm instead of batch normalisation (``nn.convolutions.ScaledConv2D``).
    slope
        Slope of the leaky ReLU below zero; 0 is ReLU.
    dense, dropout
        Units of the ReLU layers of a branch, and the dropout rate after each.
    target_scale
        Unit of the outputs before they are converted to pixels (``nn.regression``).
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    features = []
    for _ in range(branches):
        x = conv_stack(image, filters, range(1, len(filters) + 1), normalise=normalise, slope=slope)
        features.append(dense_stack(x, dense, dropout))
    merged = features[0] if branches == 1 else layers.Concatenate()(features)
    return keras.Model(image, regression_head(merged, heads, target_scale))
