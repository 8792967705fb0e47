"""Architectures: the layers of shipped recipes, options, and initial predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from fkd_kaggle import models
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.nn import losses
from fkd_kaggle.nn.flops import forward_flops
from fkd_kaggle.nn.regression import set_initial_points
from fkd_kaggle.recipes import loading
from fkd_kaggle.recipes.keys import shipped_parameters
from fkd_kaggle.recipes.schema import Ensemble, Recipe
from fkd_kaggle.training.network import (
    build_network,
)
from fkd_kaggle.workers.calibration import shipped_operations

pytestmark = pytest.mark.slow

ENSEMBLES = [
    name for name in loading.recipe_names() if isinstance(loading.load_recipe(name), Ensemble)
]

TINY = Recipe(
    "tiny",
    architecture="heatmap",
    options={"width": 8, "depth": 1},
    heatmap_loss=0.5,
    epochs=2,
    batch_size=8,
)


def shipped(name: str) -> Recipe:
    recipe = loading.load_recipe(name)
    assert isinstance(recipe, Recipe)
    return recipe


def convolutions(network: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]


@pytest.fixture(autouse=True)
def float32() -> None:
    keras.config.set_dtype_policy("float32")


@pytest.mark.slow
def test_deep15_has_the_described_layers() -> None:
    network = build_network(shipped("deep15"))
    layers = convolutions(network)
    filters = [32, 32, 64, 64, 96, 96, 128, 128, 256, 256, 512, 512, 1024, 1024, 1024]
    assert [layer.filters for layer in layers] == filters
    assert {layer.kernel_size for layer in layers} == {(3, 3)}
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds.count("BatchNormalization") == kinds.count("LeakyReLU") == 15
    assert kinds.count("MaxPooling2D") == 5
    dropouts = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.rate for layer in dropouts] == [0.1]
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    # 30 outputs for the complete annotator and 8 for the partial one, both linear.
    assert sorted(layer.units for layer in dense) == [8, 30]
    assert {layer.activation.__name__ for layer in dense} == {"linear"}


def kinds(network: keras.Model) -> list[str]:
    """Return the class names of layers that publications describe, in order."""
    named = {
        "Conv2D",
        "LeakyReLU",
        "ReLU",
        "BatchNormalization",
        "MaxPooling2D",
        "Dense",
        "Dropout",
    }
    return [type(layer).__name__ for layer in network.layers if type(layer).__name__ in named]


def dense_units(network: keras.Model) -> list[int]:
    return [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]


@pytest.mark.slow
def test_farhat_has_the_published_layers() -> None:
    network = build_network(shipped("farhat"))
    twice = ["Conv2D", "LeakyReLU", "BatchNormalization"] * 2
    assert kinds(network) == [*twice, "MaxPooling2D"] * 5 + twice + ["Dense", "Dropout", "Dense"]
    layers = convolutions(network)
    filters = [32, 32, 64, 64, 96, 96, 128, 128, 256, 256, 512, 512]
    assert [layer.filters for layer in layers] == filters
    assert not any(layer.use_bias for layer in layers)
    assert dense_units(network) == [512, 30]
    assert network.count_params() == 7_268_670


@pytest.mark.slow
def test_masked_cnn_has_the_published_layers() -> None:
    network = build_network(shipped("masked-cnn"))
    conv, pool = ["Conv2D", "ReLU"], ["MaxPooling2D"]
    assert kinds(network)[:8] == conv + pool + conv + pool + conv
    assert [layer.filters for layer in convolutions(network)] == [32, 64, 128]
    assert dense_units(network) == [512, 30]
    deep = build_network(shipped("masked-cnn-deep"))
    assert [layer.rate for layer in deep.layers if isinstance(layer, keras.layers.Dropout)][:3] == [
        0.05,
        0.1,
        0.2,
    ]


@pytest.mark.slow
def test_kachanovskas_networks_have_the_published_layers() -> None:
    baseline = build_network(shipped("kachanovska-baseline"))
    assert kinds(baseline) == [
        "Conv2D",
        "ReLU",
        "MaxPooling2D",
        "Conv2D",
        "ReLU",
        "MaxPooling2D",
        "Dense",
        "Dropout",
        "Dense",
        "Dropout",
        "Dense",
    ]
    assert dense_units(baseline)[-1] == 30
    for name, outputs in (("kachanovska-eyes-nose", 14), ("kachanovska-mouth-eyebrows", 16)):
        assert dense_units(build_network(shipped(name)))[-1] == outputs
    branches = build_network(shipped("multi-branch"))
    fed = [layer for layer in convolutions(branches) if layer.input is branches.input]
    assert len(fed) == 2  # two branches start at the same image
    assert dense_units(branches)[-1] == 30


@pytest.mark.slow
def test_kartalovics_network_has_the_convolutions_of_deep15() -> None:
    network = build_network(shipped("kartalovic"))
    deep15 = build_network(shipped("deep15"))
    assert kinds(network)[:-1] == kinds(deep15)[:-2]
    assert [layer.filters for layer in convolutions(network)] == [
        layer.filters for layer in convolutions(deep15)
    ]
    assert dense_units(network) == [30]


@pytest.mark.slow
@pytest.mark.parametrize("poolings", [3, 5, 7])
@pytest.mark.parametrize(("count", "dense"), [(5, [64, 32]), (16, [])])
def test_a_plain_cnn_has_the_given_numbers_of_layers(
    count: int, dense: list[int], poolings: int
) -> None:
    options = {"convolutions": count, "poolings": poolings, "dropout": 0.3, "dense": dense}
    network = models.build_model("plain-cnn", (15,), options)
    assert kinds(network).count("Conv2D") == count
    assert kinds(network).count("MaxPooling2D") == poolings
    assert dense_units(network) == [*dense, 30]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in loading.recipe_names() if name not in ENSEMBLES])
def test_parameters_and_operations_are_known(name: str) -> None:
    network = build_network(shipped(name))
    assert shipped_parameters()[name] == network.count_params()
    assert shipped_operations()[name] == forward_flops(network)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"convolutions": 17}, "convolutions must be 1 to 16"),
        ({"poolings": 8}, "poolings must be 0 to 7"),
        ({"dropout": 1.5}, "no plain-cnn network has dropout = 1.5"),
        ({"dense": [-3]}, "no plain-cnn network has dense = [-3]"),
        ({"normalise": "batch"}, "normalise must be one of"),
        ({"filters": [8], "pool_after": [2]}, "of 1 convolutions"),
    ],
)
def test_impossible_options_are_refused_in_one_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        models.build_model("plain-cnn", (15,), options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("scale", "unit"), [("pixels", 1), ("unit", 96), ("centred", 48)])
def test_target_scale_is_the_unit_of_outputs_and_loss(scale: str, unit: float) -> None:
    recipe = replace(
        TINY,
        architecture="region",
        options={"filters": [4]},
        heatmap_loss=0,
        target_scale=scale,
        loss="mse",
    )
    network = build_network(recipe)
    # With Keras' default initial weights, the output for a black image is 0 in this unit.
    black = ops.convert_to_numpy(network(np.zeros((1, 96, 96, 1), "float32")))
    np.testing.assert_allclose(black, 48 if scale == "centred" else 0, atol=1e-5)
    labels = np.full((2, 3, 2), 40.0, "float32")
    found = float(
        losses.masked_loss(recipe.loss, recipe.loss_width, recipe.target_scale)(labels, labels + 2)
    )
    assert found == pytest.approx((2 / unit) ** 2, rel=1e-5)


@pytest.mark.parametrize(("name", "outputs"), [("eyes-nose", 14), ("mouth-eyebrows", 16)])
def test_region_networks_have_their_outputs(name: str, outputs: int) -> None:
    network = build_network(shipped(name))
    head = network.get_layer("head0")
    assert head.units == outputs


@pytest.mark.parametrize("name", models.architecture_names())
def test_every_architecture_predicts_pixels(name: str) -> None:
    network = models.build_model(name, (15, 4), {})
    points = ops.convert_to_numpy(network(np.zeros((2, 96, 96, 1), "float32")))
    assert points.shape == (2, 19, 2)
    assert points.dtype == np.float32
    # An untrained network predicts points near the middle.
    assert np.abs(points - 47.5).max() < 48


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deep15", "eyes-nose"])
def test_a_regressor_starts_at_the_mean_face(name: str) -> None:
    recipe = shipped(name)
    network = build_network(recipe)
    mean = np.random.default_rng(0).uniform(20, 70, (network.output.shape[1], 2))
    set_initial_points(network, mean)
    points = ops.convert_to_numpy(network(np.full((1, 96, 96, 1), 0.5, "float32")))[0]
    assert np.abs(points - mean).max() < 5


def test_an_unknown_option_is_refused_with_a_suggestion() -> None:
    with pytest.raises(RecipeError, match="did you mean 'width'"):
        models.build_model("heatmap", (15,), {"widht": 3})
