"""Folds that tell the truth: near-duplicate faces never stand on both sides of a split.

Frames of one person, or one photo twice, recur in the data; random folds would validate on what
they trained on and flatter. Faces are aligned by their labelled points, compared as normalised
patches and grouped by similarity; scikit-learn's ``StratifiedGroupKFold`` splits the groups so that
each fold also holds its share of both annotation sources.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import IMAGE_SIZE, PARTIAL_KEYPOINTS

SIMILARITY = 0.90
"""Cosine of two aligned, normalised patches above which faces count as near-duplicates.

Chosen by eye on the stand-in's training faces: pairs at 0.90–0.92 are frames of one scene, pairs at
0.80–0.85 are often two people in the same pose (see recipes/EXPERIMENTS.md).
"""

_PATCH = 24

# Where the eye centres and bottom lip land in a patch, as shares of its width: tight on the face,
# since background and hair tell scenes apart but not people.
_ANCHORS = np.array([[0.72, 0.30], [0.28, 0.30], [0.5, 0.5], [0.5, 0.85]], np.float32)


def near_duplicate_groups(faces: Faces, similarity: float = SIMILARITY) -> np.ndarray:
    """Return (N,) int64 labels: equal for faces that are near-duplicates, directly or by a chain.

    Parameters
    ----------
    faces
        Training faces; rows with fewer than two of the four common keypoints are compared
        unaligned.
    similarity
        Cosine similarity from which two faces are joined.
    """
    patches = _patches(faces)
    count = len(patches)
    rows, columns = [], []
    # In blocks: 7,049 squared similarities at once would take 200 MB for no gain.
    for start in range(0, count, 1024):
        block = patches[start : start + 1024] @ patches.T
        row, column = np.nonzero(block > similarity)
        rows.append(row + start)
        columns.append(column)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), np.int8), (row, column)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def assign_folds(
    faces: Faces, count: int, seed: int, *, how: str = "grouped", held_out: float = 0.0
) -> np.ndarray:
    """Return (N,) int64: the fold, 0 to ``count`` - 1, in which each face is held out.

    Parameters
    ----------
    how
        "grouped" keeps near-duplicates in one fold; anything else is random, as the published
        systems split.
    held_out
        Share of the faces in fold 0, the others being in fold 1; 0 for ``count`` equal folds.

    Raises
    ------
    DataError
        There are fewer faces, or groups of distinct faces, than folds.
    """
    if held_out:
        return np.where(hold_out_rows(faces, held_out, how, seed), 0, 1)
    if how != "grouped":
        if len(faces.images) < count:
            raise DataError(f"{len(faces.images)} training faces are too few for {count} folds")
        order = np.random.default_rng(seed).permutation(len(faces.images))
        return order.astype(np.int64) % count
    labels = near_duplicate_groups(faces)
    if len(np.unique(labels)) < count:
        raise DataError(
            f"{len(faces.images)} training faces form {len(np.unique(labels))} groups of distinct "
            f"faces, too few for {count} folds: ask for fewer with --folds"
        )
    folds = np.empty(len(labels), np.int64)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(splitter.split(labels, faces.annotators, labels)):
        folds[rows] = fold
    return folds


def hold_out_rows(faces: Faces, share: float, how: str, seed: int) -> np.ndarray:
    """Return (N,) bool: a share of the faces, chosen as ``how`` says (see ``split``).

    A grouped share is the nearest one of equal folds: half, a third, a quarter of the faces.

    Raises
    ------
    DataError
        The share leaves no face on one side.
    """
    count = len(faces.images)
    if how == "grouped":
        return assign_folds(faces, max(2, round(1 / share)), seed) == 0
    aside: np.ndarray = np.random.default_rng(seed).permutation(count) < round(share * count)
    if aside.all() or not aside.any():
        raise DataError(f"a share of {share:g} of {count} faces leaves none on one side")
    return aside


def _patches(faces: Faces) -> np.ndarray:
    """Return (N, P·P) float32 aligned patches with zero mean and unit norm."""
    matrices = _alignments(faces.keypoints[:, PARTIAL_KEYPOINTS])
    axis = (np.arange(_PATCH, dtype=np.float32) + 0.5) / _PATCH
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    points = np.einsum("nij,pj->npi", matrices[:, :, :2], grid) + matrices[:, None, :, 2]
    x, y = np.clip(np.rint(points), 0, IMAGE_SIZE - 1).astype(np.intp).transpose(2, 0, 1)
    patches = np.empty((len(faces.images), _PATCH * _PATCH), np.float32)
    for index, image in enumerate(faces.images):
        # Blurred to the patch's own sampling distance, so that nearest-pixel look-up is enough.
        patches[index] = gaussian_filter(image.astype(np.float32), 1.2)[y[index], x[index]]
    patches -= patches.mean(1, keepdims=True)
    return patches / np.maximum(np.linalg.norm(patches, axis=1, keepdims=True), 1e-6)


def _alignments(points: np.ndarray) -> np.ndarray:
    """Return (N, 2, 3) similarity maps, patch (0 to 1) → face pixel, fitted to labelled points.

    Least squares over the labelled ones of the four anchors (Umeyama 1991 without reflection);
    the middle of the frame where fewer than two are labelled.
    """
    matrices = np.tile(np.array([[58, 0, 19], [0, 58, 25]], np.float32), (len(points), 1, 1))
    labelled = ~np.isnan(points[..., 0])
    for index in np.nonzero(labelled.sum(1) >= 2)[0]:
        use = labelled[index]
        source = _ANCHORS[use] @ [1, 1j]
        target = points[index][use] @ [1, 1j]
        offset = source - source.mean()
        turn = (target - target.mean()) @ offset.conj() / (offset @ offset.conj()).real
        shift = target.mean() - turn * source.mean()
        matrices[index] = [
            [turn.real, -turn.imag, shift.real],
            [turn.imag, turn.real, shift.imag],
        ]
    return matrices
