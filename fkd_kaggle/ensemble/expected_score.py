"""The expected score on the leaderboard, from out-of-fold errors and the ensemble's ambiguity.

Pure array computation without networks and files.
"""

from __future__ import annotations

import numpy as np

from fkd_kaggle.ensemble import member_weights
from fkd_kaggle.ensemble.blend import FittedBlend, total_error

SMALLEST_SHARE = 0.4
"""An expected score below this share of the cross-validated RMSE is not valid: averaging cannot
gain more, and the members' errors were measured on too few faces."""

MIN_FACES = 30
"""Smallest number of held-out faces for an expected score."""


def expected_rmse(fitted: FittedBlend, query_counts: np.ndarray) -> float | None:
    """Return the RMSE to expect on the leaderboard, in pixels.

    An out-of-fold prediction comes from the networks of one fold. The prediction for a test face
    is the average over the networks of all folds, which is more accurate. The difference of the
    squared errors is the ensemble's ambiguity, which needs no labels (``member_weights``).
    Assumption: a correction reduces the squared error on test faces by the same amount as on
    held-out faces.

    Parameters
    ----------
    fitted
        A blend whose members were compared on the test faces.
    query_counts
        (2, 15) numbers of queries by annotator and keypoint.

    Returns
    -------
    float or None
        Pixels; None if no queried keypoint has labels, or if the members differ more from each
        other than their errors allow.
    """
    squares = member_weights.estimate_errors(
        fitted.blend.all_weights(), fitted.errors, fitted.differences
    )
    total = total_error(squares, query_counts)
    if total is None or total + fitted.gain <= 0:
        return None
    return float(np.sqrt(total + fitted.gain))


def why_unknown(fitted: FittedBlend, *, split: str, has_test_faces: bool, has_score: bool) -> str:
    """Return why an expected score would not be valid; empty if it is.

    Parameters
    ----------
    fitted
        The blend.
    split
        How the faces are split, one of ``recipes.schema.SPLITS``.
    has_test_faces
        Whether the data set has test faces.
    has_score
        Whether there is a cross-validated score.
    """
    if not has_score:
        return "no held-out face has labels"
    if not has_test_faces:
        return "the data set has no test faces"
    if split != "grouped":
        return "near-duplicates of training faces are held out"
    if fitted.scored.sum() < MIN_FACES:
        return f"only {fitted.scored.sum()} held-out faces, at least {MIN_FACES} are needed"
    return ""
