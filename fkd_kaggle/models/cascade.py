"""Cascade: a small network finds the face, a second one looks at it upright and in one size.

The faces are turned by up to 20 degrees and differ in size by a quarter. The first network's points
say by how much (the similarity that takes the mean face there, by least squares: Umeyama 1991);
the image is warped so that every face stands where the mean face does, and the second network
answers there. Both are heatmap networks and are trained together; no gradient goes through the
alignment (a cascade as of Sun et al. 2013, with the transformer of Jaderberg et al. 2015 between).
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.models.heatmap import hourglass
from fkd_kaggle.nn import warp
from fkd_kaggle.nn.heatmaps import SoftArgmax


def build(
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
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32, points in pixels.

    Besides ``points`` it has layers that training looks at (``through_views``): ``coarse_points``
    and ``coarse_maps``, the first network's answers, ``frame``, and ``maps``, which are in the
    frame's pixels.

    Parameters
    ----------
    heads
        Points to answer for, by source; the first source's align the face.
    width, blocks, depth, map_size, dropout
        Of the second network (see ``heatmap``).
    coarse_width
        Of the first network, which sees the image at half its size.
    zoom
        How much larger than the mean face the aligned face is.
    jitter
        How much each alignment is disturbed in training: times 3 degrees, 4 % and 1.5 pixels.
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    count = sum(heads)
    small = layers.AveragePooling2D(2, name="small", dtype="float32")(image)
    coarse_maps = hourglass(small, count, width=coarse_width, name="coarse_maps")
    coarse = SoftArgmax(name="coarse_points", dtype="float32")(coarse_maps)
    frame = Frame(heads[0], zoom, jitter, name="frame", dtype="float32")(coarse)
    upright = Warp(name="upright", dtype="float32")([image, frame])
    maps = hourglass(
        upright, count, width=width, blocks=blocks, depth=depth, map_size=map_size, dropout=dropout
    )
    inside = SoftArgmax(name="points_in_frame", dtype="float32")(maps)
    points = FromFrame(name="points", dtype="float32")([inside, frame])
    return keras.Model(image, points, name="cascade")


def through_views(network: keras.Model) -> Callable[[Any, warp.View], dict[str, Any]]:
    """Return what a cascade answers in training, by layer, about faces that views look at.

    A view maps pixels to pixels, and so does the frame in which the second network sees the face:
    one after the other is a map as well. So what either network sees is sampled from the picture
    itself, and is as sharp as without a view; sampled for the view first and for the frame from
    that, it is blurred twice, which no face is that the trained network is asked about.
    """
    layer = network.get_layer
    coarse_network = keras.Model(layer("small").output, layer("coarse_maps").output)
    fine_network = keras.Model(layer("upright").output, layer("maps").output)

    def answers(images: Any, view: warp.View) -> dict[str, Any]:
        small = warp.warp_images(layer("small")(images), warp.halve_map(view.matrix))
        coarse_maps = coarse_network(small, training=True)
        coarse = layer("coarse_points")(coarse_maps)
        frame = layer("frame")(coarse, training=True)
        upright = warp.warp_images(images, warp.compose_maps(view.matrix, frame))
        maps = fine_network(upright, training=True)
        points = layer("points")([layer("points_in_frame")(maps), frame])
        return {"points": points, "maps": maps, "frame": frame,
                "coarse_points": coarse, "coarse_maps": coarse_maps}  # fmt: skip

    return answers


@keras.saving.register_keras_serializable("fkd_kaggle")
class Frame(layers.Layer):
    """(B, P, 2) points → (B, 2, 3): frame pixel (x, y, 1) → image pixel, for an upright face.

    The similarity takes the mean face, put in the image's middle and enlarged, to the first
    ``count`` points. In training it is disturbed, as the first network's errors will on new faces.
    """

    def __init__(self, count: int, zoom: float, jitter: float, **options: Any) -> None:
        super().__init__(**options)
        self.count, self.zoom, self.jitter = count, zoom, jitter
        self.seed = keras.random.SeedGenerator(0)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make room for the mean face; ``start_from`` brings it."""
        # Some face with an extent, so that an untrained network computes: three points on a line.
        line = np.linspace(0.3, 0.7, self.count)[:, None] * [IMAGE_SIZE, IMAGE_SIZE]
        self.mean_face = self.add_weight(
            shape=(self.count, 2), trainable=False, name="mean_face",
            initializer=keras.initializers.Constant(line.astype("float32")), autocast=False,
        )  # fmt: skip

    def start_from(self, points: np.ndarray) -> None:
        """Take the mean face, the first of (P, 2) pixels."""
        self.mean_face.assign(points[: self.count].astype("float32"))

    def call(self, points: Any, training: bool = False) -> Any:
        """Fit the similarity of each face; one that makes no sense becomes the identity."""
        points = ops.stop_gradient(points)[:, : self.count]
        face = self.mean_face
        box = (ops.max(face, 0) + ops.min(face, 0)) / 2
        wanted = warp.CENTRE + self.zoom * (face - box)
        middle, centre = ops.mean(wanted, 0), ops.mean(points, 1)
        arms, found = wanted - middle, points - centre[:, None]
        size = ops.sum(ops.square(arms))
        # As complex numbers: found ≈ (a + ib) · arms.
        a = ops.sum(found * arms, (1, 2)) / size
        b = ops.sum(found[..., 1] * arms[:, 0] - found[..., 0] * arms[:, 1], 1) / size
        scale = ops.sqrt(ops.square(a) + ops.square(b))
        sound = ops.logical_and(scale > 0.4 / self.zoom, scale < 2.0)
        a = ops.where(sound, a, ops.ones_like(a))
        b = ops.where(sound, b, ops.zeros_like(b))
        centre = ops.where(sound[:, None], centre, ops.ones_like(centre) * middle)
        if training and self.jitter:
            a, b, centre = self._disturbed(a, b, centre)
        linear = ops.stack([ops.stack([a, -b], -1), ops.stack([b, a], -1)], 1)
        offset = centre - ops.sum(linear * middle, -1)
        return ops.concatenate([linear, offset[:, :, None]], -1)

    def _disturbed(self, a: Any, b: Any, centre: Any) -> tuple[Any, Any, Any]:
        def normal(shape: Any, spread: float) -> Any:
            return self.jitter * spread * keras.random.normal(shape, seed=self.seed)

        angle, scale = normal(ops.shape(a), 3 * pi / 180), ops.exp(normal(ops.shape(a), 0.04))
        cos, sin = scale * ops.cos(angle), scale * ops.sin(angle)
        centre = centre + normal(ops.shape(centre), 1.5)
        return a * cos - b * sin, a * sin + b * cos, centre

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        """Return (B, 2, 3)."""
        return (input_shape[0], 2, 3)


@keras.saving.register_keras_serializable("fkd_kaggle")
class Warp(layers.Layer):
    """(B, 96, 96, 1) image and (B, 2, 3) frame → the image as the frame shows it."""

    def call(self, inputs: Any) -> Any:
        """Warp, bilinear, edges extended."""
        image, frame = inputs
        return warp.warp_images(ops.cast(image, "float32"), frame)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Return the image's shape."""
        return tuple(input_shape[0])


@keras.saving.register_keras_serializable("fkd_kaggle")
class FromFrame(layers.Layer):
    """(B, P, 2) points in a frame and the (B, 2, 3) frame → points in the image."""

    def call(self, inputs: Any) -> Any:
        """Apply the frame's map."""
        points, frame = inputs
        return warp.transform_points(points, frame)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Return the points' shape."""
        return tuple(input_shape[0])
