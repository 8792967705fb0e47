"""What the outputs of a recipe's network mean: targets, mirrored outputs, keypoints.

A network has P outputs: the keypoints of its first head, then those of its second head (see
``Recipe.outputs``). Works on arrays only and does not import Keras.
"""

from __future__ import annotations

import numpy as np

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.keypoints import ANNOTATORS, FLIP_ORDER, NUM_KEYPOINTS
from fkd_kaggle.recipes.schema import Recipe


def label_targets(faces: Faces, recipe: Recipe) -> np.ndarray:
    """Return the training targets of faces.

    Parameters
    ----------
    faces
        N faces.
    recipe
        Defines the outputs.

    Returns
    -------
    (N, P, 2) float32 pixels: the labels of each face in the outputs of its annotator. NaN where the
    label is missing and in the outputs of the other annotator; the loss ignores NaN.
    """
    blocks = []
    for annotator, points in enumerate(recipe.outputs()):
        block = faces.keypoints[:, points].astype(np.float32)
        if len(recipe.outputs()) > 1:
            block = np.where((faces.annotators == annotator)[:, None, None], block, np.nan)
        blocks.append(block)
    return np.concatenate(blocks, axis=1, dtype=np.float32)


def flip_order(recipe: Recipe) -> list[int]:
    """Return P positions: the output that predicts the mirror partner of each output."""
    order: list[int] = []
    for points in recipe.outputs():
        start = len(order)
        order += [start + points.index(FLIP_ORDER[point]) for point in points]
    return order


def flip_averaging_order(recipe: Recipe) -> list[int] | None:
    """Return ``flip_order`` for a recipe that trains on mirrored faces, and None for others."""
    mirrored = recipe.augmentation.flip or any(copy.flip for copy in recipe.offline_augmentation)
    return flip_order(recipe) if mirrored else None


def to_keypoints(points: np.ndarray, recipe: Recipe, annotators: np.ndarray) -> np.ndarray:
    """Return the 15 keypoints from the outputs of a network.

    Parameters
    ----------
    points
        (N, P, 2) outputs in pixels.
    recipe
        Defines the outputs.
    annotators
        (N,) annotator of each face: 0 complete, 1 partial.

    Returns
    -------
    (N, 15, 2) float32 pixels. A keypoint that the face's annotator has no output for comes from the
    complete annotator's output. NaN where the recipe does not predict the keypoint, or does not
    predict faces of that annotator.
    """
    result = np.full((len(points), NUM_KEYPOINTS, 2), np.nan, np.float32)
    start = 0
    for annotator, predicted in enumerate(recipe.outputs()):
        block = points[:, start : start + len(predicted)]
        rows = np.ones(len(points), bool) if annotator == 0 else annotators == annotator
        result[np.ix_(rows, np.array(predicted))] = block[rows]
        start += len(predicted)
    if recipe.rows != "all":
        result[annotators != ANNOTATORS.index(recipe.rows)] = np.nan
    return result
