"""Training a network on photos of one's own and a table of their points (ffhq-transfer).

The whole photo is seen, squeezed to 128×128; points are shares of width and height; any number of
them. Architecture, loss, steps and what is varied come from a recipe, ``ffhq-transfer`` unless
another is named; of its augmentation the mirror image and brightness are used, as the system it
comes from did. A run of this kind is a folder beside the others:

    runs/<name>/
      photo_run.json       the table, the points, the split, the recipe, what was reached
      best.weights.h5      of the epoch with the least validation loss
      history.csv          losses by epoch
      test.csv, test.png   predictions for the photos that were kept aside
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle import files
from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.models import transfer
from fkd_kaggle.nn import backend, losses
from fkd_kaggle.photos import RUN_NOTE
from fkd_kaggle.photos.annotations import point_table
from fkd_kaggle.photos.annotations.photo_set import PhotoSet, resize_to_input, split_photos
from fkd_kaggle.photos.annotations.point_table import PointTable
from fkd_kaggle.recipes.loading import recipe_from_dict
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.report.tiles import make_sheet, make_tile
from fkd_kaggle.runs import folder
from fkd_kaggle.settings import __version__
from fkd_kaggle.training.trainer import RANDOM_PATIENCE

_DRAWN = 60

_ARCHITECTURE = "transfer"


@dataclass(frozen=True)
class PhotoEpochEnded:
    """How training stands after an epoch."""

    epoch: int
    epochs: int
    loss: float
    validation_loss: float
    validation_mae: float


class PhotoRun:
    """A trained network of this kind, and its folder."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path, self.info = path, info

    @classmethod
    def open(cls, path: Path) -> PhotoRun:
        """Open a folder that ``train`` left.

        Raises
        ------
        RunError
            It holds no such run, or its note is damaged.
        """
        try:
            info = json.loads((path / RUN_NOTE).read_text(encoding="utf-8"))
            recipe_from_dict(info["recipe"])
            return cls(path, {**info, "points": tuple(info["points"])})
        except FileNotFoundError:
            raise RunError(f"{path} is no run of train-photos (no {RUN_NOTE})") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path / RUN_NOTE} is damaged ({type(error).__name__})") from error

    @property
    def names(self) -> tuple[str, ...]:
        return self.info["points"]

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (K, 2) photo pixels for each (H, W, 3) uint8 photo; it always has an answer."""
        network = self._network()
        side = network.input_shape[1]
        if not photos:
            return []
        small = np.stack([resize_to_input(photo, side) for photo in photos])
        shares = _answers(network, small, self.info["flip"])
        return [
            points * photo.shape[1::-1] - 0.5 for points, photo in zip(shares, photos, strict=True)
        ]

    def _network(self) -> keras.Model:
        if not hasattr(self, "_loaded"):
            backend.start_keras("auto")
            recipe = recipe_from_dict(self.info["recipe"])
            self._loaded = transfer.build_for_photos(len(self.names), **recipe.options)
            _load(self._loaded, self.path / "best.weights.h5")
        return self._loaded


def new_run_folder(runs_dir: Path, name: str | None, stem: str) -> Path:
    """Return where a new run goes.

    Raises
    ------
    RunError
        There is one of that name.
    """
    path = runs_dir / (name or folder.next_run_name(runs_dir, stem))
    if path.exists():
        raise RunError(f"{path} is there already: choose another --name")
    return path


def check_photo_recipe(recipe: Recipe) -> None:
    """Refuse recipes that say nothing about photos.

    Raises
    ------
    RecipeError
        The recipe is of another architecture.
    """
    if recipe.architecture != _ARCHITECTURE:
        raise RecipeError(
            f"recipe {recipe.name}: photos are learned with architecture {_ARCHITECTURE!r}, "
            f"not {recipe.architecture!r}: take ffhq-transfer, or a copy of it"
        )


def train_photo_network(
    album: PhotoSet,
    table: PointTable,
    source: Path,
    recipe: Recipe,
    path: Path,
    *,
    seed: int = 0,
    precision: str = "auto",
    on_start: Callable[[str], None] | None = None,
    on_epoch: Callable[[PhotoEpochEnded], None] | None = None,
) -> PhotoRun:
    """Train on an album and leave a run in the new folder ``path``.

    Ctrl-C ends training early; the best epoch so far is kept and measured, if there was one.

    Parameters
    ----------
    source
        The table's file, for the note.
    on_start
        Called with a line about the first weights and one about mirroring.

    Raises
    ------
    KeyboardInterrupt
        It was pressed before the first epoch was over; nothing is left.
    """
    check_photo_recipe(recipe)
    backend.start_keras(precision)
    keras.utils.set_random_seed(seed)
    flip = point_table.flip_order(table.names, album.points)
    learn, watch, test = split_photos(len(album.names), recipe, seed)
    network = transfer.build_for_photos(len(table.names), **recipe.options)
    first = transfer.initialise(network, recipe.options)
    # Begins with the mean points, as networks for faces do.
    network.get_layer("coordinates").bias.assign(album.points[learn].mean(0).reshape(-1))
    if on_start:
        on_start(f"first weights: {first.about}")
        on_start(_about_flips(flip, table.names))
    learner = _Learner(network, recipe, flip, seed)
    learner.compile(
        keras.optimizers.Adam(recipe.learning_rate), metrics=["mae"],
        jit_compile=backend.uses_xla(),
    )  # fmt: skip
    best = path / "best.weights.h5"
    path.mkdir(parents=True)
    keeper = _Keeper(network, best, recipe.epochs, on_epoch)
    patience = recipe.patience * (RANDOM_PATIENCE if first.random else 1)
    stopper = keras.callbacks.EarlyStopping(patience=patience or recipe.epochs)
    status = "finished"
    try:
        learner.fit(
            album.images[learn], album.points[learn], batch_size=recipe.batch_size,
            epochs=recipe.epochs, verbose=0, callbacks=[keeper, stopper],
            validation_data=(album.images[watch], album.points[watch]),
        )  # fmt: skip
        if stopper.stopped_epoch:
            status = "early stopping"
    except KeyboardInterrupt:
        status = "interrupted"
        if not best.exists():
            raise
    finally:
        if not best.exists():
            shutil.rmtree(path)
    _load(network, best)
    answers = _answers(network, album.images[test], flip)
    info = {
        "name": path.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "status": status,
        "table": str(source.resolve()),
        "points": table.names,
        "flip": flip,
        "seed": seed,
        "first_weights": first.about,
        "photos": {"training": len(learn), "validation": len(watch), "test": len(test)},
        "epochs": len(keeper.history),
        "test": measure_predictions(answers, album.points[test], album.images.shape[1]),
        "means_alone": measure_predictions(
            np.broadcast_to(album.points[learn].mean(0), answers.shape), album.points[test],
            album.images.shape[1],
        ),
        "recipe": asdict(recipe),
    }  # fmt: skip
    _write_history(path / "history.csv", keeper.history)
    _write_test(path, album, test, answers, table.names)
    files.write_json(path / RUN_NOTE, info)
    return PhotoRun(path, info)


def measure_predictions(answers: np.ndarray, points: np.ndarray, side: int) -> dict[str, float]:
    """Return the MAE of (N, K, 2) shares, and MAE and RMSE in pixels at ``side``."""
    off = answers - points
    mae, rmse = float(np.abs(off).mean()), float(np.sqrt(np.square(off).mean()))
    return {"mae": mae, f"mae_px_{side}": mae * side, f"rmse_px_{side}": rmse * side}


class _Learner(keras.Model):
    """A network shown photos in random light and mirrored half of the time.

    As everywhere here the network answers in the view, and its answer is mirrored back.
    """

    def __init__(
        self, network: keras.Model, recipe: Recipe, flip: tuple[int, ...] | None, seed: int
    ) -> None:
        super().__init__(name="photo_learner")
        self.network, self.recipe, self.flip = network, recipe, flip
        self.point_loss = losses.masked_loss(recipe)
        self.view_seed = keras.random.SeedGenerator(seed)

    def call(self, photos: Any, training: bool = False) -> Any:
        """Return (B, K, 2) shares for (B, side, side, 3) uint8 photos."""
        seen = ops.cast(photos, "float32") / 255.0
        if not training:
            return self.network(seen, training=False)
        batch = ops.shape(seen)[0]
        strength = self.recipe.augmentation
        reach = strength.brightness
        light = keras.random.uniform((batch, 1, 1, 1), -reach, reach, seed=self.view_seed)
        seen = ops.clip(seen + light, 0.0, 1.0)
        if self.flip is None:
            return self.network(seen, training=True)
        mirrored = keras.random.uniform((batch,), seed=self.view_seed) < strength.flip
        seen = ops.where(mirrored[:, None, None, None], ops.flip(seen, axis=2), seen)
        points = self.network(seen, training=True)
        back = ops.take(points, ops.convert_to_tensor(list(self.flip), "int32"), axis=1)
        back = ops.stack([1.0 - back[..., 0], back[..., 1]], axis=-1)
        return ops.where(mirrored[:, None, None], back, points)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the recipe's loss; it counts in pixels of a 96×96 face, as recipes do."""
        return self.point_loss(y * IMAGE_SIZE, y_pred * IMAGE_SIZE)


class _Keeper(keras.callbacks.Callback):
    """Keeps the weights of the best epoch and tells how training stands.

    ModelCheckpoint's work, but of the network alone and never half-written.
    """

    def __init__(
        self,
        network: keras.Model,
        best: Path,
        epochs: int,
        on_epoch: Callable[[PhotoEpochEnded], None] | None,
    ) -> None:
        super().__init__()
        self.network, self.best, self.epochs, self.tell = network, best, epochs, on_epoch
        self.history: list[PhotoEpochEnded] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = [float((logs or {})[name]) for name in ("loss", "val_loss", "val_mae")]
        told = PhotoEpochEnded(epoch + 1, self.epochs, *values)
        if told.validation_loss <= min(
            (earlier.validation_loss for earlier in self.history), default=told.validation_loss
        ):
            with files.atomic_path(self.best) as path:
                self.network.save_weights(path)
        self.history.append(told)
        if self.tell:
            self.tell(told)


def _about_flips(flip: tuple[int, ...] | None, names: tuple[str, ...]) -> str:
    if flip is None:
        return "mirror images are left out: which point is whose partner cannot be told"
    pairs = [(a, b) for a, b in enumerate(flip) if a < b]
    swapped = ", ".join(f"{names[a]} and {names[b]}" for a, b in pairs) or "none"
    return f"mirror images swap: {swapped}"


def _answers(network: keras.Model, photos: np.ndarray, flip: tuple[int, ...] | None) -> np.ndarray:
    """Return (N, K, 2) float32 shares: the mean over each photo and its mirror image."""
    straight = _ask(network, photos)
    if flip is None:
        return straight
    mirrored = _ask(network, photos[:, :, ::-1])[:, list(flip)]
    mirrored[..., 0] = 1 - mirrored[..., 0]
    return (straight + mirrored) / 2


def _ask(network: keras.Model, photos: np.ndarray) -> np.ndarray:
    parts = [
        ops.convert_to_numpy(network(photos[start : start + 64].astype(np.float32) / 255))
        for start in range(0, len(photos), 64)
    ]
    return np.concatenate(parts)


def _load(network: keras.Model, path: Path) -> None:
    try:
        network.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path} is missing or damaged: train again") from error


def _write_history(path: Path, history: list[PhotoEpochEnded]) -> None:
    columns = [field.name for field in fields(PhotoEpochEnded)]
    files.write_csv(path, columns, [astuple(epoch) for epoch in history])


def _write_test(
    path: Path, album: PhotoSet, test: np.ndarray, answers: np.ndarray, names: tuple[str, ...]
) -> None:
    """Write the answers for the test photos, in shares, and draw them, the worst first."""
    kept = tuple(album.names[place] for place in test)
    rows = [
        (name, *(f"{value:.5f}" for value in points.reshape(-1)))
        for name, points in zip(kept, answers, strict=True)
    ]
    files.write_csv(path / "test.csv", point_table.table_columns(names), rows)
    side = album.images.shape[1]
    off = np.abs(answers - album.points[test]).mean((1, 2))
    tiles = [
        make_tile(
            album.images[test[place]], answers[place] * side - 0.5,
            album.points[test[place]] * side - 0.5, f"{kept[place]} · MAE {off[place]:.4f}",
            whole=True,
        )
        for place in np.argsort(-off)[:_DRAWN]
    ]  # fmt: skip
    with files.atomic_path(path / "test.png") as temporary:
        make_sheet(tiles).save(temporary)
