"""The Keras model of a recipe: building, checking, initial points and loading of weights.

Knows nothing about training; ``training.outputs`` says what the outputs mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from fkd_kaggle import models
from fkd_kaggle.errors import RunError
from fkd_kaggle.models.cascade import Frame
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
    network = models.build_model(recipe.architecture, heads, options)
    if recipe.label_offset:
        points = LabelOffset(name="label_offset", dtype="float32")(network.output)
        network = keras.Model(network.input, points, name=network.name)
    return network


def check_networks(recipes: Iterable[Recipe]) -> None:
    """Build the networks of recipes to find errors before training starts.

    Skips recipes with the options of a shipped recipe, which are known to be valid.

    Parameters
    ----------
    recipes
        Recipes to check; duplicates are checked once.

    Raises
    ------
    RecipeError
        A network cannot be built.
    """
    for recipe in {recipe.digest: recipe for recipe in recipes}.values():
        shipped = load_recipe(recipe.name) if recipe.name in recipe_names() else None
        if not isinstance(shipped, Recipe) or shipped.options != recipe.options:
            build_network(recipe)


def initialize_at_mean_face(network: keras.Model, points: np.ndarray) -> None:
    """Set the first predictions of an untrained network to the mean face, where it supports that.

    Parameters
    ----------
    network
        An untrained network.
    points
        (P, 2) pixels: the mean of each output's targets.
    """
    set_initial_points(network, points)
    for layer in network.layers:
        if isinstance(layer, Frame):
            layer.set_mean_face(points)


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
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{path} is missing or damaged: delete {folder} and resume the run to train it again"
        ) from error
