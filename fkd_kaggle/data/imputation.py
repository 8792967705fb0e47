"""Missing labels: what a recipe does about faces with fewer than all points labelled.

Three quarters of the original's faces have four labelled points of fifteen. Masking them in the
loss invents nothing; the published systems fill them in or leave the faces out. Works on training
faces only and learns from nothing else: held-out faces keep the labels they have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.recipes.schema import Recipe

Fill = Callable[[np.ndarray], np.ndarray]


def impute_labels(faces: Faces, recipe: Recipe) -> Faces:
    """Return the training faces as the recipe's strategy for missing labels leaves them.

    With outputs shared by both annotation sources every point the recipe answers for is filled or
    demanded on every face; with separate ones only the points of the face's own source are.

    Raises
    ------
    DataError
        "drop" leaves no face at all.
    """
    if recipe.missing == "mask":
        return faces
    outputs = recipe.outputs()
    annotators = faces.annotators if len(outputs) > 1 else np.zeros(len(faces.images), np.uint8)
    labels = faces.keypoints.copy()
    for annotator, points in enumerate(outputs):
        rows = annotators == annotator
        if recipe.missing != "drop" and rows.any():
            block = labels[np.ix_(rows, np.asarray(points))]
            flat = block.reshape(len(block), -1).astype(np.float64)
            filled = STRATEGIES[recipe.missing](flat)
            labels[np.ix_(rows, np.asarray(points))] = filled.reshape(block.shape)
    if recipe.missing != "drop":
        return replace(faces, keypoints=labels)
    complete = has_all_points(faces, recipe)
    if not complete.any():
        raise DataError(
            f"recipe {recipe.name} trains on completely labelled faces only (missing = 'drop'), "
            f"and none of {len(labels)} is"
        )
    return faces.take(np.nonzero(complete)[0])


def has_all_points(faces: Faces, recipe: Recipe) -> np.ndarray:
    """Return (N,) bool: every point the recipe answers for on this face is labelled."""
    outputs = recipe.outputs()
    annotators = faces.annotators if len(outputs) > 1 else np.zeros(len(faces.images), np.uint8)
    complete = np.zeros(len(faces.images), bool)
    for annotator, points in enumerate(outputs):
        labelled = np.isfinite(faces.keypoints[:, np.asarray(points)]).all((1, 2))
        complete |= (annotators == annotator) & labelled
    return complete


def _forward(labels: np.ndarray) -> np.ndarray:
    """Take the last face above that has the label; the first faces keep what they lack."""
    import pandas as pd

    return pd.DataFrame(labels).ffill().to_numpy()


def _mean(labels: np.ndarray) -> np.ndarray:
    from sklearn.impute import SimpleImputer

    return _imputed(SimpleImputer(), labels)


def _nearest(labels: np.ndarray) -> np.ndarray:
    """Average the five faces whose common points lie nearest (Troyanskaya et al. 2001)."""
    from sklearn.impute import KNNImputer

    return _imputed(KNNImputer(n_neighbors=5), labels)


def _imputed(imputer: object, labels: np.ndarray) -> np.ndarray:
    # What no face has cannot be filled; scikit-learn would leave the column out.
    known = np.isfinite(labels).any(0)
    filled = labels.copy()
    if known.any():
        filled[:, known] = imputer.fit_transform(labels[:, known])  # type: ignore[attr-defined]
    return filled


STRATEGIES: dict[str, Fill] = {"ffill": _forward, "mean": _mean, "knn": _nearest}
"""(N, F) labels with NaN to (N, F) labels without, by name; "mask" and "drop" fill nothing."""
