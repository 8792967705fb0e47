"""Imputation: what a recipe does with faces on which some keypoints have no label.

Three quarters of the competition's training faces have labels of four keypoints only. The published
systems fill in the missing labels or leave the faces out; "mask" keeps both as they are. A strategy
sees training faces only, and labels of held-out faces are never changed.

A strategy that fills in labels is a function in ``STRATEGIES``. The functions of this module take
plain arguments and do not know recipes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError, RecipeError

Fill = Callable[[np.ndarray], np.ndarray]
"""(N, F) float64 labels with NaN → (N, F) labels without NaN, where a value can be inferred."""


def impute_labels(faces: Faces, strategy: str | Fill, outputs: Sequence[Sequence[int]]) -> Faces:
    """Return the training faces after imputation; the given ones are not changed.

    Parameters
    ----------
    faces
        The training faces, in the order of the file ("ffill" depends on it).
    strategy
        One of ``IMPUTATIONS``. "mask" returns the faces as they are, "drop" leaves out faces that
        lack a label, and the others fill in missing labels. Or a function: (N, F) float64 labels
        with NaN → (N, F), called once for each annotator with an own head.
    outputs
        Keypoints of each head of the network, as ``Recipe.outputs`` returns them. With one head,
        its keypoints are filled in, or demanded by "drop", on every face. With a head for each
        annotator, only the keypoints of the face's own annotator are.

    Raises
    ------
    DataError
        "drop" leaves no face.
    RecipeError
        The function returns another shape.
    """
    if strategy == "mask":
        return faces
    if strategy == "drop":
        complete = has_all_points(faces, outputs)
        if not complete.any():
            raise DataError(
                "imputation = 'drop' keeps completely labelled faces only, and none of "
                f"{len(complete)} training faces is"
            )
        return faces.take(np.nonzero(complete)[0])
    annotators = _head_of_each_face(faces, outputs)
    labels = faces.keypoints.copy()
    for head, points in enumerate(outputs):
        rows = annotators == head
        if rows.any():
            block = labels[np.ix_(rows, np.asarray(points))]
            flat = block.reshape(len(block), -1).astype(np.float64)
            fill = STRATEGIES[strategy] if isinstance(strategy, str) else strategy
            filled = np.asarray(fill(flat.copy()))
            if filled.shape != flat.shape:
                raise RecipeError(
                    f"imputation must return labels of shape {flat.shape}, not {filled.shape}"
                )
            labels[np.ix_(rows, np.asarray(points))] = filled.reshape(block.shape)
    return replace(faces, keypoints=labels)


def has_all_points(faces: Faces, outputs: Sequence[Sequence[int]]) -> np.ndarray:
    """Return (N,) bool: whether a face has a label for each keypoint of its head.

    ``outputs`` are the keypoints of each head, as for ``impute_labels``.
    """
    annotators = _head_of_each_face(faces, outputs)
    complete = np.zeros(len(faces.images), bool)
    for head, points in enumerate(outputs):
        labelled = np.isfinite(faces.keypoints[:, np.asarray(points)]).all((1, 2))
        complete |= (annotators == head) & labelled
    return complete


def _head_of_each_face(faces: Faces, outputs: Sequence[Sequence[int]]) -> np.ndarray:
    """Return (N,) positions in ``outputs``: the annotator's, or 0 where all share one head."""
    return faces.annotators if len(outputs) > 1 else np.zeros(len(faces.images), np.uint8)


def _forward_fill(labels: np.ndarray) -> np.ndarray:
    """Take the label of the last face above that has one; the first faces may keep gaps."""
    import pandas as pd

    return pd.DataFrame(labels).ffill().to_numpy()


def _mean(labels: np.ndarray) -> np.ndarray:
    """Take the mean over the faces that have the label."""
    from sklearn.impute import SimpleImputer

    return _fit_transform(SimpleImputer(), labels)


def _nearest_neighbours(labels: np.ndarray) -> np.ndarray:
    """Take the mean of the five faces whose common points are nearest (Troyanskaya et al. 2001)."""
    from sklearn.impute import KNNImputer

    return _fit_transform(KNNImputer(n_neighbors=5), labels)


def _fit_transform(imputer: object, labels: np.ndarray) -> np.ndarray:
    """Apply a scikit-learn imputer; columns without any label keep their NaN."""
    # scikit-learn would remove such columns.
    known = np.isfinite(labels).any(0)
    filled = labels.copy()
    if known.any():
        filled[:, known] = imputer.fit_transform(labels[:, known])  # type: ignore[attr-defined]
    return filled


STRATEGIES: dict[str, Fill] = {
    "ffill": _forward_fill,
    "mean": _mean,
    "knn": _nearest_neighbours,
}
"""Strategies that fill in labels, by name."""

IMPUTATIONS = ("mask", "drop", *STRATEGIES)
"""The strategies that a recipe can name."""
