"""A recipe's protocol: what is made of the faces it may learn from before the first step.

In this order: the other source's faces are left out where the recipe wants one's only, a part is
split off for early stopping to watch, missing labels are settled, and the rest is enlarged by fixed
copies. The published systems enlarged first and split afterwards, so that they tested on mirrored
and shifted copies of faces they had trained on; "enlarged-first" does the same, beside faces that
nobody has seen, to show what such a score is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import radians
from typing import TYPE_CHECKING, Any

import numpy as np

from fkd_kaggle.data import folds, imputation
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import ANNOTATORS, FLIP_ORDER, IMAGE_SIZE
from fkd_kaggle.recipes.schema import OfflineCopy, Recipe

if TYPE_CHECKING:
    from fkd_kaggle.nn.warp import View

_BLOCK = 256


@dataclass(frozen=True)
class PreparedFaces:
    """What a member learns from, and what it is watched on."""

    training: Faces
    validation: Faces | None
    """For early stopping and the plateau; None where the held-out faces are watched."""
    copies: Faces | None = None
    """Faces a leaky protocol tests on: copies of training faces among them."""


def prepare_faces(recipe: Recipe, faces: Faces, split: str, seed: int) -> PreparedFaces:
    """Split, settle and enlarge the faces a member may learn from.

    Parameters
    ----------
    split
        The run's: "grouped", "random" or "enlarged-first".

    Raises
    ------
    DataError
        The recipe learns from one source's faces, and there are none.
    """
    if recipe.rows != "all":
        faces = faces.take(faces.annotators == ANNOTATORS.index(recipe.rows))
        if not len(faces.images):
            raise DataError(
                f"recipe {recipe.name} learns from the {recipe.rows} source's faces only, and "
                "training.csv has none that it may learn from"
            )
    if split == "enlarged-first":
        enlarged = augment_offline(faces, recipe, seed)
        training, copies = _split_off(enlarged, recipe.held_out, "random", seed)
        watched = None
        if recipe.validation:
            training, watched = _split_off(training, recipe.validation, "random", seed + 1)
        return PreparedFaces(training, watched, copies)
    watched = None
    if recipe.validation:
        faces, watched = _split_off(faces, recipe.validation, split, seed)
        if recipe.missing == "drop":
            watched = imputation.impute_labels(
                watched, recipe
            )  # faces of the kind that it learns from
    return PreparedFaces(augment_offline(faces, recipe, seed), watched)


def augment_offline(faces: Faces, recipe: Recipe, seed: int) -> Faces:
    """Return the faces with missing labels settled, and the recipe's copies of complete ones.

    Faces without all their labels are not copied, nor shifted to where a point leaves the frame.
    """
    settled = imputation.impute_labels(faces, recipe)
    if not recipe.enlarge:
        return settled
    whole = faces.take(np.nonzero(imputation.has_all_points(faces, recipe))[0])
    # One draw after another from one generator: every noisy copy has noise of its own.
    random = np.random.default_rng(seed)
    parts = [settled, *(_copied(whole, copy, random) for copy in recipe.enlarge)]
    return Faces(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.keypoints for part in parts]),
        np.concatenate([part.ids for part in parts]),
    )


def copied_points(keypoints: np.ndarray, copy: OfflineCopy) -> tuple[np.ndarray, np.ndarray]:
    """Return the (N, 15, 2) points of each face's copy, and (N,) bool: whether it is made."""
    from keras import ops

    points = _view(copy).to_view(ops.convert_to_tensor(keypoints, "float32"), FLIP_ORDER)
    points = ops.convert_to_numpy(points)
    shifted = bool(copy.shift_x or copy.shift_y)
    inside = np.isnan(points) | ((points > 0) & (points < IMAGE_SIZE))
    return points, inside.all((1, 2)) if shifted else np.ones(len(points), bool)


def _copied(faces: Faces, copy: OfflineCopy, random: np.random.Generator) -> Faces:
    from keras import ops

    from fkd_kaggle.nn import layers, warp

    points, made = copied_points(faces.keypoints, copy)
    view, faces = _view(copy), faces.take(np.nonzero(made)[0])
    images = np.empty_like(faces.images)
    for start in range(0, len(images), _BLOCK):
        block = faces.images[start : start + _BLOCK]
        every = warp.View(
            ops.repeat(view.matrix, len(block), 0), ops.repeat(view.mirrored, len(block))
        )
        seen = ops.convert_to_numpy(every.warp(layers.to_grey(block)))[..., 0] * copy.gain
        if copy.noise:
            seen = seen + random.normal(0, copy.noise, seen.shape)
        images[start : start + _BLOCK] = np.rint(np.clip(seen, 0, 1) * 255)
    return Faces(images, points[made], faces.ids)


def _view(copy: OfflineCopy) -> View:
    """Return the one view, a batch of 1, that a copy shows of every face."""
    from keras import ops

    from fkd_kaggle.nn import warp

    def one(value: float) -> Any:
        return ops.full((1,), value, "float32")

    return warp.make_view(
        angle=one(radians(copy.rotation)), zoom=one(1), aspect=one(1), shear=one(0),
        shift_x=one(copy.shift_x), shift_y=one(copy.shift_y), mirrored=one(copy.flip) > 0,
    )  # fmt: skip


def _split_off(faces: Faces, share: float, split: str, seed: int) -> tuple[Faces, Faces]:
    """Return the faces without a share of them, and that share."""
    aside = folds.hold_out_rows(faces, share, split, seed)
    return faces.take(np.nonzero(~aside)[0]), faces.take(np.nonzero(aside)[0])
