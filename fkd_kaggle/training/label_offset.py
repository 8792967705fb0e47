"""Label offset: a learned constant between the labels and the predictions of mirrored training.

Annotators and crops are not mirror symmetric. If all labels lie 0.8 pixels to the right, they lie
0.8 pixels to the left in mirrored views, and the network learns the middle. The remaining error is
a constant for each output. It is learned together with the network and added after mirroring is
undone.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("fkd_kaggle")
class LabelOffset(keras.layers.Layer):
    """Stores an offset of (P, 2) face pixels with the weights of a network.

    As a part of the network the layer is the identity: ``label_offset`` reads the offset, and the
    caller adds it in face pixels.
    """

    # Adam changes a weight by about the learning rate in each step. In this unit, an offset of one
    # pixel takes fewer than 500 steps.
    unit = 8.0

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the offset, initially zero."""
        # Without autocast: Keras would cast the weight in a training step of mixed precision.
        self.kernel = self.add_weight(
            shape=input_shape[1:], initializer="zeros", autocast=False, name="offset"
        )

    def call(self, points: Any) -> Any:
        """Return ``points`` unchanged."""
        return points

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        """Return the shape of the input."""
        return input_shape


def label_offset(network: keras.Model) -> Any:
    """Return the offset of a network as a (P, 2) float32 tensor in face pixels, or 0.0 without."""
    for layer in network.layers:
        if isinstance(layer, LabelOffset):
            return layer.kernel * layer.unit
    return 0.0


def label_offset_pixels(network: keras.Model) -> np.ndarray:
    """Return ``label_offset`` as a float32 array, (P, 2) or a scalar 0."""
    return np.asarray(ops.convert_to_numpy(label_offset(network)), np.float32)
