"""The forward pass of a network over many faces, in batches and averaged with mirror images.

Returns the P outputs of a network; ``training.inference`` maps them to keypoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn import backend
from fkd_kaggle.nn.warp import to_grey
from fkd_kaggle.training import interruption
from fkd_kaggle.training.label_offset import label_offset_pixels

_BATCH_SIZE = 256


def predict_points(
    network: keras.Model, images: np.ndarray, flip: Sequence[int] | None
) -> np.ndarray:
    """Return the outputs of a network, averaged over each face and its mirror image.

    Parameters
    ----------
    network
        A network from ``training.network``.
    images
        (N, 96, 96) uint8.
    flip
        P positions from ``outputs.flip_averaging_order``; None to skip the mirror images.

    Returns
    -------
    (N, P, 2) float32 pixels.
    """
    return predict_with_flip_disagreement(network, images, flip)[0]


def predict_with_flip_disagreement(
    network: keras.Model, images: np.ndarray, flip: Sequence[int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``predict_points`` and the flip disagreement of each face.

    Parameters
    ----------
    network, images, flip
        As for ``predict_points``.

    Returns
    -------
    points
        (N, P, 2) float32 pixels.
    disagreement
        (N,) float32 pixels: root mean square difference between the predictions for a face and for
        its mirror image; zeros without ``flip``.
    """
    function = _compiled_forward(network)
    size = _BATCH_SIZE * (1 if flip is None else 2)
    result = np.empty((len(images), *network.output.shape[1:]), np.float32)
    disagreement = np.zeros(len(images), np.float32)
    for start in range(0, len(images), _BATCH_SIZE):
        interruption.check()
        batch = images[start : start + _BATCH_SIZE]
        inputs = batch if flip is None else np.concatenate([batch, batch[:, :, ::-1]])
        if len(batch) < _BATCH_SIZE and (start or backend.uses_xla()):
            # Pad to the size that the function is compiled for: another XLA compilation takes
            # longer than the additional faces.
            padding = np.zeros((size - len(inputs), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
            inputs = np.concatenate([inputs, padding])
        outputs = ops.convert_to_numpy(function(inputs))
        points = outputs[: len(batch)]
        rows = slice(start, start + len(batch))
        if flip is not None:
            mirrored = outputs[len(batch) : 2 * len(batch)][:, flip].copy()
            mirrored[..., 0] = IMAGE_SIZE - 1 - mirrored[..., 0]
            disagreement[rows] = np.sqrt(np.square(points - mirrored).mean((1, 2)))
            points = (points + mirrored) / 2
        result[rows] = points
    return result + label_offset_pixels(network), disagreement


def _compiled_forward(network: keras.Model) -> Callable[[np.ndarray], Any]:
    """Return the compiled forward pass of a network; it is compiled once for each network."""
    cached = getattr(network, "_fkd_forward", None)
    if cached is None:
        model = _ForwardModel(network)
        model.compile(jit_compile=backend.uses_xla())

        def cached(faces: np.ndarray) -> Any:
            try:
                return model.predict_on_batch(faces)
            except Exception as error:
                if not backend.disable_xla(error):
                    raise
            model.compile(jit_compile=False)
            return model.predict_on_batch(faces)

        # Bypass Keras' attribute tracking, which would add the model to the network's layers.
        object.__setattr__(network, "_fkd_forward", cached)
    return cached


class _ForwardModel(keras.Model):
    """A network with raw faces as input: (B, 96, 96) uint8 → (B, P, 2) float32 pixels."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__(name="inference")
        self.network = network

    def call(self, faces: Any, training: bool = False) -> Any:
        """Return (B, P, 2) float32 pixels."""
        return self.network(to_grey(faces), training=False)
