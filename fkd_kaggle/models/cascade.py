"""Cascade: a small network locates the face, and a second network predicts from an aligned image.

Faces are rotated by up to 20 degrees and differ in size by a quarter. The least-squares similarity
from the mean face to the points of the first network (Umeyama 1991) defines the *frame*: an image
in which the face is aligned with the mean face. The second network predicts in the frame, and its
points are mapped back. Both are heatmap networks and are trained together; no gradient passes
through the alignment. See Sun et al. 2013 for cascades and Jaderberg et al. 2015 for the warp.

The second network of ``align`` can also be a regressor (``plain_cnn``, ``region``).
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any, Final

import keras
import numpy as np
from keras import layers, ops

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.models.heatmap import hourglass
from fkd_kaggle.nn import warp
from fkd_kaggle.nn.heatmaps import SoftArgmax
from fkd_kaggle.nn.regression import regression_head

IN_FRAME: Final = "points_in_frame"
"""Name of the layer with the points of the second network, in pixels of the aligned image."""


def build_model(
    heads: tuple[int, ...],
    *,
    width: int = 32,
    blocks: int = 1,
    depth: int = 2,
    map_size: int = 24,
    dropout: float = 0.0,
    coarse_width: int = 24,
    zoom: float = 1.1,
    jitter: float = 1.0,
    frame_size: int = 96,
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32, points in pixels.

    Training uses these layers besides ``points``: ``coarse_points`` and ``coarse_maps`` of the
    first network, ``frame``, and ``maps``, which are in frame pixels.

    Parameters
    ----------
    heads
        Number of points of each head; the points of the first head determine the alignment.
    width, blocks, depth, map_size, dropout
        Options of the second network, as for ``heatmap``.
    coarse_width
        Width of the first network, whose input is the image at half size.
    zoom
        Size of the face in the aligned image relative to the mean face.
    jitter
        Strength of the random change of each alignment in training: 1 is standard deviations of
        3 degrees, 4 % and 1.5 pixels.
    frame_size
        Height and width of the aligned image in pixels, a multiple of 4 · 2**depth and at most 96.
        The face has the same size in smaller aligned images, which show less around it.

    Raises
    ------
    ValueError
        ``frame_size`` is not possible.
    """
    if not 0 < frame_size <= IMAGE_SIZE or frame_size % (4 * 2**depth):
        raise ValueError(
            f"frame_size is {frame_size}: with a depth of {depth} it must be a multiple of "
            f"{4 * 2**depth}, at most {IMAGE_SIZE}"
        )
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    count = sum(heads)

    def second(upright: Any) -> Any:
        maps = hourglass(
            upright,
            count,
            width=width,
            blocks=blocks,
            depth=depth,
            map_size=map_size,
            dropout=dropout,
        )
        return SoftArgmax(name=IN_FRAME, dtype="float32")(maps)

    points = align(
        image,
        heads,
        second,
        coarse_width=coarse_width,
        zoom=zoom,
        jitter=jitter,
        frame_size=frame_size,
    )
    return keras.Model(image, points, name="cascade")


def align(
    image: Any,
    heads: tuple[int, ...],
    second: Callable[[Any], Any],
    *,
    coarse_width: int = 24,
    zoom: float = 1.1,
    jitter: float = 1.0,
    frame_size: int = IMAGE_SIZE,
) -> Any:
    """Return (B, sum(heads), 2) points that a network predicts from an aligned image.

    Parameters
    ----------
    image
        (B, 96, 96, 1) tensor.
    heads
        Number of points of each head; the points of the first head determine the alignment.
    second
        Builds the second network: (B, S, S, 1) aligned images of ``frame_size`` S → (B, sum(heads),
        2) float32 points, 0 to 95 in the aligned image whatever its size. Its last layer is called
        ``IN_FRAME``.
    coarse_width, zoom, jitter, frame_size
        As for ``build_model``.
    """
    small = layers.AveragePooling2D(2, name="small", dtype="float32")(image)
    coarse_maps = hourglass(small, sum(heads), width=coarse_width, name="coarse_maps")
    coarse = SoftArgmax(name="coarse_points", dtype="float32")(coarse_maps)
    # Frame pixels are 96ths of the aligned image, in which the face fills more if it is smaller.
    zoom *= IMAGE_SIZE / frame_size
    frame = Frame(heads[0], zoom, jitter, name="frame", dtype="float32")(coarse)
    upright = Warp(frame_size, name="upright", dtype="float32")([image, frame])
    return FromFrame(name="points", dtype="float32")([second(upright), frame])


def regress(
    image: Any,
    heads: tuple[int, ...],
    features: Callable[[Any], Any],
    target_scale: str,
    *,
    coarse_width: int,
    zoom: float,
    jitter: float,
) -> Any:
    """Return (B, sum(heads), 2) points that a regressor predicts, from an aligned image if wanted.

    Parameters
    ----------
    image
        (B, 96, 96, 1) tensor.
    heads
        Number of points of each head.
    features
        Builds the regressor without its last layers: (B, 96, 96, 1) images → (B, F) features.
    target_scale
        As for ``nn.regression.regression_head``.
    coarse_width
        Width of the network that aligns the image (``align``); 0 for no alignment.
    zoom, jitter
        As for ``build_model``.
    """
    if not coarse_width:
        return regression_head(features(image), heads, target_scale)
    return align(
        image,
        heads,
        lambda upright: regression_head(features(upright), heads, target_scale, IN_FRAME),
        coarse_width=coarse_width,
        zoom=zoom,
        jitter=jitter,
    )


def forward_through_views(network: keras.Model) -> Callable[[Any, warp.View], dict[str, Any]]:
    """Return the forward pass of training: images and their views → outputs by layer name.

    The affine maps of a view and of a frame are composed, and the input of each network is
    interpolated from the original image in one step. Two successive interpolations would blur
    training images twice, whereas test images are interpolated only once.

    Parameters
    ----------
    network
        A network from ``build_model``, or another one that contains ``align``.

    Returns
    -------
    A function of (B, 96, 96, 1) images and a ``warp.View`` that returns ``points`` and
    ``coarse_points``, (B, P, 2) view pixels; ``coarse_maps`` and, if the second network has
    heatmaps, ``maps``, (B, H, W, P) logits; and ``frame``, (B, 2, 3), which maps frame pixels to
    view pixels.
    """
    layer = network.get_layer
    has_maps = any(one.name == "maps" for one in network.layers)
    coarse_network = keras.Model(layer("small").output, layer("coarse_maps").output)
    fine_network = keras.Model(
        layer("upright").output, layer("maps" if has_maps else IN_FRAME).output
    )

    def forward(images: Any, view: warp.View) -> dict[str, Any]:
        small = warp.warp_images(layer("small")(images), warp.halve_map(view.matrix))
        coarse_maps = coarse_network(small, training=True)
        coarse = layer("coarse_points")(coarse_maps)
        frame = layer("frame")(coarse, training=True)
        matrix = warp.compose_maps(view.matrix, frame)
        upright = warp.warp_images(images, matrix, layer("upright").size)
        fine = fine_network(upright, training=True)
        points = layer("points")([layer(IN_FRAME)(fine) if has_maps else fine, frame])
        outputs = {
            "points": points,
            "frame": frame,
            "coarse_points": coarse,
            "coarse_maps": coarse_maps,
        }
        return {**outputs, "maps": fine} if has_maps else outputs

    return forward


@keras.saving.register_keras_serializable("fkd_kaggle")
class Frame(layers.Layer):
    """(B, P, 2) points → (B, 2, 3) map of frame pixels (x, y, 1) to image pixels.

    The map is the similarity from the centred, enlarged mean face to the first ``count`` points. In
    training, the map is changed at random to imitate the errors of the first network on new faces.

    Parameters
    ----------
    count
        Number of points that determine the similarity.
    zoom
        Size of the face in frame pixels, 96ths of the aligned image, relative to the mean face.
    jitter
        As for ``build_model``.
    """

    def __init__(self, count: int, zoom: float, jitter: float, **options: Any) -> None:
        super().__init__(**options)
        self.count, self.zoom, self.jitter = count, zoom, jitter
        self.seed = keras.random.SeedGenerator(0)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weight for the mean face, which ``set_mean_face`` assigns."""
        # The initial points lie on a diagonal, because equal points define no similarity.
        line = np.linspace(0.3, 0.7, self.count)[:, None] * [IMAGE_SIZE, IMAGE_SIZE]
        self.mean_face = self.add_weight(
            shape=(self.count, 2),
            trainable=False,
            name="mean_face",
            initializer=keras.initializers.Constant(line.astype("float32")),
            autocast=False,
        )

    def set_mean_face(self, points: np.ndarray) -> None:
        """Assign the mean face: the first ``count`` of (P, 2) points in pixels."""
        self.mean_face.assign(points[: self.count].astype("float32"))

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Return (P, 2) points of the mean face in frame pixels; the first ``count`` determine it.

        Parameters
        ----------
        points
            (P, 2) pixels.
        """
        own = points[: self.count]
        return warp.CENTRE + self.zoom * (points - (own.max(0) + own.min(0)) / 2)

    def call(self, points: Any, training: bool = False) -> Any:
        """Fit a similarity to each face; replace it by the identity if its scale is implausible."""
        points = ops.stop_gradient(points)[:, : self.count]
        face = self.mean_face
        box = (ops.max(face, 0) + ops.min(face, 0)) / 2
        target = warp.CENTRE + self.zoom * (face - box)
        middle, centre = ops.mean(target, 0), ops.mean(points, 1)
        target, found = target - middle, points - centre[:, None]
        size = ops.sum(ops.square(target))
        # With points as complex numbers: found ≈ (a + ib) · target.
        a = ops.sum(found * target, (1, 2)) / size
        b = ops.sum(found[..., 1] * target[:, 0] - found[..., 0] * target[:, 1], 1) / size
        scale = ops.sqrt(ops.square(a) + ops.square(b))
        plausible = ops.logical_and(scale > 0.4 / self.zoom, scale < 2.0)
        a = ops.where(plausible, a, ops.ones_like(a))
        b = ops.where(plausible, b, ops.zeros_like(b))
        centre = ops.where(plausible[:, None], centre, ops.ones_like(centre) * middle)
        if training and self.jitter:
            a, b, centre = self._add_jitter(a, b, centre)
        linear = ops.stack([ops.stack([a, -b], -1), ops.stack([b, a], -1)], 1)
        offset = centre - ops.sum(linear * middle, -1)
        return ops.concatenate([linear, offset[:, :, None]], -1)

    def _add_jitter(self, a: Any, b: Any, centre: Any) -> tuple[Any, Any, Any]:
        """Return random changes of a, b, both (B,), and of the centre, (B, 2)."""

        def normal(shape: Any, deviation: float) -> Any:
            return self.jitter * deviation * keras.random.normal(shape, seed=self.seed)

        angle, scale = normal(ops.shape(a), 3 * pi / 180), ops.exp(normal(ops.shape(a), 0.04))
        cos, sin = scale * ops.cos(angle), scale * ops.sin(angle)
        centre = centre + normal(ops.shape(centre), 1.5)
        return a * cos - b * sin, a * sin + b * cos, centre

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        """Return (B, 2, 3)."""
        return (input_shape[0], 2, 3)


@keras.saving.register_keras_serializable("fkd_kaggle")
class Warp(layers.Layer):
    """(B, 96, 96, 1) image and (B, 2, 3) frame → (B, size, size, 1) aligned image.

    Parameters
    ----------
    size
        Height and width of the aligned image in pixels.
    """

    def __init__(self, size: int = IMAGE_SIZE, **options: Any) -> None:
        super().__init__(**options)
        self.size = size

    def call(self, inputs: Any) -> Any:
        """Interpolate bilinearly; outside the image, use the nearest edge pixel."""
        image, frame = inputs
        return warp.warp_images(ops.cast(image, "float32"), frame, self.size)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Return (B, size, size, 1)."""
        return (input_shape[0][0], self.size, self.size, input_shape[0][-1])


@keras.saving.register_keras_serializable("fkd_kaggle")
class FromFrame(layers.Layer):
    """(B, P, 2) points in frame pixels and (B, 2, 3) frame → (B, P, 2) points in image pixels."""

    def call(self, inputs: Any) -> Any:
        """Apply the map of the frame."""
        points, frame = inputs
        return warp.transform_points(points, frame)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Return the shape of the points."""
        return tuple(input_shape[0])
