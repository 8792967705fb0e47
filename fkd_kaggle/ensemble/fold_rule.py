"""The rule that a blend is not worse out of fold than any of its members.

On the held-out faces of each member, the blend's RMSE is at most the member's + ``TOLERANCE``. The
blend has one set of weights for all folds; where the rule is broken, usually because members of
some folds had too little time, the fold gets weights of its own.

Pure array computation without networks and files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fkd_kaggle.data import metrics
from fkd_kaggle.ensemble import blending
from fkd_kaggle.ensemble.member_errors import HeldOutPredictions
from fkd_kaggle.keypoints import ANNOTATORS, NUM_KEYPOINTS

TOLERANCE = 0.005
"""Pixels by which a blend may be worse than a member on the member's held-out faces."""

_MARGIN = 0.001
"""Pixels below the tolerance, for rounding."""


def keeps_rule(
    blended: np.ndarray,
    member: HeldOutPredictions,
    labels: np.ndarray,
    annotators: np.ndarray,
    query_counts: np.ndarray,
) -> bool:
    """Return whether a blend is not worse than a member on the member's held-out faces.

    Both the plain RMSE and the RMSE weighted by query counts are compared, on the keypoints that
    the member predicts.

    Parameters
    ----------
    blended
        (N, 15, 2) float32 pixels, out-of-fold predictions of the blend.
    member
        The member.
    labels
        (N, 15, 2) float32 pixels, NaN where missing.
    annotators
        (N,) uint8, annotator of each face.
    query_counts
        (2, 15) numbers of queries by annotator and keypoint.
    """
    rows, known = member.rows, np.isfinite(member.predictions)
    truth, who = labels[rows], annotators[rows]
    mixed = np.where(known, blended[rows], np.nan)
    if (known & np.isnan(mixed) & np.isfinite(truth)).any():
        return False
    everything = np.arange(len(rows))
    pairs = [
        tuple(metrics.rmse(values, truth, everything) for values in (mixed, member.predictions)),
        tuple(
            metrics.combined_rmse(values, truth, who, query_counts)
            for values in (mixed, member.predictions)
        ),
    ]
    return all(
        ours is None or theirs is None or ours <= theirs + TOLERANCE - _MARGIN
        for ours, theirs in pairs
    )


def apply_rule(
    candidates: Sequence[np.ndarray],
    folds: Sequence[Sequence[HeldOutPredictions]],
    constant: np.ndarray,
    labels: np.ndarray,
    annotators: np.ndarray,
    query_counts: np.ndarray,
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return predictions that keep the rule on every fold.

    Parameters
    ----------
    candidates
        Out-of-fold predictions of blends with weights for all folds, (N, 15, 2) float32 pixels,
        the preferred blend first.
    folds
        The members of each fold that are blended; all members of a fold hold out the same faces.
    constant
        (N, 15, 2) float32 pixels, the mean face.
    labels, annotators, query_counts
        As for ``keeps_rule``.

    Returns
    -------
    predictions
        (N, 15, 2) float32 pixels: on each fold the first candidate that keeps the rule, or a blend
        with weights for this fold.
    choices
        For each fold the position of its candidate; ``len(candidates)`` for its own weights.
    """
    result = np.full(labels.shape, np.nan, np.float32)
    choices = []
    for members in folds:
        rows = np.unique(np.concatenate([member.rows for member in members]))
        choice = len(candidates)
        for position, candidate in enumerate(candidates):
            if all(
                keeps_rule(candidate, member, labels, annotators, query_counts)
                for member in members
            ):
                choice = position
                result[rows] = candidate[rows]
                break
        else:
            result[rows] = _blend_fold(members, rows, constant, labels, annotators)
        choices.append(choice)
    return result, tuple(choices)


def _blend_fold(
    members: Sequence[HeldOutPredictions],
    rows: np.ndarray,
    constant: np.ndarray,
    labels: np.ndarray,
    annotators: np.ndarray,
) -> np.ndarray:
    """Return (n, 15, 2): the members of one fold with the best weights, or the best member.

    The mean face is one of the members for keypoints that a member predicts.
    """
    truth, who = labels[rows], annotators[rows]
    stacked = np.stack([member.spread(len(labels))[rows] for member in members])
    predicted = np.isfinite(stacked).any(0)
    stacked = np.concatenate([stacked, np.where(predicted, constant[rows], np.nan)[None]])
    weights = blending.fit_weights(stacked, truth, who)
    mixed = blending.apply_weights(stacked, weights, who)
    squares = np.square(np.concatenate([stacked, mixed[None]]) - truth)
    for annotator in range(len(ANNOTATORS)):
        own = np.flatnonzero(who == annotator)
        for point in range(NUM_KEYPOINTS):
            means = metrics.masked_means(squares[:, own, point], (1, 2), default=np.inf)
            best = int(means.argmin())
            if means[best] < means[-1]:
                mixed[own, point] = stacked[best, own, point]
    return mixed
