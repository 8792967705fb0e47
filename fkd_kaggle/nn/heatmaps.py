"""Heatmaps: coordinates by soft-argmax, and a loss on the maps themselves.

A map has a logit for each cell of a grid over the image. Its softmax is a probability distribution
over cells, and the expectation of the cells' centres is the coordinate.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from fkd_kaggle.keypoints import IMAGE_SIZE


@keras.saving.register_keras_serializable("fkd_kaggle")
class SoftArgmax(layers.Layer):
    """(B, H, W, P) logits → (B, P, 2) expected coordinates in image pixels, x before y."""

    def call(self, maps: Any) -> Any:
        """Take the softmax over the cells of each map and its expectation along each axis."""
        _, height, width, _ = maps.shape
        weights, _ = exponentials(maps)
        columns, rows = ops.sum(weights, 1), ops.sum(weights, 2)
        total = ops.sum(columns, 1)
        x = ops.sum(columns * cell_centres(width)[:, None], 1) / total
        y = ops.sum(rows * cell_centres(height)[:, None], 1) / total
        return ops.stack([x, y], -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        """Return (B, P, 2)."""
        return (input_shape[0], input_shape[-1], 2)


def heatmap_loss(labels: Any, maps: Any, sigma: float = 1.0) -> Any:
    """Return the mean cross-entropy between maps and Gaussians around the labels, a scalar.

    A loss on the expectation alone does not determine the shape of a map. A loss that favours a
    compact peak speeds up the first epochs (the regularisation of DSNT, Nibali et al. 2018, with
    cross-entropy as the divergence).

    Parameters
    ----------
    labels
        (B, P, 2) float32 in the pixels of the image that the network sees; NaN where there is no
        label.
    maps
        (B, H, W, P) float32 logits.
    sigma
        Standard deviation of the Gaussians in map cells.
    """
    _, height, width, _ = maps.shape
    known = ops.logical_not(ops.isnan(labels[..., 0]))
    labels = ops.where(known[..., None], labels, ops.zeros_like(labels))
    spread = 2.0 * (sigma * IMAGE_SIZE / width) ** 2

    def gaussian(coordinate: Any, cells: int) -> Any:
        """Return (B, cells, P): a Gaussian along one axis that sums to 1."""
        distance = coordinate[:, None] - cell_centres(cells)[:, None]
        return ops.softmax(-ops.square(distance) / spread, 1)

    along_x, along_y = gaussian(labels[..., 0], width), gaussian(labels[..., 1], height)
    expected_logit = ops.sum(along_y * ops.sum(maps * along_x[:, None], 2), 1)
    weights, peak = exponentials(maps)
    entropy = ops.log(ops.sum(weights, (1, 2))) + peak - expected_logit
    total = ops.sum(ops.where(known, entropy, ops.zeros_like(entropy)))
    return total / ops.maximum(ops.sum(ops.cast(known, "float32")), 1.0)


def exponentials(maps: Any) -> tuple[Any, Any]:
    """Return exp(maps - peak), (B, H, W, P), and the peak of each map, (B, P).

    Softmax and logsumexp consist of these. Keras' softmax over two axes transposes the maps twice.
    Soft-argmax and the loss use the same expression, which TensorFlow computes once.
    """
    peak = ops.stop_gradient(ops.max(maps, (1, 2), keepdims=True))
    return ops.exp(maps - peak), peak[:, 0, 0]


def cell_centres(cells: int) -> Any:
    """Return (cells,) float32: the pixel coordinates of the centres of a map's cells."""
    stride = IMAGE_SIZE / cells
    return (ops.arange(cells, dtype="float32") + 0.5) * stride - 0.5
