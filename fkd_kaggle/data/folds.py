"""Group-aware folds: near-duplicate faces stay in one fold.

The data contains frames of one person, and some photos twice; random folds would validate on faces
similar to those trained on. Faces are aligned by their labelled points, compared as normalised
patches and grouped by similarity. scikit-learn's ``StratifiedGroupKFold`` splits the groups so that
each fold has its share of both annotators.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from fkd_kaggle.data import geometry
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import IMAGE_SIZE, PARTIAL_KEYPOINTS

SIMILARITY: Final = 0.90
"""Cosine of two aligned, normalised patches above which faces are near-duplicates.

Chosen by inspection of training faces: pairs at 0.90–0.92 are frames of one scene, pairs at
0.80–0.85 are often two people in the same pose (docs/experiments.md).
"""

_PATCH: Final = 24

# Positions of PARTIAL_KEYPOINTS in a patch, as shares of its width. The patch is tight on the face,
# because background and hair distinguish scenes rather than people.
_ANCHORS: Final = np.array([[0.72, 0.30], [0.28, 0.30], [0.5, 0.5], [0.5, 0.85]], np.float32)


def near_duplicate_groups(faces: Faces, similarity: float = SIMILARITY) -> np.ndarray:
    """Return (N,) int64 group numbers, equal for near-duplicates and chains of them.

    Parameters
    ----------
    faces
        Training faces; those with fewer than two of the partial annotator's four keypoints are
        compared unaligned.
    similarity
        Cosine similarity above which two faces are joined.
    """
    patches = face_patches(faces)
    count = len(patches)
    rows, columns = [], []
    # In blocks: all 7,049 squared similarities at once would take 200 MB.
    for start in range(0, count, 1024):
        block = patches[start : start + 1024] @ patches.T
        row, column = np.nonzero(block > similarity)
        rows.append(row + start)
        columns.append(column)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), np.int8), (row, column)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def assign_folds(
    faces: Faces,
    count: int,
    seed: int,
    *,
    how: str = "grouped",
    held_out: float = 0.0,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return (N,) int64: the fold, 0 to ``count`` - 1, in which each face is held out.

    Grouped folds are ordered by the mean size of their faces' groups: an ensemble that trains only
    some of the folds is then not scored on the few people with the most frames.

    Parameters
    ----------
    faces
        Training faces.
    count
        Number of folds.
    seed
        Random seed.
    how
        "grouped" keeps near-duplicates in one fold; any other value splits at random, as the
        published systems do.
    held_out
        Share of the faces in fold 0, the others being in fold 1; 0 for ``count`` equal folds.
    groups
        (N,) group numbers for "grouped". Default: near-duplicate faces.

    Raises
    ------
    DataError
        There are fewer faces, groups of distinct faces, or faces of the annotator with more
        faces, than folds.
    """
    if held_out:
        return np.where(hold_out_rows(faces, held_out, how, seed, groups), 0, 1)
    if how != "grouped":
        if len(faces.images) < count:
            raise DataError(f"{len(faces.images)} training faces are too few for {count} folds")
        order = np.random.default_rng(seed).permutation(len(faces.images))
        return order.astype(np.int64) % count
    labels = near_duplicate_groups(faces) if groups is None else groups
    if len(np.unique(labels)) < count:
        raise DataError(
            f"{len(faces.images)} training faces form {len(np.unique(labels))} groups of distinct "
            f"faces, too few for {count} folds: ask for fewer with --folds"
        )
    largest = int(np.bincount(faces.annotators).max())
    if largest < count:  # refused by StratifiedGroupKFold
        raise DataError(
            f"{len(labels)} training faces, at most {largest} of one annotator, are too few for "
            f"{count} folds: ask for fewer with --folds"
        )
    folds = np.empty(len(labels), np.int64)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(splitter.split(labels, faces.annotators, labels)):
        folds[rows] = fold
    return _renumber(folds, labels, count)


def _renumber(folds: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Return (N,) folds in ascending order of their mean group size.

    scikit-learn places the largest groups first. If only the first folds are held out, scores would
    count the people with the most frames several times as often as all faces do.

    Parameters
    ----------
    folds
        (N,) fold of each face.
    groups
        (N,) group of each face.
    count
        Number of folds.
    """
    _, position, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    totals = np.bincount(folds, weights=sizes[position], minlength=count)
    means = totals / np.maximum(np.bincount(folds, minlength=count), 1)
    numbers = np.empty(count, np.int64)
    numbers[np.argsort(means, kind="stable")] = np.arange(count)
    return numbers[folds]


def hold_out_rows(
    faces: Faces, share: float, how: str, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return (N,) bool: True for the faces to hold out.

    Parameters
    ----------
    faces
        Training faces.
    share
        Share of the faces to hold out. With "grouped" it is rounded to that of equal folds: half, a
        third, a quarter of the faces.
    how
        "grouped" keeps near-duplicates on one side; any other value splits at random.
    seed
        Random seed.
    groups
        (N,) group numbers for "grouped". Default: near-duplicate faces.

    Raises
    ------
    DataError
        The share leaves no face on one side.
    """
    count = len(faces.images)
    if how == "grouped":
        return assign_folds(faces, max(2, round(1 / share)), seed, groups=groups) == 0
    chosen: np.ndarray = np.random.default_rng(seed).permutation(count) < round(share * count)
    if chosen.all() or not chosen.any():
        raise DataError(f"a share of {share:g} of {count} faces leaves none on one side")
    return chosen


def face_patches(faces: Faces) -> np.ndarray:
    """Return (N, P·P) float32 aligned patches with zero mean and unit norm.

    The product of two patches is the similarity of the faces, at most 1.
    """
    matrices = _alignments(faces.keypoints[:, PARTIAL_KEYPOINTS])
    axis = (np.arange(_PATCH, dtype=np.float32) + 0.5) / _PATCH
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    points = np.einsum("nij,pj->npi", matrices[:, :, :2], grid) + matrices[:, None, :, 2]
    x, y = np.clip(np.rint(points), 0, IMAGE_SIZE - 1).astype(np.intp).transpose(2, 0, 1)
    patches = np.empty((len(faces.images), _PATCH * _PATCH), np.float32)
    for index, image in enumerate(faces.images):
        # Blurred to the patch's sampling distance, so that the nearest pixel is accurate enough.
        patches[index] = gaussian_filter(image.astype(np.float32), 1.2)[y[index], x[index]]
    patches -= patches.mean(1, keepdims=True)
    return patches / np.maximum(np.linalg.norm(patches, axis=1, keepdims=True), 1e-6)


def _alignments(points: np.ndarray) -> np.ndarray:
    """Return (N, 2, 3) float32 similarity maps, patch (0 to 1) → face pixel.

    Fitted to the labelled ones of the (N, 4, 2) anchor points; a fixed square in the middle of the
    image where fewer than two are labelled.
    """
    matrices = np.tile(np.array([[58, 0, 19], [0, 58, 25]], np.float32), (len(points), 1, 1))
    labelled = ~np.isnan(points[..., 0])
    for index in np.nonzero(labelled.sum(1) >= 2)[0]:
        use = labelled[index]
        source = geometry.to_complex(_ANCHORS[use])
        target = geometry.to_complex(points[index][use])
        factor = geometry.similarity_factor(source - source.mean(), target - target.mean())
        shift = geometry.to_points(target.mean() - factor * source.mean())
        matrices[index] = geometry.similarity_matrix(complex(factor), shift)
    return matrices
