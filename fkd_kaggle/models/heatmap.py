"""Heatmap network: an encoder–decoder whose maps become coordinates by soft-argmax.

Each output has a map; its softmax is a distribution over places and the expectation is the
coordinate, so the network is trained on pixels and learns far faster than a dense regressor
("integral regression", Sun et al. 2018; DSNT, Nibali et al. 2018). The trunk is a small U-shaped
residual network (hourglass, Newell et al. 2016) behind a strided stem.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

import keras
from keras import layers, ops

from fkd_kaggle.keypoints import SIZE

RELU_GAIN = sqrt(2 / (1 - 1 / pi))
"""What a ReLU's unit normal input must be multiplied by for a unit variance of its output."""


def build(
    heads: tuple[int, ...],
    *,
    width: int = 48,
    blocks: int = 1,
    depth: int = 2,
    map_size: int = 24,
    dropout: float = 0.0,
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32, points in pixels.

    Parameters
    ----------
    heads
        Points to answer for, by source; each point has a map of its own.
    width
        Channels at 24×24; the stem has half, each level below twice as many, up to four times.
    blocks
        Residual blocks at each level, on the way down and on the way up.
    depth
        Halvings below 24×24: 2 reaches 6×6, 3 reaches 3×3.
    map_size
        24 or 48: the maps' height and width.
    """
    image = keras.Input((SIZE, SIZE, 1), name="image")
    maps = hourglass(
        image, sum(heads), width=width, blocks=blocks, depth=depth, map_size=map_size,
        dropout=dropout,
    )  # fmt: skip
    points = SoftArgmax(name="points", dtype="float32")(maps)
    return keras.Model(image, points, name="heatmap")


def hourglass(
    image: Any,
    count: int,
    *,
    width: int,
    blocks: int = 1,
    depth: int = 2,
    map_size: int = 24,
    dropout: float = 0.0,
    name: str = "maps",
) -> Any:
    """Return (B, S, S, count) float32 maps of a (B, H, H, 1) image; see ``build``.

    S is a quarter of H, or half of it with a ``map_size`` of 48.
    """
    # Each face to zero mean and unit spread: bright and dark photos look alike to the stem.
    x = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, epsilon=1e-3)(image)
    fine = _conv(x, width // 2, kernel=5, stride=2)
    x = _conv(fine, width, stride=2)
    skips = []
    channels = width
    for _ in range(depth):
        for _ in range(blocks):
            x = _residual(x)
        skips.append(x)
        channels = min(2 * channels, 4 * width)
        x = _conv(x, channels, stride=2)
    for _ in range(blocks):
        x = _residual(x)
    if dropout:
        x = layers.SpatialDropout2D(dropout)(x)
    for skip in reversed(skips):
        x = layers.Conv2D(skip.shape[-1], 1, use_bias=False)(x)
        x = layers.UpSampling2D(2, interpolation="nearest")(x)
        x = layers.Add()([x, skip])
        for _ in range(blocks):
            x = _residual(x)
    if map_size == SIZE // 2:
        x = layers.Conv2D(width // 2, 1, use_bias=False)(x)
        x = layers.UpSampling2D(2, interpolation="nearest")(x)
        x = layers.Add()([x, fine])
        x = _conv(x, width // 2)
    # In float32: a bfloat16 logit is off by up to 0.4 %, which the expectation turns into pixels.
    return layers.Conv2D(count, 1, dtype="float32", name=name)(x)


def _conv(x: Any, filters: int, kernel: int = 3, stride: int = 1) -> Any:
    x = ScaledConv2D(filters, kernel, strides=stride)(x)
    return layers.Activation("relu")(x)


def _residual(x: Any) -> Any:
    y = _conv(x, x.shape[-1])
    y = ScaledConv2D(x.shape[-1], 3, gain=0.0)(y)
    return layers.Activation("relu")(layers.Add()([x, y]))


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
    stride = SIZE / cells
    return (ops.arange(cells, dtype="float32") + 0.5) * stride - 0.5
