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

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fkd_kaggle.errors import DataError
from fkd_kaggle.models import transfer
from fkd_kaggle.photos.annotations.point_table import PointTable
from fkd_kaggle.photos.images import SkippedInput, read_photo
from fkd_kaggle.recipes.schema import Recipe

_FEWEST = 20
"""Photos to learn from; a tenth of fewer tells nothing."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos with their points, as the network sees them."""

    names: tuple[str, ...]
    images: np.ndarray
    """(N, side, side, 3) uint8."""
    points: np.ndarray
    """(N, K, 2) float32 shares of width and height."""
    incomplete: int
    """Rows dropped because a point was not found."""
    skipped: tuple[SkippedInput, ...]
    """Rows and photos that could not be read."""


def resize_to_input(photo: np.ndarray, side: int) -> np.ndarray:
    """Return (side, side, 3) uint8: a photo in the shape the network sees."""
    image = Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def load_photo_set(
    table: PointTable,
    folder: Path,
    side: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> PhotoSet:
    """Read the photos of the complete rows of a table.

    Raises
    ------
    DataError
        Too few of them are usable.
    """
    whole = table.complete()
    names, small, points = [], [], []
    skipped = list(table.skipped)
    for number, (name, marks) in enumerate(zip(whole.images, whole.points, strict=True)):
        if on_progress and number % 50 == 0:
            on_progress(number, len(whole.images))
        path = folder / name
        try:
            photo = read_photo(path)
        except DataError as error:
            skipped.append(SkippedInput(name, str(error).removeprefix(f"{path}: ")))
            continue
        names.append(name)
        small.append(resize_to_input(photo, side))
        points.append(marks if table.shares else (marks + 0.5) / photo.shape[1::-1])
    if len(names) < _FEWEST:
        why = f"; {skipped[0]}" if skipped else ""
        raise DataError(
            f"{len(names)} photos with all {len(table.names)} points are too few to learn from "
            f"(at least {_FEWEST}); {len(table.images) - len(whole.images)} rows have a point "
            f"that was not found, {len(skipped)} could not be read{why}"
        )
    return PhotoSet(
        tuple(names), np.stack(small), np.array(points, np.float32),
        len(table.images) - len(whole.images), tuple(skipped),
    )  # fmt: skip


def input_side(recipe: Recipe) -> int:
    """Return the height and width a recipe's network sees."""
    return int(recipe.options.get("side", transfer.SIDE))


def split_photos(
    count: int, recipe: Recipe, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places of training, validation and test photos, at random; at least one each."""
    order = np.random.default_rng(seed).permutation(count)
    test = max(1, round(count * (recipe.held_out or 0.1)))
    validation = max(1, round((count - test) * (recipe.validation or 1 / 9)))
    return order[test + validation :], order[test : test + validation], order[:test]
