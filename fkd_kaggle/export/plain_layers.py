"""Networks without the package's own layers, so that any runtime can read them.

The layers ``ScaledConv2D``, ``Frame``, ``Warp``, ``FromFrame``, ``SoftArgmax`` and ``LabelOffset``
become Keras' own layers and operations:

- scaled filters are folded into the kernels of plain convolutions;
- ``Warp`` samples four neighbours by index, because LiteRT and ONNX have no counterpart of
  TensorFlow's ``ImageProjectiveTransformV3``;
- ``LabelOffset`` is the identity in a network; ``export.graph`` adds the offset;
- dropout is left out, and batch normalisation uses its moving statistics.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.models.cascade import Frame, FromFrame, Warp
from fkd_kaggle.nn import warp
from fkd_kaggle.nn.convolutions import ScaledConv2D
from fkd_kaggle.nn.heatmaps import SoftArgmax
from fkd_kaggle.training.label_offset import LabelOffset

_TRAINING_ONLY = (
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.GaussianNoise,
    layers.GaussianDropout,
)
"""Layers that are the identity outside of training. They are left out: some exports call the model
without saying that it does not train."""


def plain_network(network: keras.Model, name: str) -> keras.Model:
    """Return a network with the same weights and outputs that has only layers of Keras.

    Parameters
    ----------
    network
        A trained network from ``training.network``, built with the dtype policy "float32".
    name
        Name of the new model.

    Returns
    -------
    A model from (B, 96, 96, 1) float32 grey values in [0, 1] to (B, P, 2) float32 pixels.
    """

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        if isinstance(layer, ScaledConv2D):
            return _fold_scaled_convolution(layer)(*args)
        if isinstance(layer, SoftArgmax):
            return _soft_argmax(*args)
        if isinstance(layer, Frame):
            return _fit_frame(layer, *args)
        if isinstance(layer, Warp):
            images, frame = args[0]
            return _sample(images, frame, layer.size)
        if isinstance(layer, FromFrame):
            points, frame = args[0]
            return warp.transform_points(points, frame)
        if isinstance(layer, LabelOffset):
            return args[0]
        if isinstance(layer, _TRAINING_ONLY):
            return args[0]
        if isinstance(layer, (layers.BatchNormalization, keras.Model)):
            options["training"] = False
        else:
            options.pop("training", None)
        return layer(*args, **options)

    plain = keras.models.clone_model(
        network, clone_function=lambda layer: layer, call_function=call
    )
    return keras.Model(plain.input, plain.output, name=name)


def _fold_scaled_convolution(layer: ScaledConv2D) -> layers.Conv2D:
    """Return a plain convolution whose kernel is the scaled kernel of ``layer``."""
    kernel = ops.convert_to_numpy(layer.kernel).astype(np.float64)
    gain = ops.convert_to_numpy(layer.gain).astype(np.float64)
    centred = kernel - kernel.mean((0, 1, 2))
    scaled = centred * (gain / np.sqrt(np.square(centred).sum((0, 1, 2)) + 1e-4))
    plain = layers.Conv2D(
        layer.filters, layer.kernel_size, layer.strides, padding="same", name=layer.name
    )
    plain.build((None, None, None, kernel.shape[2]))
    plain.set_weights([scaled.astype(np.float32), ops.convert_to_numpy(layer.bias)])
    return plain


def _soft_argmax(maps: Any) -> Any:
    """Return the (B, P, 2) expected coordinates of (B, H, W, P) logits."""
    _, height, width, count = maps.shape
    # One softmax over all cells and one matrix product: the fewest operations for a runtime.
    cells = ops.softmax(ops.transpose(ops.reshape(maps, (-1, height * width, count)), (0, 2, 1)))
    x, y = _cell_centres(width), _cell_centres(height)
    grid = np.stack([np.tile(x, height), np.repeat(y, width)], -1)
    return ops.matmul(cells, grid)


def _fit_frame(layer: Frame, points: Any) -> Any:
    """Return what ``Frame`` returns outside of training, with the mean face as a constant."""
    points = points[:, : layer.count]
    face = ops.convert_to_numpy(layer.mean_face)
    target = warp.CENTRE + layer.zoom * (face - (face.max(0) + face.min(0)) / 2)
    middle, centre = target.mean(0), ops.mean(points, 1)
    target = target - middle
    found, size = points - centre[:, None], np.square(target).sum()
    a = ops.sum(found * target, (1, 2)) / size
    b = ops.sum(found[..., 1] * target[:, 0] - found[..., 0] * target[:, 1], 1) / size
    scale = ops.sqrt(ops.square(a) + ops.square(b))
    plausible = ops.logical_and(scale > 0.4 / layer.zoom, scale < 2.0)
    a = ops.where(plausible, a, ops.ones_like(a))
    b = ops.where(plausible, b, ops.zeros_like(b))
    centre = ops.where(plausible[:, None], centre, ops.ones_like(centre) * middle)
    x = centre[:, 0] - (a * middle[0] - b * middle[1])
    y = centre[:, 1] - (b * middle[0] + a * middle[1])
    return ops.stack([ops.stack([a, -b, x], -1), ops.stack([b, a, y], -1)], 1)


def _sample(images: Any, frame: Any, side: int) -> Any:
    """Return what ``nn.warp.warp_images`` returns, by bilinear sampling of four neighbours.

    Parameters
    ----------
    images
        (B, 96, 96, 1) float32.
    frame
        (B, 2, 3) float32 maps of new pixels to old pixels.
    side
        Height and width of the results.
    """
    size = images.shape[1]
    x, y = np.meshgrid(_cell_centres(side), _cell_centres(side))
    grid = np.stack([x.ravel(), y.ravel(), np.ones(side**2, np.float32)])
    position = ops.clip(ops.matmul(frame, grid), 0.0, size - 1.0)
    before = ops.floor(position)
    weight = position - before
    # A pixel with its right, lower and lower right neighbours, so that one index finds all four.
    # The edge is repeated: beyond the last pixel the weight is 0.
    right = ops.concatenate([images[:, :, 1:], images[:, :, -1:]], 2)
    rows = ops.concatenate([images, right], -1)
    square = ops.concatenate([rows, ops.concatenate([rows[:, 1:], rows[:, -1:]], 1)], -1)
    # The number of each image in the batch, without the size of the batch, which is not known.
    number = ops.cumsum(ops.ones_like(before[:, :1, :1]), 0) - 1.0
    start = ops.cast(number[:, 0], "int32") * size**2
    index = start + ops.cast(before[:, 1] * size + before[:, 0], "int32")
    found = ops.take(ops.reshape(square, (-1, 4)), index, axis=0)
    across, down = weight[:, 0], weight[:, 1]
    above = found[..., 0] + (found[..., 1] - found[..., 0]) * across
    below = found[..., 2] + (found[..., 3] - found[..., 2]) * across
    return ops.reshape(above + (below - above) * down, (-1, side, side, 1))


def _cell_centres(cells: int) -> np.ndarray:
    """Return what ``nn.heatmaps.cell_centres`` returns, as a constant."""
    return (np.arange(cells, dtype=np.float32) + 0.5) * IMAGE_SIZE / cells - 0.5
