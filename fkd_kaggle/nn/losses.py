"""Losses on coordinates; missing labels are NaN and are left out.

A loss is a function in ``LOSSES``, under the name that a recipe gives it. The functions import
Keras when they are called, so that the names can be listed without it. The loss on heatmaps is in
``nn.heatmaps``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from fkd_kaggle.keypoints import TARGET_SCALES

CoordinateLoss = Callable[[Any, float], Any]
"""(absolute errors (B, P, 2), ``loss_width``) → the loss of each coordinate, (B, P, 2)."""


def masked_loss(
    loss: str | CoordinateLoss, width: float, target_scale: str
) -> Callable[[Any, Any], Any]:
    """Return a function of labels and predictions: the mean loss over labelled coordinates.

    Parameters
    ----------
    loss
        One of ``LOSSES``, or a function like them.
    width
        Error at which smooth L1 turns linear and Wing turns from logarithmic to linear, in the
        unit of ``target_scale``.
    target_scale
        One of ``keypoints.TARGET_SCALES``: the unit in which errors are measured.

    Returns
    -------
    A function (labels, points) → scalar. Both arguments are (B, P, 2) float32 in pixels; labels
    are NaN where there is none. Without any label the loss is 0.
    """
    from keras import ops

    per_coordinate = LOSSES[loss] if isinstance(loss, str) else loss
    scale, _ = TARGET_SCALES[target_scale]

    def mean_loss(labels: Any, points: Any) -> Any:
        labelled = ops.logical_not(ops.isnan(labels))
        # NaN is replaced before the arithmetic: masked afterwards, it would still reach gradients.
        error = ops.abs(ops.where(labelled, labels - points, ops.zeros_like(points))) / scale
        count = ops.maximum(ops.sum(ops.cast(labelled, "float32")), 1.0)
        return ops.sum(ops.where(labelled, per_coordinate(error, width), 0.0)) / count

    return mean_loss


def _smooth_l1(error: Any, width: float) -> Any:
    """Return a quadratic loss up to ``width`` and a linear one beyond (Girshick 2015)."""
    from keras import ops

    return ops.where(error < width, 0.5 * ops.square(error) / width, error - 0.5 * width)


def _squared_error(error: Any, width: float) -> Any:
    from keras import ops

    return ops.square(error)


def _absolute_error(error: Any, width: float) -> Any:
    return error


def _wing(error: Any, width: float) -> Any:
    """Return a loss that is logarithmic near zero, where its gradient stays large.

    Feng et al. 2018, "Wing loss for robust facial landmark localisation", with ε = 1.
    """
    from keras import ops

    offset = width - width * math.log1p(width)
    return ops.where(error < width, width * ops.log(1.0 + error), error - offset)


LOSSES: Final[Mapping[str, CoordinateLoss]] = {
    "smooth-l1": _smooth_l1,
    "mse": _squared_error,
    "mae": _absolute_error,
    "wing": _wing,
}
"""Losses by the name that a recipe gives them."""
