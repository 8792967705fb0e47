"""Prediction with one network: the function that every prediction of this package goes through.

Used for validation during training, for out-of-fold predictions, for test faces and for crops of
photos. ``ensemble.prediction`` combines the predictions of several networks. Keras is imported on
the first call, because commands that use stored predictions do not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.outputs import flip_averaging_order, to_keypoints

if TYPE_CHECKING:
    import keras


def predict_keypoints(
    network: keras.Model,
    recipe: Recipe,
    images: np.ndarray,
    annotators: np.ndarray,
    *,
    crop_search: bool,
) -> np.ndarray:
    """Return the keypoints that one network predicts.

    Predictions are averaged over each face and its mirror image if the recipe trains on mirrored
    faces.

    Parameters
    ----------
    network
        The network of the recipe, from ``training.network``.
    recipe
        The recipe of the network.
    images
        (N, 96, 96) uint8.
    annotators
        (N,) annotator whose conventions each prediction follows: 0 complete, 1 partial.
    crop_search
        Whether to search windows of the image where flip disagreement is large
        (``training.crop_search``). Validation skips the search to save time; the photo pipeline
        re-crops instead.

    Returns
    -------
    (N, 15, 2) float32 pixels; NaN where the recipe does not predict the keypoint.
    """
    from fkd_kaggle.training.crop_search import predict_with_crop_search
    from fkd_kaggle.training.forward import predict_points

    predict = predict_with_crop_search if crop_search else predict_points
    points = predict(network, images, flip_averaging_order(recipe))
    return to_keypoints(points, recipe, annotators)


def flip_disagreement(
    network: keras.Model, recipe: Recipe, images: np.ndarray
) -> np.ndarray | None:
    """Return how far the predictions for faces and for their mirror images differ.

    Parameters
    ----------
    network, recipe, images
        As for ``predict_keypoints``.

    Returns
    -------
    (N,) float32 pixels, root mean square over the coordinates; None if the recipe does not train on
    mirrored faces.
    """
    annotators = np.zeros(len(images), np.uint8)
    return predict_with_disagreement(network, recipe, images, annotators)[1]


def predict_with_disagreement(
    network: keras.Model, recipe: Recipe, images: np.ndarray, annotators: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return ``predict_keypoints`` without crop search, and ``flip_disagreement``.

    Parameters
    ----------
    network, recipe, images, annotators
        As for ``predict_keypoints``.
    """
    from fkd_kaggle.training.forward import predict_with_flip_disagreement

    flip = flip_averaging_order(recipe)
    points, disagreement = predict_with_flip_disagreement(network, images, flip)
    keypoints = to_keypoints(points, recipe, annotators)
    return keypoints, None if flip is None else disagreement
