"""Floating-point operations of layers, compared with formulas."""

from __future__ import annotations

from dataclasses import replace

import keras
import pytest
from keras import layers

from fkd_kaggle.nn import flops
from fkd_kaggle.nn.convolutions import ScaledConv2D
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.network import build_network

pytestmark = pytest.mark.slow


def network(*stack: keras.Layer) -> keras.Model:
    image = keras.Input((10, 8, 3))
    x = image
    for layer in stack:
        x = layer(x)
    return keras.Model(image, x)


@pytest.mark.parametrize(
    ("stack", "operations"),
    [
        ([layers.Conv2D(5, 3, padding="same")], 2 * (3 * 3 * 3 * 5) * 10 * 8),
        ([layers.Conv2D(5, 3, strides=2, padding="same")], 2 * (3 * 3 * 3 * 5) * 5 * 4),
        ([layers.Conv2D(6, 3, groups=3)], 2 * (3 * 3 * 1 * 6) * 8 * 6),
        ([layers.DepthwiseConv2D(3, padding="same")], 2 * (3 * 3 * 3) * 10 * 8),
        ([layers.SeparableConv2D(4, 3, padding="same")], 2 * (3 * 3 * 3 + 3 * 4) * 10 * 8),
        ([ScaledConv2D(5, 3, strides=2)], 2 * (3 * 3 * 3 * 5) * 5 * 4),
        ([layers.Conv2DTranspose(4, 2, strides=2)], 2 * (2 * 2 * 3 * 4) * 10 * 8),
        ([layers.Dense(7)], 2 * 3 * 7 * 10 * 8),
        ([layers.Flatten(), layers.Dense(7)], 2 * 240 * 7),
        ([layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D()], 0),
    ],
    ids=lambda value: value[-1].__class__.__name__ if isinstance(value, list) else str(value),
)
def test_operations_of_a_layer(stack: list[keras.Layer], operations: int) -> None:
    assert flops.forward_flops(network(*stack)) == operations


def test_nested_networks_are_counted() -> None:
    inner = network(layers.Conv2D(3, 3, padding="same"))
    outer = network(inner, layers.Conv2D(3, 3, padding="same"))
    assert flops.forward_flops(outer) == 2 * flops.forward_flops(inner) > 0


def test_a_label_offset_adds_no_operations() -> None:
    recipe = Recipe("tiny", architecture="region", options={"filters": [4], "dense": 4})
    offset = build_network(replace(recipe, label_offset=True))
    assert flops.forward_flops(offset) == flops.forward_flops(build_network(recipe)) > 0


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="operations of EinsumDense unknown"):
        flops.forward_flops(network(layers.EinsumDense("abcd,de->abce", output_shape=(10, 8, 4))))
