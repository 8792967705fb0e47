"""The last layers of networks that regress coordinates directly."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from fkd_kaggle.errors import RecipeError
from fkd_kaggle.keypoints import IMAGE_SIZE, TARGET_SCALES


def regression_head(features: Any, heads: tuple[int, ...], target_scale: str = "auto") -> Any:
    """Return (B, sum(heads), 2) float32 pixels from (B, F) features, a linear layer per source.

    With a ``target_scale`` the layers are as the published systems have them: Keras' own initial
    weights, no bias to begin with, answering in that scale.
    """
    if target_scale != "auto":
        scale, offset = TARGET_SCALES[target_scale]
        points = _heads(features, heads, "output", kernel_initializer="glorot_uniform")
        return layers.Rescaling(scale, offset, dtype="float32", name="points")(points)
    # Adam moves every weight by the learning rate, so an output moves with the number of features:
    # by 180 pixels a step for deep15's 9,216 without this (the 1/√n of Yang et al. 2022).
    features = layers.Rescaling(features.shape[-1] ** -0.5, dtype="float32")(features)
    # Small weights: the first guess is the bias, which ``start_from`` sets to a mean face.
    small = keras.initializers.RandomNormal(stddev=1e-2)
    points = _heads(features, heads, "head", kernel_initializer=small)
    return layers.Rescaling(IMAGE_SIZE / 2, (IMAGE_SIZE - 1) / 2, dtype="float32", name="points")(
        points
    )


def _heads(features: Any, heads: tuple[int, ...], name: str, **options: Any) -> Any:
    """Return (B, sum(heads), 2) float32: a linear layer for each of ``heads``, side by side."""
    points = []
    for position, count in enumerate(heads):
        head = layers.Dense(2 * count, dtype="float32", name=f"{name}{position}", **options)
        # In float32 as its neighbours: bfloat16 rounds coordinates to fifths of a pixel.
        points.append(layers.Reshape((count, 2), dtype="float32")(head(features)))
    return points[0] if len(points) == 1 else layers.Concatenate(axis=1, dtype="float32")(points)


def set_initial_points(network: keras.Model, points: np.ndarray) -> None:
    """Make an untrained regressor answer ``points``, (sum(heads), 2) pixels, for every face.

    Networks without heads of this kind, such as heatmap networks and those with a target scale of
    their own, are left as they are.
    """
    named = {layer.name: layer for layer in network.layers}
    place = 0
    for position in itertools.count():
        head = named.get(f"head{position}")
        if head is None:
            return
        block = points[place : place + head.units // 2]
        head.bias.assign(((block - (IMAGE_SIZE - 1) / 2) / (IMAGE_SIZE / 2)).reshape(-1))
        place += head.units // 2


NORMALISATIONS = ("before", "after", "none")


def conv_stack(
    x: Any,
    filters: Sequence[int],
    pool_after: Sequence[int],
    *,
    kernel: int = 3,
    normalise: str = "before",
    slope: float = 0.1,
    drop_after_pool: Sequence[float] = (),
) -> Any:
    """Return (B, h, w, C) features of (B, H, W, c): convolutions, with 2×2 max-poolings between.

    Parameters
    ----------
    filters
        Channels of each convolution, which keeps height and width.
    pool_after
        After which convolutions, counted from 1, a pooling halves both; twice where named twice.
    normalise
        Batch normalisation "before" or "after" the activation; the convolutions then need no
        bias. "none": convolutions with bias and nothing else.
    slope
        Of the leaky ReLU below zero; 0 is ReLU.
    drop_after_pool
        Share of features dropped after each pooling; none where shorter.

    Raises
    ------
    RecipeError
        ``normalise`` is unknown, or poolings and convolutions do not fit each other.
    """
    if normalise not in NORMALISATIONS:
        raise RecipeError(f"normalise must be one of {', '.join(NORMALISATIONS)}: {normalise!r}")
    if not set(pool_after) <= set(range(1, len(filters) + 1)):
        raise RecipeError(
            f"poolings after convolutions {list(pool_after)} of {len(filters)} convolutions"
        )
    shares = [*drop_after_pool]
    for position, channels in enumerate(filters, start=1):
        x = layers.Conv2D(channels, kernel, padding="same", use_bias=normalise == "none")(x)
        if normalise == "before":
            x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.LeakyReLU(slope)(x) if slope else layers.ReLU()(x)
        if normalise == "after":
            x = layers.BatchNormalization(momentum=0.9)(x)
        for _ in range(list(pool_after).count(position)):
            # "same": a seventh pooling still halves what is 1 or 3 pixels wide.
            x = layers.MaxPooling2D(2, padding="same" if min(x.shape[1:3]) < 4 else "valid")(x)
            if shares:
                x = layers.Dropout(shares.pop(0))(x)
    return x


def dense_stack(x: Any, dense: Sequence[int], dropout: float) -> Any:
    """Return (B, F): ReLU layers of ``dense`` units, each with dropout; dropout where none."""
    x = layers.Flatten()(x)
    for units in dense:
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    return x if len(dense) else layers.Dropout(dropout)(x)


RELU_GAIN = sqrt(2 / (1 - 1 / pi))
"""What a ReLU's unit normal input must be multiplied by for a unit variance of its output."""


@keras.saving.register_keras_serializable("fkd_kaggle")
class ScaledConv2D(layers.Layer):
    """A convolution whose filters are kept at mean zero and unit norm, times a learned gain.

    What batch normalisation does for the signal, done to the weights (scaled weight
    standardisation: Brock et al. 2021, "Characterizing signal propagation to close the
    performance gap in unnormalized ResNets"). Keras' batch normalisation reads and writes each
    activation several times in float32 and takes a third of a training step on a CPU; this costs
    next to nothing, and answers do not depend on who else is in the batch.

    Parameters
    ----------
    filters, kernel_size, strides
        As for ``keras.layers.Conv2D``; padding is "same".
    gain
        First value of the gain; the default keeps a ReLU's output at unit variance. 0 makes a
        residual branch begin as nothing.
    """

    def __init__(
        self, filters: int, kernel_size: int, strides: int = 1, gain: float = RELU_GAIN,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(**options)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.first_gain = gain

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the (k, k, channels, filters) kernel, the (filters,) bias and gain."""
        side = self.kernel_size
        # In float32 until they are scaled, whatever the convolution is computed in.
        self.kernel = self.add_weight(
            shape=(side, side, input_shape[-1], self.filters), initializer="glorot_uniform",
            autocast=False, name="kernel",
        )  # fmt: skip
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
        self.gain = self.add_weight(
            shape=(self.filters,), initializer=keras.initializers.Constant(self.first_gain),
            autocast=False, name="gain",
        )  # fmt: skip

    def call(self, inputs: Any) -> Any:
        """Convolve (B, H, W, C) with the scaled kernel and add the bias."""
        # Cast to make them tensors: TensorFlow's custom gradients are not for variables.
        kernel = _scaled(ops.cast(self.kernel, "float32"), ops.cast(self.gain, "float32"))
        outputs = ops.conv(inputs, ops.cast(kernel, inputs.dtype), self.strides, "same")
        # Not "+": of this TensorFlow makes one operation with the convolution, and backward too.
        return ops.add(outputs, self.bias)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        """Return (B, H, W, filters), H and W divided by the strides."""
        batch, *sides, _ = input_shape
        return (batch, *(None if one is None else -(-one // self.strides) for one in sides),
                self.filters)  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """Return what makes the same layer again."""
        return {
            **super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size,
            "strides": self.strides, "gain": self.first_gain,
        }  # fmt: skip


@ops.custom_gradient
def _scaled(kernel: Any, gain: Any) -> tuple[Any, Any]:
    """Return the (k, k, C, F) kernel with filters of mean zero and norm ``gain``.

    With its gradient, which takes a third of the operations that are made of it by themselves: they
    are small, and what they cost is to be started.
    """
    centred = kernel - ops.mean(kernel, (0, 1, 2))
    scale = ops.rsqrt(ops.sum(ops.square(centred), (0, 1, 2)) + 1e-4)

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
        of_scaled = args[0] if upstream is None else upstream
        of_gain = ops.sum(of_scaled * centred, (0, 1, 2)) * scale
        across = of_scaled - ops.mean(of_scaled, (0, 1, 2))
        return (across - centred * (scale * of_gain)) * (gain * scale), of_gain

    return centred * (scale * gain), gradient


@keras.saving.register_keras_serializable("fkd_kaggle")
class SoftArgmax(layers.Layer):
    """(B, H, W, P) maps → (B, P, 2) expected places in image pixels, x before y."""

    def call(self, maps: Any) -> Any:
        """Take the softmax over places and its expectation along each axis."""
        _, height, width, _ = maps.shape
        share, _ = exponentials(maps)
        across, down = ops.sum(share, 1), ops.sum(share, 2)
        total = ops.sum(across, 1)
        x = ops.sum(across * cell_centres(width)[:, None], 1) / total
        y = ops.sum(down * cell_centres(height)[:, None], 1) / total
        return ops.stack([x, y], -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        """Return (B, P, 2)."""
        return (input_shape[0], input_shape[-1], 2)


def exponentials(maps: Any) -> tuple[Any, Any]:
    """Return exp(maps - peak), (B, H, W, P), which is one at each map's peak, and the (B, P) peaks.

    What softmax and logsumexp are made of, written out: Keras' softmax puts the places last and
    back again, and what is computed twice in the same words TensorFlow computes once.
    """
    peak = ops.stop_gradient(ops.max(maps, (1, 2), keepdims=True))
    return ops.exp(maps - peak), peak[:, 0, 0]


def cell_centres(cells: int) -> Any:
    """Return the pixel coordinate of each map cell's centre."""
    stride = IMAGE_SIZE / cells
    return (ops.arange(cells, dtype="float32") + 0.5) * stride - 0.5


def to_grey(faces: Any) -> Any:
    """Return (B, 96, 96, 1) float32 in [0, 1] from (B, 96, 96) uint8."""
    return ops.cast(faces, "float32")[..., None] / 255.0
