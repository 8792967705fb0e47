"""The Keras model of a recipe: building, checking, initial points and loading of weights.

Knows nothing about training; ``training.outputs`` says what the outputs mean.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from fkd_kaggle import models, user_code
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.data.imputation import impute_labels
from fkd_kaggle.data.metrics import compute_metric
from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.keypoints import IMAGE_SIZE, NUM_KEYPOINTS
from fkd_kaggle.models.cascade import Frame
from fkd_kaggle.nn.losses import masked_loss
from fkd_kaggle.nn.regression import set_initial_points
from fkd_kaggle.recipes.loading import load_recipe, recipe_names
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.members import weights_path
from fkd_kaggle.training.label_offset import LabelOffset


def build_network(recipe: Recipe) -> keras.Model:
    """Return the untrained network of a recipe.

    Parameters
    ----------
    recipe
        Names the architecture and its options.

    Returns
    -------
    A model from (B, 96, 96, 1) float32 grey values in [0, 1] to (B, P, 2) float32 pixels.

    Raises
    ------
    RecipeError
        The architecture cannot be built with these options.
    """
    heads = [len(points) for points in recipe.outputs()]
    options = dict(recipe.options)
    if recipe.target_scale != "auto":
        options["target_scale"] = recipe.target_scale
    network = models.build_model(recipe.architecture, heads, options, recipe.code)
    if recipe.label_offset:
        points = LabelOffset(name="label_offset", dtype="float32")(network.output)
        network = keras.Model(network.input, points, name=network.name)
    return network


def check_networks(recipes: Iterable[Recipe]) -> None:
    """Build the networks of recipes to find errors before training starts.

    Skips recipes with the options of a shipped recipe, which are known to be valid. Calls the
    user's own losses, metrics and imputation strategies on made-up labels.

    Parameters
    ----------
    recipes
        Recipes to check; duplicates are checked once.

    Raises
    ------
    RecipeError
        A network cannot be built, or a user's own function fails.
    """
    for recipe in {recipe.digest: recipe for recipe in recipes}.values():
        shipped = load_recipe(recipe.name) if recipe.name in recipe_names() else None
        if recipe.code or not isinstance(shipped, Recipe) or shipped.options != recipe.options:
            build_network(recipe)
        if recipe.code:
            _check_own_functions(recipe)


def _check_own_functions(recipe: Recipe) -> None:
    """Call a recipe's functions of the user on ten faces with missing labels."""
    random = np.random.default_rng(0)
    labels = random.uniform(20, 76, (10, NUM_KEYPOINTS, 2)).astype("float32")
    labels[5:, 5:] = np.nan
    predictions = labels + random.normal(size=labels.shape).astype("float32")
    resolve = functools.partial(user_code.resolve, code=recipe.code)
    loss = masked_loss(resolve(recipe.loss), recipe.loss_width, recipe.target_scale)
    if not np.isfinite(value := float(loss(labels, np.nan_to_num(predictions)))):
        raise RecipeError(f"recipe {recipe.name}: loss {recipe.loss} is {value} on ordinary errors")
    if user_code.is_reference(recipe.imputation):
        faces = Faces(np.zeros((10, IMAGE_SIZE, IMAGE_SIZE), np.uint8), labels, np.arange(10))
        impute_labels(faces, resolve(recipe.imputation), recipe.outputs())
    for metric in recipe.metrics:
        compute_metric(resolve(metric), predictions, labels)


def initialize_at_mean_face(network: keras.Model, points: np.ndarray) -> None:
    """Set the first predictions of an untrained network to the mean face, where it supports that.

    Parameters
    ----------
    network
        An untrained network.
    points
        (P, 2) pixels: the mean of each output's targets.
    """
    for layer in network.layers:
        if isinstance(layer, Frame):
            layer.set_mean_face(points)
            points = layer.to_frame(points)
    set_initial_points(network, points)


def load_network(recipe: Recipe, folder: Path) -> keras.Model:
    """Return the trained network of a member.

    Parameters
    ----------
    recipe
        The member's recipe.
    folder
        The member's folder.

    Raises
    ------
    RunError
        The weights are missing or do not fit the network.
    """
    network = build_network(recipe)
    load_weights(network, folder)
    return network


def load_weights(network: keras.Model, folder: Path) -> None:
    """Load the best weights of a member into its network.

    Parameters
    ----------
    network
        The network that ``build_network`` returns for the member's recipe.
    folder
        The member's folder.

    Raises
    ------
    RunError
        The weights are missing or do not fit the network.
    """
    path = weights_path(folder)
    try:
        network.load_weights(path)
    except Exception as error:  # h5py raises exceptions of many types for damaged files
        # Never left out by itself: that would change the blend and the expected score.
        raise RunError(
            f"{path} is missing or damaged: restore it from a copy, or delete {folder}; then the "
            "command blends the other networks anew, with another expected score, and "
            f"`fkd-kaggle train-ensemble --resume {folder.parent.parent.name}` trains it again"
        ) from error
