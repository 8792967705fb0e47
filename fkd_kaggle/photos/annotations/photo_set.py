"""The data set of ``train-photos``: photos resized for the network, and their points.

This module loads the photos of a point table and splits them. It does not train.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fkd_kaggle.errors import DataError, RecipeError
from fkd_kaggle.models import transfer
from fkd_kaggle.photos.annotations.point_table import PointTable
from fkd_kaggle.photos.annotations.types import SkippedInput
from fkd_kaggle.photos.images import read_photo, read_sizes
from fkd_kaggle.photos.photo_folder import scan_folder
from fkd_kaggle.photos.photo_names import PhotoName, find_photos
from fkd_kaggle.recipes.schema import Recipe

_MIN_PHOTOS = 20
"""With fewer photos, a validation set of a tenth of them would not be meaningful."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos at the network's input size with their points."""

    names: tuple[str, ...]
    """(N,) file names."""
    images: np.ndarray
    """(N, side, side, 3) uint8 RGB."""
    points: np.ndarray
    """(N, K, 2) float32 normalized by width and height: 0 and 1 are the edges of the photo."""
    point_names: tuple[str, ...]
    """(K,) names of the points."""
    incomplete: int
    """Number of table rows dropped because a point was not found."""
    skipped: tuple[SkippedInput, ...]
    """Table rows and photos that could not be read."""


@dataclass(frozen=True)
class PhotoSplit:
    """Indices of photos, int64, for each purpose."""

    training: np.ndarray
    validation: np.ndarray
    """Photos that the best epoch is chosen by."""
    test: np.ndarray
    """Photos that the result is measured on."""


def load_photo_set(
    table: PointTable,
    folder: Path,
    side: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> PhotoSet:
    """Read the photos of the complete rows of a table.

    Parameters
    ----------
    table
        The photos' names and points.
    folder
        Folder of the photos.
    side
        Height and width of the network's input in pixels.
    on_progress
        Called with the number of photos done and the number of photos.

    Raises
    ------
    DataError
        Fewer than 20 photos can be used, or the table has both pixels and normalized coordinates.
    """
    complete, is_normalized = table.complete_rows(), table.is_normalized()
    names, images, points = [], [], []
    skipped = list(table.skipped)
    # A photo in two rows would be learned in one and tested in the other.
    used: dict[Path, np.ndarray] = {}
    wanted = [PhotoName(name) for name in complete.image_names]
    paths = find_photos(scan_folder(folder), wanted, read_sizes)
    rows = zip(complete.image_names, paths, complete.points, strict=True)
    for number, (name, path, photo_points) in enumerate(rows):
        if on_progress and number % 50 == 0:
            on_progress(number, len(complete.image_names))
        if isinstance(path, str):
            skipped.append(SkippedInput(name, path))
            continue
        if path in used:
            same = np.array_equal(used[path], photo_points)
            again = "again" if same else "again with other points"
            skipped.append(SkippedInput(name, f"is listed {again}: the first time is used"))
            continue
        try:
            photo = read_photo(path)
        except DataError as error:
            skipped.append(SkippedInput(name, str(error).removeprefix(f"{path}: ")))
            continue
        normalized = photo_points if is_normalized else _normalize(photo_points, photo)
        if _is_outside(normalized):
            height, width = photo.shape[:2]
            skipped.append(
                SkippedInput(name, f"its points lie outside the photo ({width}×{height})")
            )
            continue
        used[path] = photo_points
        names.append(name)
        images.append(resize_to_input(photo, side))
        points.append(normalized)
    incomplete = len(table.image_names) - len(complete.image_names)
    if len(names) < _MIN_PHOTOS:
        example = f"; {skipped[0]}" if skipped else ""
        raise DataError(
            f"{len(names)} photos with all {len(table.point_names)} points are too few to learn "
            f"from (at least {_MIN_PHOTOS}); {incomplete} rows have a point "
            f"that was not found, {len(skipped)} could not be read{example}"
        )
    return PhotoSet(
        tuple(names),
        np.stack(images),
        np.array(points, np.float32),
        table.point_names,
        incomplete,
        tuple(skipped),
    )


def resize_to_input(photo: np.ndarray, side: int) -> np.ndarray:
    """Resize a photo to the network's input without keeping its aspect ratio.

    Parameters
    ----------
    photo
        (H, W, 3) uint8 RGB.
    side
        Height and width of the result in pixels.

    Returns
    -------
    (side, side, 3) uint8 RGB.
    """
    image = Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def input_side(recipe: Recipe) -> int:
    """Return the height and width in pixels of the input of a recipe's network.

    Raises
    ------
    RecipeError
        The side is too small for the network.
    """
    side = int(recipe.options.get("side", transfer.SIDE))
    if side < transfer.MIN_SIDE:
        raise RecipeError(
            f"recipe {recipe.name}: side must be {transfer.MIN_SIDE} or more, not {side}"
        )
    return side


def split_photos(count: int, recipe: Recipe, seed: int) -> PhotoSplit:
    """Split photos at random into training, validation and test photos.

    Parameters
    ----------
    count
        Number of photos.
    recipe
        Its ``held_out`` is the share of test photos (default 0.1), its ``validation`` the share
        of validation photos among the others (default 1/9). Both sets have at least one photo.
    seed
        Seed of the split.

    Raises
    ------
    RecipeError
        The shares leave no photo for training.
    """
    order = np.random.default_rng(seed).permutation(count)
    test = max(1, round(count * (recipe.held_out or 0.1)))
    validation = max(1, round((count - test) * (recipe.validation or 1 / 9)))
    if test + validation >= count:
        raise RecipeError(
            f"recipe {recipe.name}: held_out and validation leave none of {count} photos for "
            "training: choose smaller shares"
        )
    return PhotoSplit(
        training=order[test + validation :],
        validation=order[test : test + validation],
        test=order[:test],
    )


def _normalize(points: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Return (K, 2) points in pixels of an (H, W, 3) photo as normalized coordinates."""
    return (points + 0.5) / photo.shape[1::-1]


def _is_outside(points: np.ndarray) -> bool:
    """Say whether the centre of (K, 2) points in normalized coordinates lies outside the photo."""
    centre = points.mean(0)
    return bool((centre < 0).any() or (centre > 1).any())
