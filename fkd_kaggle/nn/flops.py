"""Floating-point operations of a network, counted from its layers.

Keras counts parameters but not operations (keras-team/keras#18391), and TensorFlow's profiler works
with TensorFlow only; this module works with every backend. It counts multiplications by weights and
their additions, which are nearly all operations of a convolutional network. Normalisation,
activations, pooling and resizing are not counted.
"""

from __future__ import annotations

import math

import keras
from keras import layers

from fkd_kaggle.nn.convolutions import ScaledConv2D

_ONE_OUTPUT_EACH = (
    layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D,
    layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D, ScaledConv2D,
)  # fmt: skip
"""Layers that use each weight once for each position of their output."""

_ONE_INPUT_EACH = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
"""Layers that use each weight once for each position of their input."""


def forward_flops(network: keras.Model) -> int:
    """Return the number of operations of one forward pass for one face.

    Raises
    ------
    ValueError
        The network has a layer of Keras with a kernel of an unknown kind.
    """
    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            total += forward_flops(layer)
        elif isinstance(layer, (*_ONE_INPUT_EACH, *_ONE_OUTPUT_EACH)):
            # Transposed convolutions are also instances of convolutions: they are checked first.
            shape = (layer.input if isinstance(layer, _ONE_INPUT_EACH) else layer.output).shape
            weights = sum(math.prod(weight.shape) for weight in layer.weights if _is_kernel(weight))
            total += 2 * weights * math.prod(shape[1:-1])
        elif type(layer).__module__.startswith("keras") and any(map(_is_kernel, layer.weights)):
            # Layers of this package are counted above or only add a constant.
            raise ValueError(f"layer {layer.name}: operations of {type(layer).__name__} unknown")
    return total


def _is_kernel(weight: keras.Variable) -> bool:
    return "kernel" in weight.name
