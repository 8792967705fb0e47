"""Crop search: predict again from windows of the image where flip disagreement is large.

A few images in a thousand are cropped so wide that the predictions are wrong by ten pixels or more.
The squared error of such an image equals the sum over hundreds of good predictions. Such images can
be found without labels, because the predictions for the image and for its mirror image disagree.
The network then predicts from windows of the image. The prediction from a window is used if its
flip disagreement is small and the prediction from another window, which shows the face at another
place and size, agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import keras
import numpy as np
from keras import ops

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn import warp
from fkd_kaggle.training import forward
from fkd_kaggle.training.label_offset import label_offset_pixels

LARGE_DISAGREEMENT = 1.5
"""Flip disagreement in pixels above which the crop search is used for a face: one in 300 of well
trained networks (docs/experiments.md)."""

SMALL_DISAGREEMENT = 1.0
"""Flip disagreement in window pixels below which the prediction from a window is used; 19 of 20
faces are below this value."""

AGREEMENT_DISTANCE = 2.0
"""Root mean square distance in pixels below which the predictions from two windows agree."""

MAX_FRACTION = 0.03
"""Largest fraction of the faces for which the crop search is used; the number is rounded up. A
network with large flip disagreement on more faces is not trained enough for the search."""

_WINDOW_SIZES = ((0.85, 2), (0.7, 3), (0.5, 4))
"""Size of windows as a fraction of the image, and number of windows along each axis."""


def predict_with_crop_search(
    network: keras.Model, images: np.ndarray, flip: Sequence[int] | None
) -> np.ndarray:
    """Return ``forward.predict_points`` with crop search for faces with large flip disagreement.

    Parameters
    ----------
    network
        A network from ``training.network``.
    images
        (N, 96, 96) uint8.
    flip
        P positions from ``outputs.flip_averaging_order``; None disables the search.

    Returns
    -------
    (N, P, 2) float32 pixels.
    """
    if flip is None:
        return forward.predict_points(network, images, flip)
    points, disagreement = forward.predict_with_flip_disagreement(network, images, flip)
    selected = np.argsort(-disagreement)[: ceil(MAX_FRACTION * len(images))]
    selected = selected[disagreement[selected] > LARGE_DISAGREEMENT]
    if len(selected):
        found = search_crops(network, images[selected], flip)
        points[selected] = np.where(np.isnan(found), points[selected], found)
    return points


def search_crops(
    network: keras.Model,
    images: np.ndarray,
    flip: Sequence[int],
    windows: np.ndarray | None = None,
) -> np.ndarray:
    """Return the predictions that windows of the images agree on.

    Parameters
    ----------
    network
        A network from ``training.network``.
    images
        (N, 96, 96) uint8.
    flip
        P positions from ``outputs.flip_averaging_order``.
    windows
        (W, 2, 3) float32 maps from window pixels to image pixels; ``crop_windows()`` if None.

    Returns
    -------
    (N, P, 2) float32 pixels; NaN where no two windows agree.
    """
    windows = crop_windows() if windows is None else windows
    offset = label_offset_pixels(network)
    grey = np.repeat(images[..., None].astype(np.float32), len(windows), axis=0)
    matrix = np.tile(windows, (len(images), 1, 1))
    crops = ops.convert_to_numpy(warp.warp_images(grey, matrix))[..., 0]
    crops = np.clip(np.rint(crops), 0, 255).astype(np.uint8)
    points, disagreement = forward.predict_with_flip_disagreement(network, crops, flip)
    # The label offset is in pixels of the image, not of the window.
    points = ops.convert_to_numpy(warp.transform_points(points - offset, matrix)) + offset
    result = np.full((len(images), *points.shape[1:]), np.nan, np.float32)
    for row, (candidates, disagreements) in enumerate(
        zip(np.split(points, len(images)), np.split(disagreement, len(images)), strict=True)
    ):
        best = candidates[disagreements.argmin()]
        distances = np.sqrt(np.square(candidates - best).mean((1, 2)))
        agreed = (disagreements < SMALL_DISAGREEMENT) & (distances < AGREEMENT_DISTANCE)
        if agreed.sum() > 1:
            result[row] = candidates[agreed].mean(0)
    return result


def crop_windows() -> np.ndarray:
    """Return (W, 2, 3) float32 maps from window pixels (x, y, 1) to image pixels (x, y)."""
    windows = []
    for size, count in _WINDOW_SIZES:
        corners = np.linspace(0, (1 - size) * (IMAGE_SIZE - 1), count)
        windows += [[[size, 0, x], [0, size, y]] for y in corners for x in corners]
    return np.array(windows, np.float32)
