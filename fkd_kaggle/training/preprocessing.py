"""Preprocessing of the training faces by the options of a recipe, before training starts.

The order is: select the faces of one annotator if the recipe requires this, split off faces for
early stopping, impute missing labels, and add fixed copies (offline augmentation). Some
publications split after the offline augmentation and therefore tested on mirrored and shifted
copies of their training faces. The split "after-augmentation" does the same, to measure how much
too optimistic such a score is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import radians
from typing import TYPE_CHECKING, Any

import numpy as np

from fkd_kaggle import user_code
from fkd_kaggle.data import folds, imputation
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import ANNOTATORS, FLIP_ORDER, IMAGE_SIZE
from fkd_kaggle.recipes.plans import SEEDS
from fkd_kaggle.recipes.schema import OfflineCopy, Recipe

if TYPE_CHECKING:
    from fkd_kaggle.nn.warp import View

_BATCH_SIZE = 256


@dataclass(frozen=True)
class PreparedFaces:
    """The faces of a member after preprocessing."""

    training: Faces
    """Faces to train on."""
    validation: Faces | None
    """Faces for early stopping and the "plateau" schedule; None if the held-out faces are used."""
    copies: Faces | None = None
    """Test faces of the split "after-augmentation", including copies of training faces."""


def prepare_faces(recipe: Recipe, faces: Faces, split: str, seed: int) -> PreparedFaces:
    """Return the faces that a member is trained and validated on.

    Parameters
    ----------
    recipe
        The member's recipe.
    faces
        All faces outside the held-out fold.
    split
        The run's split: "grouped", "random" or "after-augmentation".
    seed
        Seed of splits and noise.

    Raises
    ------
    DataError
        The recipe is trained on one annotator's faces, and there are none.
    """
    if recipe.rows != "all":
        faces = faces.take(faces.annotators == ANNOTATORS.index(recipe.rows))
        if not len(faces.images):
            raise DataError(
                f"recipe {recipe.name} is trained only on faces of the {recipe.rows} annotator, "
                "and training.csv has none outside the held-out fold"
            )
    validation = None
    if split == "after-augmentation":
        augmented = augment_offline(faces, recipe, seed)
        training, copies = _split_off(augmented, recipe.held_out, "random", seed)
        if recipe.validation:
            training, validation = _split_off(
                training, recipe.validation, "random", (seed + 1) % SEEDS
            )
        return PreparedFaces(training, validation, copies)
    if recipe.validation:
        faces, validation = _split_off(faces, recipe.validation, split, seed)
        if recipe.imputation == "drop":
            # A recipe that is trained on complete faces is validated on complete faces.
            validation = _impute(validation, recipe)
    return PreparedFaces(augment_offline(faces, recipe, seed), validation)


def augment_offline(faces: Faces, recipe: Recipe, seed: int) -> Faces:
    """Return faces with imputed labels, followed by the recipe's copies of complete faces.

    Faces with missing labels are not copied. Faces are not shifted if a keypoint would leave the
    image.

    Parameters
    ----------
    faces
        The faces.
    recipe
        Recipe; its ``imputation`` and ``offline_augmentation`` are used.
    seed
        Seed of the noise of the copies.
    """
    imputed = _impute(faces, recipe)
    if not recipe.offline_augmentation:
        return imputed
    complete = faces.take(np.nonzero(imputation.has_all_points(faces, recipe.outputs()))[0])
    # One random generator for all copies, so that their noise differs.
    random = np.random.default_rng(seed)
    copies = [_copy_faces(complete, copy, random) for copy in recipe.offline_augmentation]
    parts = [imputed, *copies]
    return Faces(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.keypoints for part in parts]),
        np.concatenate([part.ids for part in parts]),
    )


def _impute(faces: Faces, recipe: Recipe) -> Faces:
    strategy = user_code.resolve(recipe.imputation, recipe.code)
    return imputation.impute_labels(faces, strategy, recipe.outputs())


def copied_points(keypoints: np.ndarray, copy: OfflineCopy) -> tuple[np.ndarray, np.ndarray]:
    """Return the keypoints of the copies, and whether each copy is made.

    Parameters
    ----------
    keypoints
        (N, 15, 2) pixels, NaN where missing.
    copy
        The change of each copy.

    Returns
    -------
    points
        (N, 15, 2) float32 pixels.
    made
        (N,) bool: False where a shift would move a keypoint out of the image.
    """
    from keras import ops

    points = _view(copy).to_view(ops.convert_to_tensor(keypoints, "float32"), FLIP_ORDER)
    points = ops.convert_to_numpy(points)
    shifted = bool(copy.shift_x or copy.shift_y)
    inside = np.isnan(points) | ((points > 0) & (points < IMAGE_SIZE))
    return points, inside.all((1, 2)) if shifted else np.ones(len(points), bool)


def _copy_faces(faces: Faces, copy: OfflineCopy, random: np.random.Generator) -> Faces:
    """Return the copies of faces."""
    from keras import ops

    from fkd_kaggle.nn import warp

    points, made = copied_points(faces.keypoints, copy)
    view, faces = _view(copy), faces.take(np.nonzero(made)[0])
    images = np.empty_like(faces.images)
    for start in range(0, len(images), _BATCH_SIZE):
        batch = faces.images[start : start + _BATCH_SIZE]
        views = warp.View(
            ops.repeat(view.matrix, len(batch), 0), ops.repeat(view.mirrored, len(batch))
        )
        grey = ops.convert_to_numpy(views.warp(warp.to_grey(batch)))[..., 0] * copy.gain
        if copy.noise:
            grey = grey + random.normal(0, copy.noise, grey.shape)
        images[start : start + _BATCH_SIZE] = np.rint(np.clip(grey, 0, 1) * 255)
    return Faces(images, points[made], faces.ids)


def _view(copy: OfflineCopy) -> View:
    """Return the view of a copy, as a batch of size 1."""
    from keras import ops

    from fkd_kaggle.nn import warp

    def batch(value: float) -> Any:
        return ops.full((1,), value, "float32")

    return warp.make_view(
        angle=batch(radians(copy.rotation)),
        zoom=batch(1),
        aspect=batch(1),
        shear=batch(0),
        shift_x=batch(copy.shift_x),
        shift_y=batch(copy.shift_y),
        mirrored=batch(copy.flip) > 0,
    )


def _split_off(faces: Faces, fraction: float, split: str, seed: int) -> tuple[Faces, Faces]:
    """Split faces at random; return the remaining faces and the selected ``fraction`` of them."""
    selected = folds.hold_out_rows(faces, fraction, split, seed)
    return faces.take(np.nonzero(~selected)[0]), faces.take(np.nonzero(selected)[0])
