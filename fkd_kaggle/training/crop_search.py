"""Looking again where a network is lost: small faces, and faces far from the middle.

A few pictures in a thousand are cut so wide that a network looks for the face where faces usually
are, and misses it by ten pixels or more: as much squared error as hundreds of good answers have. It
shows without labels, because the answers for the picture and for its mirror image then disagree.
Such a picture is looked at again through windows. A window's answer counts where mirroring does not
change it and another window, which shows the face in another place and size, agrees.
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
from fkd_kaggle.training.network import label_offset_pixels

DOUBTFUL = 3.0
"""A face and its mirror image disagree by more than these pixels: look again."""

SURE = 1.0
"""They disagree by less in a window's pixels, as they do for nineteen in twenty faces: believe."""

AGREE = 2.0
"""Two windows within these pixels of each other have found the same face."""

MOST = 0.03
"""At most this share of the faces, and one, is looked at again: a network that doubts more is no
good yet."""

_SIZES = ((0.85, 2), (0.7, 3), (0.5, 4))
"""Windows' sizes as shares of the picture, and how many of each lie side by side along an axis."""


def predict_with_crop_search(
    network: keras.Model, images: np.ndarray, flip: Sequence[int] | None
) -> np.ndarray:
    """Return (N, P, 2) float32 pixels as ``networks.predict_points``, doubtful ones searched for.

    Networks that are not asked about mirror images (no ``flip``) never look again.
    """
    if flip is None:
        return forward.predict_points(network, images, flip)
    points, doubts = forward.predict_with_flip_disagreement(network, images, flip)
    lost = np.argsort(-doubts)[: ceil(MOST * len(images))]
    lost = lost[doubts[lost] > DOUBTFUL]
    if len(lost):
        found = search_crops(network, images[lost], flip)
        points[lost] = np.where(np.isnan(found), points[lost], found)
    return points


def search_crops(network: keras.Model, images: np.ndarray, flip: Sequence[int]) -> np.ndarray:
    """Return (N, P, 2) float32 pixels of faces that windows agree on; NaN where they do not.

    Parameters
    ----------
    images
        (N, 96, 96) uint8.
    flip
        (P,) from ``networks.averaged_flip``.
    """
    looks = crop_windows()
    offset = label_offset_pixels(network)
    grey = np.repeat(images[..., None].astype(np.float32), len(looks), axis=0)
    matrix = np.tile(looks, (len(images), 1, 1))
    seen = np.clip(np.rint(ops.convert_to_numpy(warp.warp_images(grey, matrix))[..., 0]), 0, 255)
    answers, doubts = forward.predict_with_flip_disagreement(network, seen.astype(np.uint8), flip)
    # Labels lie aside by so many pixels of the face's picture, not of the window's.
    answers = ops.convert_to_numpy(warp.transform_points(answers - offset, matrix)) + offset
    result = np.full((len(images), *answers.shape[1:]), np.nan, np.float32)
    for row, (found, unsure) in enumerate(
        zip(np.split(answers, len(images)), np.split(doubts, len(images)), strict=True)
    ):
        apart = np.sqrt(np.square(found - found[unsure.argmin()]).mean((1, 2)))
        agreed = (unsure < SURE) & (apart < AGREE)
        if agreed.sum() > 1:
            result[row] = found[agreed].mean(0)
    return result


def crop_windows() -> np.ndarray:
    """Return (W, 2, 3) float32: window pixel (x, y, 1) → picture pixel, for ``views.warp``."""
    found = []
    for size, count in _SIZES:
        corners = np.linspace(0, (1 - size) * (IMAGE_SIZE - 1), count)
        found += [[[size, 0, x], [0, size, y]] for y in corners for x in corners]
    return np.array(found, np.float32)
