"""The expected score on the leaderboard, from out-of-fold errors and the ensemble's ambiguity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset, metrics
from fkd_kaggle.data.dataset import read_test_if_present
from fkd_kaggle.ensemble import blending
from fkd_kaggle.ensemble.member_predictions import predict_with_members
from fkd_kaggle.keypoints import COMPLETE, PARTIAL
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.predictions import load_member_out_of_fold


def expected_rmse(
    run: Run,
    data_dir: Path,
    members: Sequence[Member],
    recipes: Sequence[str],
    weights: np.ndarray,
    query_counts: np.ndarray,
) -> float | None:
    """Return the RMSE to expect on the leaderboard, in pixels.

    An out-of-fold prediction comes from the networks of one fold. The prediction for a test face
    is the average over the networks of all folds, which is more accurate. The difference of the
    squared errors is the ensemble's ambiguity, which needs no labels (``blending.ambiguity``).

    Parameters
    ----------
    run
        The run.
    data_dir
        Folder of the data set.
    members
        The M usable members of the run.
    recipes
        Names of the R blended recipes, in the order of the weights.
    weights
        (2, 15, R) float64, from ``blending.fit_weights``.
    query_counts
        (2, 15) numbers of queries by annotator and keypoint.

    Returns
    -------
    float or None
        Pixels; None without test faces, or if no queried keypoint has labels and predictions.
    """
    found = read_test_if_present(data_dir)
    if found is None:
        return None
    test, annotators = found
    training = dataset.read_training(data_dir)
    predictions = predict_with_members(run, members, test, annotators)
    owner = np.array([recipes.index(member.recipe.name) for member in members])
    shares = weights[:, :, owner] / np.bincount(owner)[owner]
    total = weight = 0.0
    for index, member in enumerate(members):
        rows, held_out = load_member_out_of_fold(run, member)
        squares = np.square(held_out - training.keypoints[rows])
        for annotator in (COMPLETE, PARTIAL):
            block = squares[training.annotators[rows] == annotator]
            if not len(block):
                continue
            known = np.isfinite(block).any((0, 2))
            mean = metrics.masked_means(block, (0, 2), default=0.0)
            share = query_counts[annotator] * shares[annotator, :, index] * known
            total += float((share * mean).sum())
            weight += float(share.sum())
    if not weight:
        return None
    spread = blending.ambiguity(predictions, shares, annotators, query_counts)
    return float(np.sqrt(max(total / weight - spread, 0.0)))
