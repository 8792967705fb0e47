"""Losses: on labelled points where the labels are, and on the maps that points come from.

``keras.ops`` only; missing labels are NaN and never reach the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from fkd_kaggle.keypoints import IMAGE_SIZE, TARGET_SCALES
from fkd_kaggle.nn.layers import cell_centres, exponentials
from fkd_kaggle.recipes.schema import Recipe


def masked_loss(recipe: Recipe) -> Callable[[Any, Any], Any]:
    """Return the recipe's loss: mean over labelled coordinates, NaN targets left out.

    Takes pixels and answers in the recipe's own unit, its ``target_scale``.
    """
    width, (scale, _) = recipe.loss_width, TARGET_SCALES[recipe.target_scale]

    def per_coordinate(error: Any) -> Any:
        if recipe.loss == "mse":
            return ops.square(error)
        if recipe.loss == "mae":
            return error
        if recipe.loss == "wing":
            # Feng et al. 2018: logarithmic near zero, so that small errors keep their pull.
            offset = width - width * math.log1p(width)
            return ops.where(error < width, width * ops.log(1.0 + error), error - offset)
        return ops.where(error < width, 0.5 * ops.square(error) / width, error - 0.5 * width)

    def loss(labels: Any, points: Any) -> Any:
        labelled = ops.logical_not(ops.isnan(labels))
        # Zeros go in before the arithmetic: a NaN that is masked afterwards still spoils gradients.
        error = ops.abs(ops.where(labelled, labels - points, ops.zeros_like(points))) / scale
        count = ops.maximum(ops.sum(ops.cast(labelled, "float32")), 1.0)
        return ops.sum(ops.where(labelled, per_coordinate(error), 0.0)) / count

    return loss


def map_loss(labels: Any, maps: Any, sigma: float = 1.0) -> Any:
    """Return the mean cross-entropy between maps and Gaussians around the labels.

    The expectation alone leaves a map's shape free; asking for a compact peak speeds the first
    epochs up (the regularisation of DSNT, Nibali et al. 2018, with cross-entropy for divergence).

    Parameters
    ----------
    labels
        (B, P, 2) pixels of the view; NaN where unknown.
    maps
        (B, H, W, P) logits.
    sigma
        The Gaussians' standard deviation in map cells.
    """
    _, height, width, _ = maps.shape
    known = ops.logical_not(ops.isnan(labels[..., 0]))
    labels = ops.where(known[..., None], labels, ops.zeros_like(labels))
    spread = 2.0 * (sigma * IMAGE_SIZE / width) ** 2

    def gaussian(place: Any, cells: int) -> Any:
        distance = place[:, None] - cell_centres(cells)[:, None]
        return ops.softmax(-ops.square(distance) / spread, 1)

    across, down = gaussian(labels[..., 0], width), gaussian(labels[..., 1], height)
    wanted = ops.sum(down * ops.sum(maps * across[:, None], 2), 1)
    share, peak = exponentials(maps)
    entropy = ops.log(ops.sum(share, (1, 2))) + peak - wanted
    total = ops.sum(ops.where(known, entropy, ops.zeros_like(entropy)))
    return total / ops.maximum(ops.sum(ops.cast(known, "float32")), 1.0)
