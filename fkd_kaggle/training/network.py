"""A recipe's network: made, loaded, and read by keypoint and annotation source.

Knows what a network's outputs mean and how to ask it; how it is trained is ``training``'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle import models
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RunError
from fkd_kaggle.keypoints import ANNOTATORS, FLIP_ORDER, NUM_KEYPOINTS
from fkd_kaggle.models.cascade import Frame
from fkd_kaggle.nn import layers
from fkd_kaggle.recipes.loading import load_recipe, recipe_names
from fkd_kaggle.recipes.schema import Recipe


def build_network(recipe: Recipe) -> keras.Model:
    """Return the recipe's network, untrained."""
    heads = [len(points) for points in recipe.outputs()]
    options = dict(recipe.options)
    if recipe.target_scale != "auto":
        options["target_scale"] = recipe.target_scale
    network = models.build_model(recipe.architecture, heads, options)
    if recipe.label_offset:
        points = LabelOffset(name="label_offset", dtype="float32")(network.output)
        network = keras.Model(network.input, points, name=network.name)
    return network


def check_networks(recipes: Iterable[Recipe]) -> None:
    """Refuse recipes whose networks cannot be built, before any is trained for an hour.

    Those that ship are known to be sound and cost no time here.

    Raises
    ------
    RecipeError
        Says what is impossible.
    """
    for recipe in {recipe.digest: recipe for recipe in recipes}.values():
        shipped = load_recipe(recipe.name) if recipe.name in recipe_names() else None
        if not isinstance(shipped, Recipe) or shipped.options != recipe.options:
            build_network(recipe)


def initialize_at_mean_face(network: keras.Model, points: np.ndarray) -> None:
    """Tell an untrained network where the mean face's (P, 2) points are, if it wants to know."""
    layers.set_initial_points(network, points)
    for layer in network.layers:
        if isinstance(layer, Frame):
            layer.start_from(points)


@keras.saving.register_keras_serializable("fkd_kaggle")
class LabelOffset(keras.layers.Layer):
    """How far the labels lie from where a network that is shown mirrored faces can put them.

    Annotators and crops do not mirror: labels that all lie 0.8 pixels to the right become, in the
    mirrored half of the views, labels 0.8 pixels to the left, and the network learns the middle.
    What is left over is one constant an output, (P, 2) in face pixels, learned along with the
    network and added where mirroring is undone. In the network's own graph this layer is the
    identity, so that the offset travels with its weights.
    """

    # Adam moves a weight by the learning rate a step; in this unit a pixel is not 500 steps away.
    unit = 8.0

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Start from no offset."""
        # Read inside a training step of mixed precision, where Keras would cast it.
        self.kernel = self.add_weight(
            shape=input_shape[1:], initializer="zeros", autocast=False, name="offset"
        )

    def call(self, points: Any) -> Any:
        """Return the points as they are."""
        return points

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        """Return the input's shape."""
        return input_shape


def label_offset(network: keras.Model) -> Any:
    """Return the network's (P, 2) float32 offset in face pixels; 0.0 where it has none."""
    for layer in network.layers:
        if isinstance(layer, LabelOffset):
            return layer.kernel * layer.unit
    return 0.0


def label_offset_pixels(network: keras.Model) -> np.ndarray:
    """Return ``label_offset`` as an array, to be added to answers outside the network."""
    return np.asarray(ops.convert_to_numpy(label_offset(network)), np.float32)


def load_network(recipe: Recipe, folder: Path) -> keras.Model:
    """Return the trained network of a member's folder."""
    network = build_network(recipe)
    load_weights(network, folder)
    return network


def load_weights(network: keras.Model, folder: Path) -> None:
    """Load a member's kept weights into its network.

    Raises
    ------
    RunError
        The file is missing or does not fit the network.
    """
    path = folder / "best.weights.h5"
    try:
        network.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{path} is missing or damaged: delete {folder} and resume the run to train it again"
        ) from error


def label_targets(faces: Faces, recipe: Recipe) -> np.ndarray:
    """Return (N, P, 2) float32 pixels: each face's labels in the outputs of its own source.

    NaN where the loss must not look: unlabelled points, and the other source's outputs.
    """
    blocks = []
    for annotator, points in enumerate(recipe.outputs()):
        block = faces.keypoints[:, points].astype(np.float32)
        if len(recipe.outputs()) > 1:
            block = np.where((faces.annotators == annotator)[:, None, None], block, np.nan)
        blocks.append(block)
    return np.concatenate(blocks, axis=1, dtype=np.float32)


def flip_order(recipe: Recipe) -> list[int]:
    """Return (P,) positions: which output answers for which in a mirrored face."""
    order: list[int] = []
    for points in recipe.outputs():
        start = len(order)
        order += [start + points.index(FLIP_ORDER[point]) for point in points]
    return order


def flip_averaging_order(recipe: Recipe) -> list[int] | None:
    """Return ``flip_order`` for networks that learnt from mirrored faces, None for others."""
    mirrored = recipe.augmentation.flip or any(copy.flip for copy in recipe.enlarge)
    return flip_order(recipe) if mirrored else None


def to_keypoints(points: np.ndarray, recipe: Recipe, annotators: np.ndarray) -> np.ndarray:
    """Return (N, 15, 2) float32 from (N, P, 2) outputs, read by each face's source.

    Where the face's source has no output for a point, the complete source's is taken; NaN where
    the recipe does not answer for it at all, or not for faces of that source.
    """
    result = np.full((len(points), NUM_KEYPOINTS, 2), np.nan, np.float32)
    start = 0
    for annotator, answered in enumerate(recipe.outputs()):
        block = points[:, start : start + len(answered)]
        rows = np.ones(len(points), bool) if annotator == 0 else annotators == annotator
        result[np.ix_(rows, np.array(answered))] = block[rows]
        start += len(answered)
    if recipe.rows != "all":
        result[annotators != ANNOTATORS.index(recipe.rows)] = np.nan
    return result
