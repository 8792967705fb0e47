"""A recipe's network: made, loaded, and read by keypoint and annotation source.

Knows what a network's outputs mean and how to ask it; how it is trained is ``training``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn import backend
from fkd_kaggle.nn.layers import to_grey
from fkd_kaggle.training.network import label_offset_pixels

_PREDICT_BATCH = 256


def predict_points(
    network: keras.Model, images: np.ndarray, flip: Sequence[int] | None
) -> np.ndarray:
    """Return (N, P, 2) float32 pixels: the mean over each face and its mirror image.

    Parameters
    ----------
    images
        (N, 96, 96) uint8.
    flip
        (P,) from ``averaged_flip``; None leaves the mirror image out.
    """
    return predict_with_flip_disagreement(network, images, flip)[0]


def predict_with_flip_disagreement(
    network: keras.Model, images: np.ndarray, flip: Sequence[int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``predict_points``, and (N,) how far apart face and mirror image are answered for.

    The root mean square over a face's outputs, in pixels; zeros without ``flip``.
    """
    function = _forward(network)
    size = _PREDICT_BATCH * (1 if flip is None else 2)
    result = np.empty((len(images), *network.output.shape[1:]), np.float32)
    doubts = np.zeros(len(images), np.float32)
    for start in range(0, len(images), _PREDICT_BATCH):
        batch = images[start : start + _PREDICT_BATCH]
        shown = batch if flip is None else np.concatenate([batch, batch[:, :, ::-1]])
        if len(batch) < _PREDICT_BATCH and (start or backend.uses_xla()):
            # Padded to the size the function was compiled for: one shape, one compilation, which
            # takes XLA longer than the few more faces do.
            empty = np.zeros((size - len(shown), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
            shown = np.concatenate([shown, empty])
        points = ops.convert_to_numpy(function(shown))
        answer = points[: len(batch)]
        rows = slice(start, start + len(batch))
        if flip is not None:
            mirrored = points[len(batch) : 2 * len(batch)][:, flip].copy()
            mirrored[..., 0] = IMAGE_SIZE - 1 - mirrored[..., 0]
            doubts[rows] = np.sqrt(np.square(answer - mirrored).mean((1, 2)))
            answer = (answer + mirrored) / 2
        result[rows] = answer
    return result + label_offset_pixels(network), doubts


def _forward(network: keras.Model) -> Callable[[np.ndarray], Any]:
    """Return the network's compiled inference function, made once a network."""
    kept = getattr(network, "_fkd_forward", None)
    if kept is None:
        inference = InferenceModel(network)
        inference.compile(jit_compile=backend.uses_xla())

        def kept(faces: np.ndarray) -> Any:
            try:
                return inference.predict_on_batch(faces)
            except Exception as error:
                if not backend.disable_xla(error):
                    raise
            inference.compile(jit_compile=False)
            return inference.predict_on_batch(faces)

        # A plain attribute on purpose: Keras would track a model set on a model as its layer.
        object.__setattr__(network, "_fkd_forward", kept)
    return kept


class InferenceModel(keras.Model):
    """A network fed with raw faces, for prediction: (B, 96, 96) uint8 → (B, P, 2) pixels."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__(name="inference")
        self.network = network

    def call(self, faces: Any, training: bool = False) -> Any:
        """Return (B, P, 2) float32 points in face pixels."""
        return self.network(to_grey(faces), training=False)
