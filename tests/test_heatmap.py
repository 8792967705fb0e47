"""The heatmap network's own layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from fkd_kaggle import models
from fkd_kaggle.nn.convolutions import ScaledConv2D
from fkd_kaggle.nn.heatmaps import SoftArgmax


@pytest.fixture(autouse=True)
def float32() -> None:
    keras.config.set_dtype_policy("float32")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_scaled_convolution_is_one_with_its_filters_scaled() -> None:
    image = noise(2, 9, 8, 3)
    scaled, plain = ScaledConv2D(5, 3, strides=2), layers.Conv2D(5, 3, strides=2, padding="same")
    answer = ops.convert_to_numpy(scaled(image))
    assert scaled.compute_output_shape(image.shape) == answer.shape == (2, 5, 4, 5)
    scaled.gain.assign([1.0, 2.0, 0.5, 0.0, -1.0])
    scaled.bias.assign([0.0, 0.0, 0.0, 3.0, 0.0])
    plain.build(image.shape)
    kernel = ops.convert_to_numpy(scaled.kernel)
    kernel = kernel - kernel.mean((0, 1, 2))
    kernel *= [1.0, 2.0, 0.5, 0.0, -1.0] / np.sqrt(np.square(kernel).sum((0, 1, 2)) + 1e-4)
    plain.set_weights([kernel, np.array([0, 0, 0, 3, 0], np.float32)])
    np.testing.assert_allclose(scaled(image), plain(image), atol=1e-5)


class PlainlyScaled(ScaledConv2D):
    """The same with the gradient that the backend makes of the operations."""

    def call(self, inputs: Any) -> Any:
        kernel = self.kernel - ops.mean(self.kernel, (0, 1, 2))
        norm = ops.sqrt(ops.sum(ops.square(kernel), (0, 1, 2)) + 1e-4)
        return ops.conv(inputs, kernel * self.gain / norm, self.strides, "same") + self.bias


def test_a_scaled_convolution_learns_as_if_its_gradient_were_derived() -> None:
    image, wanted = noise(2, 9, 8, 3), noise(2, 9, 8, 5)
    learned = []
    for kind in (ScaledConv2D, PlainlyScaled):
        model = keras.Sequential([keras.Input((9, 8, 3)), kind(5, 3)])
        layer = model.layers[0]
        layer.kernel.assign(noise(3, 3, 3, 5))
        layer.gain.assign([1.0, 2.0, 0.0, -1.0, 0.5])
        model.compile(keras.optimizers.SGD(10.0), "mse")
        model.train_on_batch(image, wanted)
        learned.append(model.get_weights())
    for ours, derived in zip(*learned, strict=True):
        np.testing.assert_allclose(ours, derived, atol=1e-4)
    assert np.abs(learned[0][0] - noise(3, 3, 3, 5)).max() > 0.01


def test_filters_are_scaled_before_they_are_rounded() -> None:
    image = noise(2, 9, 8, 3)
    layer = ScaledConv2D(5, 3, dtype="mixed_bfloat16")
    layer.build(image.shape)
    layer.kernel.assign(10 + noise(3, 3, 3, 5))
    answer = layer(image)
    assert keras.backend.standardize_dtype(answer.dtype) == "bfloat16"
    exact = ScaledConv2D(5, 3)
    exact.build(image.shape)
    exact.set_weights(layer.get_weights())
    # Rounded first, at ten, filters would be off by a hundredth of what they are about.
    apart = ops.convert_to_numpy(ops.cast(answer, "float32")) - ops.convert_to_numpy(exact(image))
    assert np.sqrt(np.square(apart).mean()) < 6e-3


def test_maps_far_from_zero_have_a_middle_too() -> None:
    maps = 3 * noise(2, 24, 24, 4)
    points = SoftArgmax()(maps)
    np.testing.assert_allclose(SoftArgmax()(maps + 1e4), points, atol=0.05)
    share = np.exp(maps.astype(float))
    share /= share.sum((1, 2), keepdims=True)
    x = (share.sum(1) * (np.arange(24) * 4 + 1.5)[:, None]).sum(1)
    np.testing.assert_allclose(points[..., 0], x, atol=1e-3)


def test_the_signal_keeps_its_size_through_many_layers() -> None:
    x = keras.Input((24, 24, 32))
    y = x
    for _ in range(12):
        y = layers.Activation("relu")(ScaledConv2D(32, 3)(y))
    deep = keras.Model(x, y)
    spread = ops.convert_to_numpy(deep(np.maximum(noise(4, 24, 24, 32), 0))).std()
    assert 0.2 < spread < 1.0  # a unit normal's positive part has 0.58


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    network = models.build_model("heatmap", (3,), {"width": 8, "depth": 1})
    for weight in network.trainable_variables:
        weight.assign_add(0.1 * noise(*weight.shape))
    image = noise(2, 96, 96, 1)
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(again(image), network(image), atol=1e-4)


def test_answers_do_not_depend_on_the_rest_of_the_batch() -> None:
    network = models.build_model("heatmap", (3,), {"width": 8, "depth": 1})
    image = noise(4, 96, 96, 1)
    np.testing.assert_allclose(
        network(image, training=True)[:1], network(image[:1], training=True), atol=1e-3
    )
