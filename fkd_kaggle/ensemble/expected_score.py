"""An ensemble: members trained fold by fold, blended out of fold, averaged at prediction.

Conducts ``training``, ``blend`` and the run folder. Knows how time is shared between members and
what to do when it runs out or somebody presses Ctrl-C.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset, metrics
from fkd_kaggle.data.dataset import read_test_if_present
from fkd_kaggle.ensemble import blending
from fkd_kaggle.ensemble.member_predictions import predict_with_members
from fkd_kaggle.keypoints import COMPLETE, PARTIAL
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run


def expected_rmse(
    run: Run,
    data_dir: Path,
    members: list[Member],
    recipes: list[str],
    weights: np.ndarray,
    query_counts: np.ndarray,
) -> float | None:
    """Return the RMSE to expect on the leaderboard, from out-of-fold errors and test spread.

    An out-of-fold prediction comes from the networks of one fold; a test face gets all folds'
    networks averaged and does better. By how much needs no answers: see ``blend.ambiguity``.
    """
    found = read_test_if_present(data_dir)
    if found is None:
        return None
    test, annotators = found
    training_faces = dataset.read_training(data_dir)
    predictions = predict_with_members(run, members, test, annotators)
    owner = np.array([recipes.index(member.recipe.name) for member in members])
    shares = weights[:, :, owner] / np.bincount(owner)[owner]
    total = weight = 0.0
    labels, own = training_faces.keypoints, training_faces.annotators
    for index, member in enumerate(members):
        with np.load(run.member(member.name) / "out_of_fold.npz") as kept:
            rows, held = kept["ids"] - 1, kept["predictions"]
        squares = np.square(held - labels[rows])
        for annotator in (COMPLETE, PARTIAL):
            block = squares[own[rows] == annotator]
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
