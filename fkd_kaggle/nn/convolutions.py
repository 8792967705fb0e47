"""Convolutional building blocks: a plain stack, dense layers after it, and ``ScaledConv2D``."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import Any, Final

import keras
from keras import layers, ops

from fkd_kaggle.errors import RecipeError

NORMALISATIONS: Final = ("before", "after", "none", "scaled")
"""Where ``conv_stack`` puts batch normalisation; "scaled" has scaled filters instead."""

RELU_GAIN: Final = sqrt(2 / (1 - 1 / pi))
"""Factor on the standard normal input of a ReLU that gives its output a variance of 1."""


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
    """Return (B, h, w, C) features of (B, H, W, c): convolutions with 2×2 max-poolings.

    Parameters
    ----------
    x
        (B, H, W, c) tensor.
    filters
        Channels of each convolution; padding keeps height and width.
    pool_after
        Positions, from 1, of the convolutions that are followed by a pooling, which halves height
        and width. A position that occurs twice is followed by two poolings.
    kernel
        Height and width of the filters.
    normalise
        Batch normalisation "before" or "after" the activation, after convolutions without bias;
        "none", after convolutions with bias; or "scaled": ``ScaledConv2D`` on images of mean 0 and
        variance 1, without batch normalisation.
    slope
        Slope of the leaky ReLU below zero; 0 is ReLU.
    drop_after_pool
        Dropout rate after each pooling; poolings beyond its length have no dropout.

    Raises
    ------
    RecipeError
        ``normalise`` is unknown, or ``pool_after`` names a convolution that does not exist.
    """
    if normalise not in NORMALISATIONS:
        raise RecipeError(f"normalise must be one of {', '.join(NORMALISATIONS)}: {normalise!r}")
    if not set(pool_after) <= set(range(1, len(filters) + 1)):
        raise RecipeError(
            f"poolings after convolutions {list(pool_after)} of {len(filters)} convolutions"
        )
    rates = [*drop_after_pool]
    if normalise == "scaled":
        x = standardise_images(x)
    for position, channels in enumerate(filters, start=1):
        if normalise == "scaled":
            x = ScaledConv2D(channels, kernel, gain=leaky_gain(slope))(x)
        else:
            x = layers.Conv2D(channels, kernel, padding="same", use_bias=normalise == "none")(x)
        if normalise == "before":
            x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.LeakyReLU(slope)(x) if slope else layers.ReLU()(x)
        if normalise == "after":
            x = layers.BatchNormalization(momentum=0.9)(x)
        for _ in range(list(pool_after).count(position)):
            # "same" keeps a last row: a seventh pooling still halves 3 or 1 pixels.
            x = layers.MaxPooling2D(2, padding="same" if min(x.shape[1:3]) < 4 else "valid")(x)
            if rates:
                x = layers.Dropout(rates.pop(0))(x)
    return x


def standardise_images(images: Any) -> Any:
    """Return images of mean 0 and variance 1 each, so that brightness and contrast have no effect.

    Parameters
    ----------
    images
        (B, H, W, c) tensor.
    """
    normalise = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, epsilon=1e-3)
    return normalise(images)


def leaky_gain(slope: float) -> float:
    """Return the gain of a ``ScaledConv2D`` before a leaky ReLU.

    The gain keeps the output of the leaky ReLU at a variance of 1 for standard normal inputs.

    Parameters
    ----------
    slope
        Slope of the leaky ReLU below zero.
    """
    return 1 / sqrt((1 + slope**2) / 2 - (1 - slope) ** 2 / (2 * pi))


def dense_stack(x: Any, dense: Sequence[int], dropout: float) -> Any:
    """Return (B, F) features of (B, H, W, C): flattened, then ReLU layers with dropout.

    Parameters
    ----------
    x
        (B, H, W, C) tensor.
    dense
        Units of each ReLU layer.
    dropout
        Dropout rate after each of them, or of the flattened features where there are none.
    """
    x = layers.Flatten()(x)
    for units in dense:
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    return x if len(dense) else layers.Dropout(dropout)(x)


@keras.saving.register_keras_serializable("fkd_kaggle")
class ScaledConv2D(layers.Layer):
    """Convolution whose filters are kept at mean 0 and norm 1, times a learned gain.

    Scaled weight standardisation (Brock et al. 2021, "Characterizing signal propagation to close
    the performance gap in unnormalized ResNets") replaces batch normalisation. Keras' batch
    normalisation reads and writes each activation several times in float32 and takes a third of a
    training step on a CPU. The cost of this layer is negligible, and the output for an image does
    not depend on the other images of the batch.

    Parameters
    ----------
    filters, kernel_size, strides
        As for ``keras.layers.Conv2D``; padding is "same".
    gain
        Initial gain; the default keeps the output of a following ReLU at a variance of 1. With 0 a
        residual branch is zero at first.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        gain: float = RELU_GAIN,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.initial_gain = gain

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the (k, k, channels, filters) kernel and the (filters,) bias and gain."""
        side = self.kernel_size
        # Not autocast: kernel and gain stay float32 until the kernel is scaled.
        self.kernel = self.add_weight(
            shape=(side, side, input_shape[-1], self.filters),
            initializer="glorot_uniform",
            autocast=False,
            name="kernel",
        )
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
        self.gain = self.add_weight(
            shape=(self.filters,),
            initializer=keras.initializers.Constant(self.initial_gain),
            autocast=False,
            name="gain",
        )

    def call(self, inputs: Any) -> Any:
        """Convolve (B, H, W, C) with the scaled kernel and add the bias."""
        # The casts turn variables into tensors, which TensorFlow's custom gradients require.
        kernel = _scale_filters(ops.cast(self.kernel, "float32"), ops.cast(self.gain, "float32"))
        outputs = ops.conv(inputs, ops.cast(kernel, inputs.dtype), self.strides, "same")
        # ops.add instead of "+": TensorFlow fuses it with the convolution, also in the gradient.
        return ops.add(outputs, self.bias)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        """Return (B, H, W, filters), with H and W divided by the strides."""
        batch, *sides, _ = input_shape
        strided = (None if side is None else -(-side // self.strides) for side in sides)
        return (batch, *strided, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "gain": self.initial_gain,
        }


@ops.custom_gradient  # type: ignore[untyped-decorator]
def _scale_filters(kernel: Any, gain: Any) -> tuple[Any, Any]:
    """Return the (k, k, C, F) kernel with filters of mean 0 and norm ``gain``, and its gradient.

    The explicit gradient takes a third of the operations of the automatic one. The operations are
    small, so that starting them is the main cost.
    """
    centred = kernel - ops.mean(kernel, (0, 1, 2))
    scale = ops.rsqrt(ops.sum(ops.square(centred), (0, 1, 2)) + 1e-4)

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
        of_scaled = args[0] if upstream is None else upstream
        of_gain = ops.sum(of_scaled * centred, (0, 1, 2)) * scale
        across = of_scaled - ops.mean(of_scaled, (0, 1, 2))
        return (across - centred * (scale * of_gain)) * (gain * scale), of_gain

    return centred * (scale * gain), gradient
