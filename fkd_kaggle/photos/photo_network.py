"""Networks for whole photos with any number of points: the training step and prediction.

The network (``models.transfer.build_photo_model``) sees the photo resized to a square and predicts
coordinates normalized by width and height. ``training`` trains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle import user_code
from fkd_kaggle.errors import RunError
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.models import transfer
from fkd_kaggle.nn import backend, losses
from fkd_kaggle.photos.annotations.photo_set import resize_to_input
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.photo_run import PhotoRun

_PREDICT_BATCH = 64


class PhotoLearner(keras.Model):
    """A network with its augmentation (brightness and mirroring) and its loss.

    As in ``training.learner.Learner``, the network predicts in the augmented photo, and its
    predictions are mirrored back before the loss is computed.

    Parameters
    ----------
    network
        (B, side, side, 3) float32 from 0 to 1 → (B, K, 2) normalized coordinates.
    recipe
        Defines loss and augmentation.
    flip_order
        (K,) order of the points in a mirrored photo; None trains without mirroring.
    seed
        Seed of the augmentation.
    """

    def __init__(
        self,
        network: keras.Model,
        recipe: Recipe,
        flip_order: tuple[int, ...] | None,
        seed: int,
    ) -> None:
        super().__init__(name="photo_learner")
        self.network, self.recipe, self.flip_order = network, recipe, flip_order
        loss = user_code.resolve(recipe.loss, recipe.code)
        self.point_loss = losses.masked_loss(loss, recipe.loss_width, recipe.target_scale)
        self.view_seed = keras.random.SeedGenerator(seed)

    def call(self, photos: Any, training: bool = False) -> Any:
        """Return (B, K, 2) normalized coordinates for (B, side, side, 3) uint8 photos."""
        images = ops.cast(photos, "float32") / 255.0
        if not training:
            return self.network(images, training=False)
        batch = ops.shape(images)[0]
        augmentation = self.recipe.augmentation
        limit = augmentation.brightness
        brightness = keras.random.uniform((batch, 1, 1, 1), -limit, limit, seed=self.view_seed)
        images = ops.clip(images + brightness, 0.0, 1.0)
        if self.flip_order is None:
            return self.network(images, training=True)
        mirrored = keras.random.uniform((batch,), seed=self.view_seed) < augmentation.flip
        images = ops.where(mirrored[:, None, None, None], ops.flip(images, axis=2), images)
        points = self.network(images, training=True)
        order = ops.convert_to_tensor(list(self.flip_order), "int32")
        unmirrored = ops.take(points, order, axis=1)
        unmirrored = ops.stack([1.0 - unmirrored[..., 0], unmirrored[..., 1]], axis=-1)
        return ops.where(mirrored[:, None, None], unmirrored, points)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the recipe's loss, for which the photo counts as 96×96 pixels.

        Parameters
        ----------
        x, sample_weight, training
            Not used.
        y, y_pred
            (B, K, 2) normalized coordinates.
        """
        return self.point_loss(y * IMAGE_SIZE, y_pred * IMAGE_SIZE)


def predict_photos(
    network: keras.Model, photos: np.ndarray, flip_order: Sequence[int] | None
) -> np.ndarray:
    """Predict points, averaged over each photo and its mirror image.

    Parameters
    ----------
    network
        The network inside a ``PhotoLearner``.
    photos
        (N, side, side, 3) uint8 RGB.
    flip_order
        (K,) order of the points in a mirrored photo; None predicts without mirroring.

    Returns
    -------
    (N, K, 2) float32 normalized coordinates.
    """
    points = _predict(network, photos)
    if flip_order is None:
        return points
    mirrored = _predict(network, photos[:, :, ::-1])[:, list(flip_order)]
    mirrored[..., 0] = 1 - mirrored[..., 0]
    return (points + mirrored) / 2


def load_photo_weights(network: keras.Model, path: Path) -> None:
    """Load a photo run's weights into its network.

    Raises
    ------
    RunError
        The file is missing, or does not fit the network.
    """
    try:
        network.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path} is missing or damaged: train again") from error


@dataclass(frozen=True)
class PhotoRunReference:
    """A photo run's network as a reference model (see ``references``)."""

    network: keras.Model
    point_names: tuple[str, ...]
    flip_order: tuple[int, ...] | None

    @classmethod
    def open(cls, run: PhotoRun) -> PhotoRunReference:
        """Load a photo run's network.

        Raises
        ------
        RunError
            The weights are missing or damaged.
        """
        backend.start_keras("auto")
        network = transfer.build_photo_model(len(run.point_names), **run.recipe.options)
        load_photo_weights(network, run.weights)
        return cls(network, run.point_names, run.flip_order)

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (K, 2) photo pixels for each photo; never None.

        Parameters
        ----------
        photos
            (H, W, 3) uint8 RGB photos.
        """
        if not photos:
            return []
        side = self.network.input_shape[1]
        images = np.stack([resize_to_input(photo, side) for photo in photos])
        predictions = predict_photos(self.network, images, self.flip_order)
        return [
            points * photo.shape[1::-1] - 0.5
            for points, photo in zip(predictions, photos, strict=True)
        ]


def _predict(network: keras.Model, photos: np.ndarray) -> np.ndarray:
    """Return (N, K, 2) normalized coordinates without averaging."""
    batches = []
    for start in range(0, len(photos), _PREDICT_BATCH):
        images = photos[start : start + _PREDICT_BATCH].astype(np.float32) / 255
        batches.append(ops.convert_to_numpy(network(images)))
    return np.concatenate(batches)
