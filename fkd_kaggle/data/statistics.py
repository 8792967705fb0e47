"""What a data set looks like before anything is trained: pictures, and a page of them.

What is missing, how bright the faces are, where the two annotators put their points, which faces
are near-duplicates and which labels do not fit the shape of a face. Changes no data and judges no
network: that is ``report``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.keypoints import COMPLETE, KEYPOINT_NAMES, PARTIAL

_LISTED = 200
"""Labels in suspicious.csv."""


@dataclass(frozen=True)
class LabelOutlier:
    """A label that does not fit the face's other labels."""

    row: int
    """Of training.csv, from 1."""
    keypoint: str
    distance: float
    """Pixels from where the other labels expect it."""
    deviations: float
    """The same in standard deviations of the shape model."""


@dataclass(frozen=True)
class DatasetStatistics:
    """What ``explore`` found and where it drew it."""

    page: Path
    counts: tuple[tuple[str, str], ...]
    """Name and value, in the order to read them."""
    suspicions: tuple[LabelOutlier, ...]


def label_patterns(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which keypoints are labelled together, the most frequent pattern first.

    Parameters
    ----------
    keypoints
        (N, 15, 2) pixels, NaN where nobody labelled.

    Returns
    -------
    (K, 15) bool, True where labelled, and (K,) the number of faces of each pattern.
    """
    found, counts = np.unique(np.isfinite(keypoints[..., 0]), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return found[order], counts[order]


def find_label_outliers(
    training: Faces, expected: np.ndarray, deviations: np.ndarray
) -> tuple[LabelOutlier, ...]:
    """Return each face's least fitting label, the worst first."""
    filled = np.nan_to_num(deviations, nan=-1.0)
    worst = filled.argmax(1)
    rows = np.argsort(-filled.max(1), kind="stable")[:_LISTED]
    found = []
    for row in rows:
        point = worst[row]
        if np.isnan(deviations[row, point]):
            continue
        distance = float(np.hypot(*(expected[row, point] - training.keypoints[row, point])))
        found.append(
            LabelOutlier(
                int(training.ids[row]),
                KEYPOINT_NAMES[point],
                distance,
                float(deviations[row, point]),
            )
        )
    return tuple(found)


def count_faces(
    training: Faces, test: Faces | None, groups: np.ndarray
) -> tuple[tuple[str, str], ...]:
    labelled = np.isfinite(training.keypoints[..., 0])
    count = len(training.images)
    sizes = np.bincount(groups)
    distinct = len(np.unique(training.images.reshape(count, -1), axis=0))
    return (
        ("training faces", f"{count:,}"),
        ("of the complete source", f"{(training.annotators == COMPLETE).sum():,}"),
        ("of the partial source", f"{(training.annotators == PARTIAL).sum():,}"),
        ("with all 15 keypoints", f"{labelled.all(1).sum():,}"),
        ("with no label at all", f"{(~labelled.any(1)).sum():,}"),
        ("labels missing", f"{100 * (1 - labelled.mean()):.1f} %"),
        ("pictures that occur twice or more, byte for byte", f"{count - distinct:,}"),
        ("groups of near-duplicates", f"{(sizes > 1).sum():,}"),
        ("faces in them", f"{sizes[sizes > 1].sum():,}"),
        ("test faces", "no test.csv" if test is None else f"{len(test.images):,}"),
    )
