"""Labels to review: the most suspicious labels of a run, with the evidence for and against them.

Two independent models judge a label: the point distribution model of ``data.outliers``, which knows
only the face's other labels, and the run's out-of-fold prediction, which knows only the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fkd_kaggle.data import folds, outliers
from fkd_kaggle.data.faces import Faces

LISTED: Final = 200
"""Number of labels in the list."""

DUPLICATES: Final = 6
"""Number of near-duplicates shown for a face."""

_SIMILAR: Final = 0.8
"""Similarity above which another face of the group is shown."""

_LARGE_DISAGREEMENT: Final = 3.0
"""Flip disagreement in pixels above which predictions are often wrong by ten pixels."""

_UNUSUAL: Final = 3.0
"""Standard deviations above which a label does not fit."""

WRONG_LABEL, WRONG_MODEL, UNDECIDED = "label", "model", "undecided"
"""Verdicts: what to doubt first. A doubtful label is not a wrong one: faces in profile, closed eyes
and open mouths are unlike most faces, for both models (docs/experiments.md)."""


@dataclass(frozen=True)
class LabelEvidence:
    """What the two models say about all labels of N faces."""

    expected: np.ndarray
    """(N, 15, 2) pixels: position expected from the face's other labels; NaN where unknown."""
    shape: np.ndarray
    """(N, 15) standard deviations of the label from there; NaN where unknown."""
    model: np.ndarray
    """(N, 15) standard deviations of the label from the prediction; NaN where unknown."""
    predictions: np.ndarray
    """(N, 15, 2) pixels, out of fold; NaN where unknown."""
    unreliable: np.ndarray
    """(N,) bool, whether the prediction is no evidence: the flip disagreement is large."""


@dataclass(frozen=True)
class ReviewedLabel:
    """A label in the list."""

    position: int
    """Position of the face, from 0."""
    keypoint: int
    shape: float | None
    """Standard deviations from the position that the other labels suggest; None if unknown."""
    model: float | None
    """Standard deviations from the prediction; None without a prediction."""
    verdict: str
    """``WRONG_LABEL``, ``WRONG_MODEL`` or ``UNDECIDED``."""


def weigh_labels(
    training: Faces, predictions: np.ndarray, disagreement: np.ndarray | None = None
) -> LabelEvidence:
    """Return the evidence about the labels of faces.

    Parameters
    ----------
    training
        N faces with their labels.
    predictions
        (N, 15, 2) pixels, out of fold; NaN where missing.
    disagreement
        (N,) flip disagreement in pixels, NaN where unknown; None if unknown for all.
    """
    expected, shape = outliers.expected_labels(training.keypoints, training.annotators)
    model = outliers.prediction_deviations(training.keypoints, training.annotators, predictions)
    known = np.zeros(len(model)) if disagreement is None else np.nan_to_num(disagreement)
    return LabelEvidence(expected, shape, model, predictions, known > _LARGE_DISAGREEMENT)


def list_suspicious_labels(training: Faces, evidence: LabelEvidence) -> list[ReviewedLabel]:
    """Return the most suspicious label of each face, the most suspicious first, at most ``LISTED``.

    The suspicion is the geometric mean of both deviations; without a prediction, or where the other
    labels are too few, the known deviation counts half.

    Parameters
    ----------
    training
        N faces with their labels.
    evidence
        What ``weigh_labels`` returned for them.
    """
    shape, model = evidence.shape, evidence.model
    both = np.isfinite(shape) & np.isfinite(model)
    single = np.where(np.isfinite(shape), shape, model) / 2
    suspicion = np.nan_to_num(np.where(both, np.sqrt(shape * model), single), nan=-1.0)
    worst = suspicion.argmax(1)
    highest = suspicion.max(1)
    found = []
    for row in np.argsort(-highest, kind="stable")[:LISTED].tolist():
        point = int(worst[row])
        if highest[row] <= 0:
            break
        found.append(
            ReviewedLabel(
                row,
                point,
                _known(shape[row, point]),
                _known(model[row, point]),
                _verdict(training.keypoints[row, point], evidence, row, point),
            )
        )
    return found


def describe_review(reviewed: Sequence[ReviewedLabel]) -> str:
    """Return a sentence that says what is doubtful about the listed labels."""
    if not reviewed:
        return "No label is suspicious."
    counts = Counter(one.verdict for one in reviewed)
    total = len(reviewed)
    text = (
        f"Of {total} listed labels, {counts[WRONG_LABEL]} fit neither the face's other labels nor "
        f"the prediction: check these first, but expect many to be right, because both models "
        f"know few faces in profile or with a wide open mouth. {counts[WRONG_MODEL]} fit the "
        f"face's other labels better than the prediction does, so that probably the model is "
        f"wrong, and {counts[UNDECIDED]} are undecided."
    )
    if counts[WRONG_MODEL] > total / 2:
        text = (
            "Most of the listed labels are likely errors of the model, not of the labels. " + text
        )
    return text


def near_duplicates(
    training: Faces, groups: np.ndarray, rows: Sequence[int]
) -> Mapping[int, list[int]]:
    """Return the most similar faces of the groups of some faces.

    Parameters
    ----------
    training
        N faces.
    groups
        (N,) group numbers, equal for near-duplicates.
    rows
        Positions of the faces.

    Returns
    -------
    Positions of at most ``DUPLICATES`` other faces, the most similar first, by position.
    """
    wanted = [row for row in dict.fromkeys(rows) if (groups == groups[row]).sum() > 1]
    candidates = np.flatnonzero(np.isin(groups, groups[wanted])) if wanted else np.zeros(0, int)
    if not len(candidates):
        return {}
    patches = folds.face_patches(training.take(candidates))
    found = {}
    for row in wanted:
        same = groups[candidates] == groups[row]
        others = np.flatnonzero(same & (candidates != row))
        similarity = patches[others] @ patches[np.flatnonzero(candidates == row)[0]]
        order = np.argsort(-similarity, kind="stable")[:DUPLICATES]
        # A group is a chain: its ends may show different people.
        found[row] = candidates[others[order[similarity[order] > _SIMILAR]]].tolist()
    return found


def _verdict(label: np.ndarray, evidence: LabelEvidence, row: int, point: int) -> str:
    """Return what is doubtful: the label, the model, or undecided."""
    shape, model = evidence.shape[row, point], evidence.model[row, point]
    # A network that does not know a face predicts about the mean face, which the shape model
    # expects too: both then agree against a right label.
    if not np.isfinite(shape) or evidence.unreliable[row]:
        return UNDECIDED
    if not np.isfinite(model):
        return WRONG_LABEL if shape > 2 * _UNUSUAL else UNDECIDED
    expected = evidence.expected[row, point]
    of_label = float(np.linalg.norm(label - expected))
    of_model = float(np.linalg.norm(evidence.predictions[row, point] - expected))
    # The prediction's deviation in the same unit, as if the spread were equal in all directions.
    predicted = shape * of_model / max(of_label, 1e-6)
    if shape > _UNUSUAL and model > _UNUSUAL and predicted < shape / 2:
        return WRONG_LABEL
    if model > _UNUSUAL and predicted > max(1.5 * shape, _UNUSUAL):
        return WRONG_MODEL
    return UNDECIDED


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
