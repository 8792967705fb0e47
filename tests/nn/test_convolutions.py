"""``ScaledConv2D``: its output, its gradient and its rounding."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from fkd_kaggle.nn.convolutions import ScaledConv2D

pytestmark = pytest.mark.slow


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_the_output_is_that_of_a_convolution_with_scaled_filters() -> None:
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


class AutomaticGradient(ScaledConv2D):
    """The same layer with the backend's automatic gradient."""

    def call(self, inputs: Any) -> Any:
        kernel = self.kernel - ops.mean(self.kernel, (0, 1, 2))
        norm = ops.sqrt(ops.sum(ops.square(kernel), (0, 1, 2)) + 1e-4)
        return ops.conv(inputs, kernel * self.gain / norm, self.strides, "same") + self.bias


def test_the_explicit_gradient_equals_the_automatic_one() -> None:
    image, target = noise(2, 9, 8, 3), noise(2, 9, 8, 5)
    trained = []
    for kind in (ScaledConv2D, AutomaticGradient):
        model = keras.Sequential([keras.Input((9, 8, 3)), kind(5, 3)])
        layer = model.layers[0]
        layer.kernel.assign(noise(3, 3, 3, 5))
        layer.gain.assign([1.0, 2.0, 0.0, -1.0, 0.5])
        model.compile(keras.optimizers.SGD(10.0), "mse")
        model.train_on_batch(image, target)
        trained.append(model.get_weights())
    for ours, derived in zip(*trained, strict=True):
        np.testing.assert_allclose(ours, derived, atol=1e-4)
    assert np.abs(trained[0][0] - noise(3, 3, 3, 5)).max() > 0.01


def test_filters_are_scaled_before_they_are_rounded_to_bfloat16() -> None:
    image = noise(2, 9, 8, 3)
    layer = ScaledConv2D(5, 3, dtype="mixed_bfloat16")
    layer.build(image.shape)
    layer.kernel.assign(10 + noise(3, 3, 3, 5))
    answer = layer(image)
    assert keras.backend.standardize_dtype(answer.dtype) == "bfloat16"
    exact = ScaledConv2D(5, 3)
    exact.build(image.shape)
    exact.set_weights(layer.get_weights())
    # Rounding before scaling would change filters with values around 10 by about 1 %.
    apart = ops.convert_to_numpy(ops.cast(answer, "float32")) - ops.convert_to_numpy(exact(image))
    assert np.sqrt(np.square(apart).mean()) < 6e-3


def test_the_variance_is_kept_through_many_layers() -> None:
    x = keras.Input((24, 24, 32))
    y = x
    for _ in range(12):
        y = layers.Activation("relu")(ScaledConv2D(32, 3)(y))
    deep = keras.Model(x, y)
    spread = ops.convert_to_numpy(deep(np.maximum(noise(4, 24, 24, 32), 0))).std()
    assert 0.2 < spread < 1.0  # the positive part of a standard normal has 0.58
