"""Which labels do not fit the shape of a face.

Each label is predicted from the face's other labels, after size, place and turn of the face are
taken out, by what other faces of its annotation source look like: a point distribution model
(Cootes et al. 1995), asked one point at a time. Looks at labels only; images and networks are not
its business.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from fkd_kaggle.keypoints import NUM_KEYPOINTS

_KEPT = 0.9
"""Share of the faces that the second fit keeps: the typical ones."""

_FEWEST = 20
"""Faces to learn a label from; fewer say nothing."""

_OTHERS = 3
"""Labels it takes to judge another: two fit any size, place and turn."""


def expected_labels(keypoints: np.ndarray, annotators: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each face's other labels expect each label, and how surprising it is.

    Parameters
    ----------
    keypoints
        (N, 15, 2) pixels, NaN where nobody labelled.
    sources
        (N,) uint8: faces are compared with those of their own source.

    Returns
    -------
    (N, 15, 2) float64 pixels, where a label is expected, and (N, 15) float64, how far from there it
    is in standard deviations (Mahalanobis). NaN where nobody labelled, or where fewer than three
    other labels or too few like faces could tell.
    """
    expected = np.full((len(keypoints), NUM_KEYPOINTS, 2), np.nan)
    distance = np.full((len(keypoints), NUM_KEYPOINTS), np.nan)
    # The plane as complex numbers: turning and resizing is one multiplication.
    shapes = keypoints.astype(np.float64) @ np.array([1, 1j])
    known = np.isfinite(shapes)
    for annotator in np.unique(annotators):
        own = annotators == annotator
        # Faces with the same points labelled are judged by one regression a point.
        for pattern in np.unique(known[own], axis=0):
            like = np.flatnonzero(own & known[:, pattern].all(1))
            labelled = np.flatnonzero(pattern)
            if len(labelled) <= _OTHERS or len(like) < _FEWEST:
                continue
            asked = (known[like] == pattern).all(1)
            for place, point in enumerate(labelled.tolist()):
                guess, distance = _expect_one(shapes[np.ix_(like, labelled)], place)
                expected[like[asked], point] = _to_xy(guess[asked])
                distance[like[asked], point] = distance[asked]
    return expected, distance


def _expect_one(shapes: np.ndarray, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where (N, P) complex ``shapes`` are expected at ``place``, and their distance, (N,).

    Learnt twice, the second time from the 90 % of the faces that the first fit best, so that a few
    wild labels do not widen what counts as normal (a concentration step, Rousseeuw and Van Driessen
    1999).
    """
    seen = np.delete(shapes, place, axis=1)
    mean = seen.mean(0)
    centre = seen.mean(1)
    offset = seen - centre[:, None]
    # The similarity that maps a face's other points onto the mean face (Umeyama 1991).
    turn = (offset.conj() @ (mean - mean.mean())) / np.maximum(np.square(abs(offset)).sum(1), 1e-9)
    turn = np.where(abs(turn) > 1e-9, turn, 1.0)  # all points in one place: nothing to turn
    inputs = _to_xy(offset * turn[:, None]).reshape(len(shapes), -1)
    target = _to_xy((shapes[:, place] - centre) * turn)
    kept = np.arange(len(shapes))
    for _ in range(2):
        model = Ridge(alpha=1.0).fit(inputs[kept], target[kept])
        errors = target - model.predict(inputs)
        # A hundredth of a pixel besides: labels that fit exactly have a spread too.
        spread = errors[kept].T @ errors[kept] / len(kept) + 1e-4 * np.eye(2)
        distance = np.sqrt(np.einsum("ni,ni->n", errors, np.linalg.solve(spread, errors.T).T))
        kept = np.argsort(distance, kind="stable")[: max(_FEWEST, int(_KEPT * len(shapes)))]
    return shapes[:, place] - errors @ np.array([1, 1j]) / turn, distance


def _to_xy(values: np.ndarray) -> np.ndarray:
    """Return (…, 2) coordinates of (…) complex numbers."""
    return np.stack([values.real, values.imag], -1)
