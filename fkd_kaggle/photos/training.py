"""Training of a network on photos and a table of their points (``train-photos``).

The whole photo is resized to a square. Points are normalized by width and height; there may be any
number of them. The recipe (by default ``ffhq-transfer``) defines architecture, loss, learning rate
and split. Of its augmentation, mirroring and brightness are used, as in the system that the recipe
reproduces. ``runs.photo_run`` describes the folder that is written.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.models import InitialWeights, impossible_options, transfer
from fkd_kaggle.nn import backend
from fkd_kaggle.photos.annotations.mirror_pairs import find_flip_order
from fkd_kaggle.photos.annotations.photo_set import PhotoSet, PhotoSplit, split_photos
from fkd_kaggle.photos.annotations.point_table import table_columns
from fkd_kaggle.photos.images import save_picture
from fkd_kaggle.photos.photo_network import PhotoLearner, load_photo_weights, predict_photos
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.report.tiles import make_sheet, make_tile
from fkd_kaggle.runs import photo_run
from fkd_kaggle.runs.lock import lock_run
from fkd_kaggle.runs.photo_run import PhotoRun
from fkd_kaggle.training import keras_fit
from fkd_kaggle.training.keras_fit import BestWeights
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

    Ctrl-C ends training early. The weights of the best epoch so far are then kept and tested. From
    the first epoch on, the folder is a photo run that can be used, also if this process is killed.

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
    RunError
        The validation loss was not finite after any epoch. No folder is left.
    KeyboardInterrupt
        Ctrl-C was pressed before the end of the first epoch. No folder is left.
    """
    check_photo_recipe(recipe)
    backend.start_keras(precision)
    keras.utils.set_random_seed(seed)
    flip_order = find_flip_order(photos.point_names, photos.points)
    split = split_photos(len(photos.names), recipe, seed)
    network, first_weights = _build_network(photos, split, recipe)
    if on_message:
        on_message(f"first weights: {first_weights.description}")
        on_message(_describe_flip(flip_order, photos.point_names))
    learner = PhotoLearner(network, recipe, flip_order, seed)
    patience = recipe.patience * (RANDOM_PATIENCE if first_weights.random else 1)
    weights = BestWeights(network, photo_run.weights_path(folder), patience=patience)
    info = {
        "table": str(table_path.resolve()),
        "points": photos.point_names,
        "flip": flip_order,
        "seed": seed,
        "first_weights": first_weights.description,
        "photos": {name: len(indices) for name, indices in vars(split).items()},
    }

    def store(status: str, **results: Any) -> PhotoRun:
        """Write photo_run.json with what is known so far."""
        epochs = {"epochs": len(monitor.history)}
        values = {"status": status, **info, **epochs, **results, "recipe": asdict(recipe)}
        return photo_run.write_photo_run(folder, values)

    monitor = _EpochMonitor(weights, recipe.epochs, on_epoch, lambda: store(photo_run.TRAINING))
    with _new_folder(folder):
        status = _fit(learner, photos, split, monitor)
        store(status)
        photo_run.write_photo_history(folder, map(astuple, monitor.history))
        load_photo_weights(network, weights.path)
        return store(status, **_test_network(folder, learner, photos, split))


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


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Create and lock the folder of a run; delete it if the block leaves no run in it."""
    folder.mkdir(parents=True)
    try:
        with lock_run(folder):
            yield
    finally:
        if not photo_run.is_photo_run(folder):
            shutil.rmtree(folder)


class _EpochMonitor(keras.callbacks.Callback):
    """Keeps the best weights, stops training without progress, and reports epochs.

    Parameters
    ----------
    weights
        The best weights.
    epochs
        Number of epochs of the recipe.
    on_epoch
        Called after each epoch.
    on_saved
        Called after the weights of an epoch were saved.
    """

    def __init__(
        self,
        weights: BestWeights,
        epochs: int,
        on_epoch: Callable[[PhotoEpochEnded], None] | None,
        on_saved: Callable[[], object],
    ) -> None:
        super().__init__()
        self.weights, self.epochs = weights, epochs
        self.notify, self.on_saved = on_epoch, on_saved
        self.history: list[PhotoEpochEnded] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Evaluate the losses of an epoch."""
        values = [float((logs or {})[name]) for name in ("loss", "val_loss", "val_mae")]
        ended = PhotoEpochEnded(epoch + 1, self.epochs, *values)
        self.history.append(ended)
        loss = ended.validation_loss
        if self.weights.update(loss if math.isfinite(loss) else None):
            self.on_saved()
        if self.weights.is_exhausted:
            self.model.stop_training = True
        if self.notify:
            self.notify(ended)


def _build_network(
    photos: PhotoSet, split: PhotoSplit, recipe: Recipe
) -> tuple[keras.Model, InitialWeights]:
    """Return a network with its first weights, and a description of these.

    The untrained network predicts the mean points, as the networks for faces do.
    """
    with impossible_options(_ARCHITECTURE, recipe.options):
        network = transfer.build_photo_model(len(photos.point_names), **recipe.options)
    first_weights = transfer.initialize_weights(network, recipe.options)
    mean_points = photos.points[split.training].mean(0)
    network.get_layer("coordinates").bias.assign(mean_points.reshape(-1))
    return network, first_weights


def _fit(learner: PhotoLearner, photos: PhotoSet, split: PhotoSplit, monitor: _EpochMonitor) -> str:
    """Train, and return "finished", "early stopping" or "interrupted".

    Raises
    ------
    RunError
        The validation loss was not finite after any epoch.
    """
    recipe = learner.recipe
    optimizer = keras.optimizers.Adam(recipe.learning_rate)

    def compile_learner() -> None:
        learner.compile(optimizer, metrics=["mae"], jit_compile=backend.uses_xla())

    def arguments() -> dict[str, Any]:
        return {
            "x": photos.images[split.training],
            "y": photos.points[split.training],
            "validation_data": (photos.images[split.validation], photos.points[split.validation]),
            "batch_size": recipe.batch_size,
            "epochs": recipe.epochs,
        }

    compile_learner()
    try:
        keras_fit.fit(learner, arguments, [monitor], recompile=compile_learner)
    except KeyboardInterrupt:
        if not monitor.weights.path.exists():
            raise
        return "interrupted"
    if not monitor.weights.path.exists():
        raise RunError(
            f"recipe {recipe.name} diverged: the validation loss was not finite after any of "
            f"{len(monitor.history)} epochs; use a smaller learning_rate"
        )
    return "early stopping" if monitor.weights.is_exhausted else "finished"


def _test_network(
    folder: Path, learner: PhotoLearner, photos: PhotoSet, split: PhotoSplit
) -> dict[str, dict[str, float]]:
    """Write the predictions for the test photos.

    Returns
    -------
    "test": the errors of the predictions; "means_alone": those of the mean training points.
    """
    predictions = predict_photos(learner.network, photos.images[split.test], learner.flip_order)
    _write_test(folder, photos, split.test, predictions)
    labels, side = photos.points[split.test], photos.images.shape[1]
    means = np.broadcast_to(photos.points[split.training].mean(0), predictions.shape)
    return {
        "test": measure_predictions(predictions, labels, side),
        "means_alone": measure_predictions(means, labels, side),
    }


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
    save_picture(make_sheet(tiles), photo_run.picture_path(folder))
