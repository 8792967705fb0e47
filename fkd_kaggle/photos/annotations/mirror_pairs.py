"""Which point of a photo becomes which in its mirror image, for points with arbitrary names.

The pairs are derived from the names, or from the positions. ``keypoints.FLIP_ORDER`` is the order
of the competition's 15 keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from fkd_kaggle.keypoints import mirrored_name

_MAX_ASYMMETRY = 0.25
"""Largest distance of a mean point from its partner's mirror image, in radii of the points."""

_MAX_OFFSET = 0.6
"""Largest distance of the mean face from the photo's vertical axis, in radii of the points.

The points of one eye are symmetric as well, but the mirror image of an eye is the other eye.
"""


def find_flip_order(names: Sequence[str], points: np.ndarray) -> tuple[int, ...] | None:
    """Return the order in which the points of a mirrored photo correspond to the names.

    If names contain "left" and "right", the order follows from the names. Otherwise each point of
    the mean face is matched with the mirror image of another point or of itself.

    Parameters
    ----------
    names
        (K,) point names.
    points
        (N, K, 2) normalized coordinates (0 to 1), all finite.

    Returns
    -------
    (K,) indices: ``mirrored_points[:, order]`` has the order of ``names``. None if the pairs are
    not clear.
    """
    order = _flip_order_by_name(names)
    return order if order is not None else _flip_order_by_position(points)


def _flip_order_by_name(names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the order that the parts "left" and "right" of the names define, or None."""
    mirrored = [mirrored_name(name) for name in names]
    if list(names) == mirrored or not set(mirrored) <= set(names):
        return None
    return tuple(list(names).index(name) for name in mirrored)


def _flip_order_by_position(points: np.ndarray) -> tuple[int, ...] | None:
    """Return the order that the symmetry of the mean face defines, or None."""
    centroids = points.mean(1, keepdims=True)
    radii = np.sqrt(np.square(points - centroids).sum(-1).mean(-1))
    usable = radii > 0
    if not usable.any() or abs(centroids[..., 0].mean() - 0.5) > _MAX_OFFSET * radii.mean():
        return None
    mean = ((points - centroids)[usable] / radii[usable, None, None]).mean(0)
    distances = np.hypot(*np.moveaxis(mean[:, None] - (mean * (-1, 1))[None], -1, 0))
    _, partner = linear_sum_assignment(np.square(distances))
    is_involution = (partner[partner] == np.arange(len(partner))).all()
    if not is_involution or distances[np.arange(len(partner)), partner].max() > _MAX_ASYMMETRY:
        return None
    return tuple(int(position) for position in partner)
