"""Statistics of a data set before any training: counts, label patterns, near-duplicates, outliers.

Computes values; ``report.dataset`` draws them and ``display.tables`` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fkd_kaggle.data import folds, outliers, plausibility
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COMPLETE, KEYPOINT_NAMES, PARTIAL

_MAX_OUTLIERS: Final = 200


@dataclass(frozen=True)
class LabelOutlier:
    """A label that does not fit the face's other labels."""

    row: int
    """Row of training.csv, from 1."""
    keypoint: str
    """Name of the keypoint."""
    distance: float
    """Pixels from the label to its expected position."""
    deviations: float
    """The same as a Mahalanobis distance, in standard deviations."""


@dataclass(frozen=True)
class DatasetStatistics:
    """Statistics of training faces, with the number of test faces."""

    counts: tuple[tuple[str, str], ...]
    """Name and value of each count, in order of presentation."""
    outliers: tuple[LabelOutlier, ...]
    """The worst label of each face, the largest Mahalanobis distance first; at most 200."""
    expected: np.ndarray
    """(N, 15, 2) float64 pixels where each label is expected, NaN where unknown."""
    groups: np.ndarray
    """(N,) int64 group numbers, equal for near-duplicates."""
    warning: str = ""
    """Why training on these faces is refused; empty if it is not."""


def dataset_statistics(training: Faces, test: Faces | None) -> DatasetStatistics:
    """Return the statistics of a data set.

    Parameters
    ----------
    training
        N labelled faces.
    test
        Test faces, None if there is no test set.
    """
    groups = folds.near_duplicate_groups(training)
    expected, distances = outliers.expected_labels(training.keypoints, training.annotators)
    return DatasetStatistics(
        count_faces(training, test, groups),
        find_label_outliers(training, expected, distances),
        expected,
        groups,
        _warning(training),
    )


def _warning(training: Faces) -> str:
    """Return why the labels are implausible; empty if they are not."""
    try:
        plausibility.check_training(training)
    except DataError as error:
        return str(error)
    return ""


def label_patterns(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which keypoints are labelled together, the most frequent pattern first.

    Parameters
    ----------
    keypoints
        (N, 15, 2) pixels, NaN where unlabelled.

    Returns
    -------
    (K, 15) bool, True where labelled, and (K,) int64 numbers of faces with each pattern.
    """
    patterns, counts = np.unique(np.isfinite(keypoints[..., 0]), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return patterns[order], counts[order]


def find_label_outliers(
    training: Faces, expected: np.ndarray, distances: np.ndarray
) -> tuple[LabelOutlier, ...]:
    """Return the worst label of each face, the largest Mahalanobis distance first; at most 200.

    Parameters
    ----------
    training
        N labelled faces.
    expected, distances
        (N, 15, 2) pixels and (N, 15) Mahalanobis distances, as ``outliers.expected_labels`` returns
        them.
    """
    filled = np.nan_to_num(distances, nan=-1.0)
    worst = filled.argmax(1)
    found = []
    for row in np.argsort(-filled.max(1), kind="stable")[:_MAX_OUTLIERS]:
        point = worst[row]
        if np.isnan(distances[row, point]):
            continue
        offset = expected[row, point] - training.keypoints[row, point]
        found.append(
            LabelOutlier(
                int(training.ids[row]),
                KEYPOINT_NAMES[point],
                float(np.hypot(*offset)),
                float(distances[row, point]),
            )
        )
    return tuple(found)


def count_faces(
    training: Faces, test: Faces | None, groups: np.ndarray
) -> tuple[tuple[str, str], ...]:
    """Return counts of faces, labels and duplicates as names and formatted values.

    Parameters
    ----------
    training
        N labelled faces.
    test
        Test faces, None if there is no test set.
    groups
        (N,) int64 group numbers, equal for near-duplicates.
    """
    labelled = np.isfinite(training.keypoints[..., 0])
    count = len(training.images)
    sizes = np.bincount(groups)
    distinct = len(np.unique(training.images.reshape(count, -1), axis=0))
    return (
        ("training faces", f"{count:,}"),
        ("of the complete annotator", f"{(training.annotators == COMPLETE).sum():,}"),
        ("of the partial annotator", f"{(training.annotators == PARTIAL).sum():,}"),
        ("with all 15 keypoints", f"{labelled.all(1).sum():,}"),
        ("without any label", f"{(~labelled.any(1)).sum():,}"),
        ("labels missing", f"{100 * (1 - labelled.mean()):.1f} %"),
        ("exact copies of other images", f"{count - distinct:,}"),
        ("groups of near-duplicates", f"{(sizes > 1).sum():,}"),
        ("faces in these groups", f"{sizes[sizes > 1].sum():,}"),
        ("test faces", "no test.csv" if test is None else f"{len(test.images):,}"),
    )
