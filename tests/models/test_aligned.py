"""Regressors on aligned faces: the layers, the alignment and the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from fkd_kaggle import models
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.models.cascade import Frame
from fkd_kaggle.nn import warp
from fkd_kaggle.nn.convolutions import ScaledConv2D, conv_stack, leaky_gain
from fkd_kaggle.recipes import loading
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.learner import make_learner
from fkd_kaggle.training.network import build_network, initialize_at_mean_face

pytestmark = pytest.mark.slow

SMALL: dict[str, dict[str, Any]] = {
    "deep15": {"filters": [8, 8], "pool_after": [1, 2], "normalise": "scaled", "coarse_width": 8},
    "region": {"filters": [8, 8], "dense": 16, "normalise": "scaled", "coarse_width": 8},
}
"""Options of small regressors with alignment, by architecture."""


@pytest.fixture(autouse=True)
def float32() -> None:
    keras.config.set_dtype_policy("float32")


@pytest.mark.slow
def test_deep15_aligned_has_fifteen_convolutions_and_no_batch_normalisation() -> None:
    recipe = loading.load_recipe("deep15-aligned")
    assert isinstance(recipe, Recipe)
    network = build_network(recipe)
    names = [layer.name for layer in network.layers]
    second = network.layers[names.index("upright") :]
    own = [layer for layer in second if isinstance(layer, ScaledConv2D)]
    assert [(layer.filters, layer.kernel_size) for layer in own] == [
        (filters, 3) for filters in recipe.options["filters"]
    ]
    assert len(own) == 15
    kinds = {type(layer).__name__ for layer in network.layers}
    assert "BatchNormalization" not in kinds


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.5])
def test_the_gain_keeps_the_variance_through_a_leaky_relu(slope: float) -> None:
    values = leaky_gain(slope) * np.random.default_rng(0).normal(size=1_000_000)
    assert np.where(values > 0, values, slope * values).var() == pytest.approx(1, rel=0.01)


def test_activations_keep_their_size_through_many_scaled_convolutions() -> None:
    images = np.random.default_rng(0).random((4, 32, 32, 1)).astype("float32")
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 1))
    outputs = conv_stack(image, [64] * 12, [], normalise="scaled", slope=0.1)
    found = ops.convert_to_numpy(keras.Model(image, outputs)(images))
    assert 0.3 < found[:, 8:-8, 8:-8].std() < 3


@pytest.mark.parametrize("architecture", SMALL)
def test_an_aligned_regressor_starts_at_the_mean_face(architecture: str) -> None:
    network = models.build_model(architecture, (15, 4), SMALL[architecture])
    mean = np.random.default_rng(0).uniform(25, 70, (19, 2)).astype("float32")
    initialize_at_mean_face(network, mean)
    # The frame of the mean face itself, without the untrained first network.
    (frame,) = (layer for layer in network.layers if isinstance(layer, Frame))
    matrix = frame(mean[None])
    upright = np.full((1, 96, 96, 1), 0.5, "float32")
    second = keras.Model(
        network.get_layer("upright").output, network.get_layer("points_in_frame").output
    )
    points = ops.convert_to_numpy(warp.transform_points(second(upright), matrix))[0]
    assert np.abs(points - mean).max() < 3


@pytest.mark.parametrize("architecture", SMALL)
def test_the_loss_contains_the_first_networks_points_and_maps(architecture: str) -> None:
    recipe = Recipe(
        "tiny",
        architecture=architecture,
        options=SMALL[architecture],
        heatmap_loss=0.5,
        label_offset=True,
        batch_size=4,
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 96, 96), dtype=np.uint8)
    labels = rng.uniform(20, 70, (4, 15, 2)).astype("float32")
    learner = make_learner(
        Member("tiny-f0", recipe, 0, 0, 1.0), Faces(images, labels, np.arange(4))
    )
    outputs = learner(np.arange(4), training=True)
    assert {"points", "coarse_points", "coarse_maps", "frame"} <= outputs.keys()
    assert "maps" not in outputs
    targets = np.concatenate([labels, labels[:, :4]], axis=1)
    whole = float(learner.compute_loss(y=targets, y_pred=outputs))
    learner.recipe = replace(recipe, heatmap_loss=0.0)
    assert 0 < float(learner.compute_loss(y=targets, y_pred=outputs)) < whole


def test_a_heatmap_loss_needs_heatmaps_or_an_alignment() -> None:
    options = {**SMALL["deep15"], "coarse_width": 0}
    recipe = Recipe("tiny", architecture="deep15", options=options, heatmap_loss=0.5)
    faces = Faces(np.zeros((2, 96, 96), np.uint8), np.full((2, 15, 2), 40, "float32"), np.arange(2))
    with pytest.raises(RecipeError, match="needs an architecture with heatmaps"):
        make_learner(Member("tiny-f0", recipe, 0, 0, 1.0), faces)


def test_an_unknown_normalisation_of_a_region_network_is_refused() -> None:
    with pytest.raises(RecipeError, match="normalise must be before or scaled"):
        models.build_model("region", (15,), {"normalise": "after"})
