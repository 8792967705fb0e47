"""Multi-branch: one image, a convolutional branch for each region of the face, merged at the end.

Every branch sees the whole image and is free to attend to its part; their dense features are joined
and one dense layer answers for all keypoints (kachanovska's report).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn.convolutions import conv_stack, dense_stack
from fkd_kaggle.nn.regression import regression_head


def build(
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
    branches
        One a region: eyes and nose, mouth and eyebrows.
    filters
        Channels of a branch's 3×3 convolutions, each followed by a 2×2 max-pooling.
    normalise, slope
        See ``convolve``.
    dense, dropout
        Units of a branch's ReLU layers, and the share dropped after each.
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    features = []
    for _ in range(branches):
        x = conv_stack(
            image, filters, range(1, len(filters) + 1), normalise=normalise, slope=slope
        )  # fmt: skip
        features.append(dense_stack(x, dense, dropout))
    merged = features[0] if branches == 1 else layers.Concatenate()(features)
    return keras.Model(image, regression_head(merged, heads, target_scale))
