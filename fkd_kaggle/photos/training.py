"""Training of a network on photos and a table of their points (``train-photos``).

The whole photo is resized to a square; points are normalized by width and height, and may be any
number. The recipe (by default ``ffhq-transfer``) defines architecture, loss, optimizer steps and
split. Of its augmentation, mirroring and brightness are used, as in the system that the recipe
reproduces. ``runs.photo_run`` describes the folder that is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fkd_kaggle import files
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.models import transfer
from fkd_kaggle.nn import backend
from fkd_kaggle.photos.annotations.mirror_pairs import find_flip_order
from fkd_kaggle.photos.annotations.photo_set import PhotoSet, split_photos
from fkd_kaggle.photos.annotations.point_table import table_columns
from fkd_kaggle.photos.photo_network import PhotoLearner, load_photo_weights, predict_photos
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.report.tiles import make_sheet, make_tile
from fkd_kaggle.runs import photo_run
from fkd_kaggle.runs.photo_run import PhotoRun
from fkd_kaggle.settings import __version__
from fkd_kaggle.training.trainer import RANDOM_PATIENCE

_ARCHITECTURE = "transfer"

_MAX_TILES = 60
"""Test photos that are drawn."""


@dataclass(frozen=True)
class PhotoEpochEnded:
    """The state of training after an epoch."""

    epoch: int
    """Number of the epoch, from 1."""
    epochs: int
    """Number of epochs of the recipe."""
    loss: float
    """Mean training loss of the epoch, in the recipe's unit."""
    validation_loss: float
    validation_mae: float
    """Mean absolute error of the validation photos in normalized coordinates."""


def check_photo_recipe(recipe: Recipe) -> None:
    """Check that a recipe can be trained on photos.

    Raises
    ------
    RecipeError
        The recipe has another architecture than "transfer".
    """
    if recipe.architecture != _ARCHITECTURE:
        raise RecipeError(
            f"recipe {recipe.name}: photos are learned with architecture {_ARCHITECTURE!r}, "
            f"not {recipe.architecture!r}: take ffhq-transfer, or a copy of it"
        )


def train_photo_network(
    photos: PhotoSet,
    table_path: Path,
    recipe: Recipe,
    folder: Path,
    *,
    seed: int = 0,
    precision: str = "auto",
    on_message: Callable[[str], None] | None = None,
    on_epoch: Callable[[PhotoEpochEnded], None] | None = None,
) -> PhotoRun:
    """Train a network on photos and write a photo run.

    Ctrl-C ends training early. The weights of the best epoch so far are then kept and tested.

    Parameters
    ----------
    photos
        The photos and their points.
    table_path
        File of the points, written to photo_run.json.
    recipe
        A recipe with the architecture "transfer".
    folder
        Folder of the run. It must not exist.
    seed
        Seed of the split, the first weights, the order of photos and the augmentation.
    precision
        One of ``recipes.schema.PRECISIONS``.
    on_message
        Called with a line about the first weights and a line about mirroring.
    on_epoch
        Called after each epoch.

    Raises
    ------
    RecipeError
        The recipe cannot be trained on photos, or its first weights cannot be loaded.
    KeyboardInterrupt
        Ctrl-C was pressed before the end of the first epoch. No folder is left.
    """
    check_photo_recipe(recipe)
    backend.start_keras(precision)
    keras.utils.set_random_seed(seed)
    flip_order = find_flip_order(photos.point_names, photos.points)
    training, validation, test = split_photos(len(photos.names), recipe, seed)
    network = transfer.build_for_photos(len(photos.point_names), **recipe.options)
    first_weights = transfer.initialise(network, recipe.options)
    mean_points = photos.points[training].mean(0)
    # The untrained network predicts the mean points, as the networks for faces do.
    network.get_layer("coordinates").bias.assign(mean_points.reshape(-1))
    if on_message:
        on_message(f"first weights: {first_weights.about}")
        on_message(_describe_flip(flip_order, photos.point_names))
    learner = PhotoLearner(network, recipe, flip_order, seed)
    learner.compile(
        keras.optimizers.Adam(recipe.learning_rate),
        metrics=["mae"],
        jit_compile=backend.uses_xla(),
    )
    folder.mkdir(parents=True)
    weights = photo_run.weights_path(folder)
    keeper = _BestWeightsKeeper(network, weights, recipe.epochs, on_epoch)
    patience = recipe.patience * (RANDOM_PATIENCE if first_weights.random else 1)
    stopper = keras.callbacks.EarlyStopping(patience=patience or recipe.epochs)
    status = "finished"
    try:
        learner.fit(
            photos.images[training],
            photos.points[training],
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            verbose=0,
            callbacks=[keeper, stopper],
            validation_data=(photos.images[validation], photos.points[validation]),
        )
        if stopper.stopped_epoch:
            status = "early stopping"
    except KeyboardInterrupt:
        status = "interrupted"
        if not weights.exists():
            raise
    finally:
        if not weights.exists():
            shutil.rmtree(folder)
    load_photo_weights(network, weights)
    predictions = predict_photos(network, photos.images[test], flip_order)
    side = photos.images.shape[1]
    info = {
        "name": folder.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "status": status,
        "table": str(table_path.resolve()),
        "points": photos.point_names,
        "flip": flip_order,
        "seed": seed,
        "first_weights": first_weights.about,
        "photos": {"training": len(training), "validation": len(validation), "test": len(test)},
        "epochs": len(keeper.history),
        "test": measure_predictions(predictions, photos.points[test], side),
        "means_alone": measure_predictions(
            np.broadcast_to(mean_points, predictions.shape), photos.points[test], side
        ),
        "recipe": asdict(recipe),
    }
    photo_run.write_photo_history(folder, map(astuple, keeper.history))
    _write_test(folder, photos, test, predictions)
    return photo_run.write_photo_run(folder, info)


def measure_predictions(predictions: np.ndarray, labels: np.ndarray, side: int) -> dict[str, float]:
    """Return the errors of predictions over all coordinates.

    Parameters
    ----------
    predictions, labels
        (N, K, 2) normalized coordinates.
    side
        Height and width of the network's input in pixels.

    Returns
    -------
    "mae" in normalized coordinates, "mae_px_SIDE" and "rmse_px_SIDE" in pixels of the input.
    """
    errors = predictions - labels
    mae, rmse = float(np.abs(errors).mean()), float(np.sqrt(np.square(errors).mean()))
    return {"mae": mae, f"mae_px_{side}": mae * side, f"rmse_px_{side}": rmse * side}


class _BestWeightsKeeper(keras.callbacks.Callback):
    """Saves the network's weights after the epochs with the smallest validation loss so far."""

    def __init__(
        self,
        network: keras.Model,
        path: Path,
        epochs: int,
        on_epoch: Callable[[PhotoEpochEnded], None] | None,
    ) -> None:
        super().__init__()
        self.network, self.path, self.epochs, self.notify = network, path, epochs, on_epoch
        self.history: list[PhotoEpochEnded] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = [float((logs or {})[name]) for name in ("loss", "val_loss", "val_mae")]
        ended = PhotoEpochEnded(epoch + 1, self.epochs, *values)
        if ended.validation_loss <= min(
            (earlier.validation_loss for earlier in self.history), default=ended.validation_loss
        ):
            with files.atomic_path(self.path) as path:
                self.network.save_weights(path)
        self.history.append(ended)
        if self.notify:
            self.notify(ended)


def _describe_flip(flip_order: tuple[int, ...] | None, names: tuple[str, ...]) -> str:
    """Return a line about the points that are exchanged in mirrored photos."""
    if flip_order is None:
        return "no mirror images: it is not clear which points correspond in them"
    pairs = [(index, other) for index, other in enumerate(flip_order) if index < other]
    swapped = ", ".join(f"{names[index]} and {names[other]}" for index, other in pairs) or "none"
    return f"mirror images swap: {swapped}"


def _write_test(folder: Path, photos: PhotoSet, test: np.ndarray, predictions: np.ndarray) -> None:
    """Write the predictions for the test photos and draw these, the largest errors first."""
    names = [photos.names[index] for index in test]
    photo_run.write_test_predictions(
        folder,
        table_columns(photos.point_names),
        [(name, points.reshape(-1)) for name, points in zip(names, predictions, strict=True)],
    )
    side = photos.images.shape[1]
    labels = photos.points[test]
    errors = np.abs(predictions - labels).mean((1, 2))
    tiles = [
        make_tile(
            photos.images[test[index]],
            predictions[index] * side - 0.5,
            labels[index] * side - 0.5,
            f"{names[index]} · MAE {errors[index]:.4f}",
            whole=True,
        )
        for index in np.argsort(-errors)[:_MAX_TILES]
    ]
    with files.atomic_path(photo_run.picture_path(folder)) as path:
        make_sheet(tiles).save(path)
