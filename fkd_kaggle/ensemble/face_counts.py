"""About how many faces a recipe is trained on, counted from labels before the training.

Counts what ``training.preprocessing.prepare_faces`` selects, without images and without Keras. Not
considered: shifted copies that are left out because a keypoint would leave the image, corrections,
and outliers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset, imputation
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.keypoints import ANNOTATORS, NUM_KEYPOINTS, PARTIAL_KEYPOINTS, index
from fkd_kaggle.recipes.schema import Ensemble, Recipe


def read_labels(data_dir: Path) -> Faces:
    """Return the training faces without their images, which are (N, 0).

    Parameters
    ----------
    data_dir
        Folder of the competition's files.

    Raises
    ------
    DataError
        training.csv is missing or invalid.
    """
    training = dataset.read_training(data_dir)
    return replace(training, images=np.empty((len(training.images), 0), np.uint8))


def make_labels(faces: int, annotated: int, complete: int) -> Faces:
    """Return faces with labels at unknown positions and without images, (N, 0).

    Parameters
    ----------
    faces
        Number of faces.
    annotated
        Number of faces of the complete annotator.
    complete
        Number of faces with labels of all keypoints; the other faces of the complete annotator lack
        the outer end of an eyebrow.
    """
    keypoints = np.full((faces, NUM_KEYPOINTS, 2), np.nan, np.float32)
    keypoints[:, PARTIAL_KEYPOINTS] = 0
    keypoints[:annotated] = 0
    keypoints[complete:annotated, index("left_eyebrow_outer_end")] = np.nan
    return Faces(np.empty((faces, 0), np.uint8), keypoints, np.arange(1, faces + 1))


def original_labels() -> Faces:
    """Return faces with as many labels as in the original competition, without images."""
    return make_labels(7049, 2284, 2140)


def face_counter(ensemble: Ensemble, labels: Faces) -> Callable[[Recipe], int]:
    """Return a function that returns the number of faces of a recipe of an ensemble.

    Parameters
    ----------
    ensemble
        The ensemble.
    labels
        All training faces; images are not used.
    """
    counts = {
        line.recipe.name: count_faces(line.recipe, ensemble, labels) for line in ensemble.members
    }
    return lambda recipe: counts[recipe.name]


def count_faces(recipe: Recipe, ensemble: Ensemble, labels: Faces) -> int:
    """Return about how many faces one network is trained on, offline copies included.

    Parameters
    ----------
    recipe
        A recipe; its ``rows``, ``imputation``, ``validation`` and ``offline_augmentation`` are
        used. A function of the user for imputation is not called: it keeps the number of faces.
    ensemble
        An ensemble with the recipe, for its folds and its split.
    labels
        All training faces; images are not used.

    Returns
    -------
    int
        Number of faces in an epoch; 0 if there are none.
    """
    if recipe.rows != "all":
        labels = labels.take(labels.annotators == ANNOTATORS.index(recipe.rows))
    complete = int(imputation.has_all_points(labels, recipe.outputs()).sum())
    faces = complete if recipe.imputation == "drop" else len(labels.images)
    faces += len(recipe.offline_augmentation) * complete
    held_out = [ensemble.held_out or 1 / ensemble.folds, recipe.validation]
    if ensemble.split == "after-augmentation":
        held_out.append(recipe.held_out)
    share = 1.0
    for one in held_out:
        # Groups of near-duplicates are split into equal folds.
        is_rounded = one > 0 and ensemble.split == "grouped"
        share *= 1 - (1 / max(2, round(1 / one)) if is_rounded else one)
    return round(share * faces)
