"""An ensemble: members trained fold by fold, blended out of fold, averaged at prediction.

Conducts ``training``, ``blend`` and the run folder. Knows how time is shared between members and
what to do when it runs out or somebody presses Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RunError
from fkd_kaggle.keypoints import NUM_KEYPOINTS
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.members import is_usable
from fkd_kaggle.runs.predictions import faces_digest, load_test_predictions
from fkd_kaggle.training.inference import predict_member


def usable_members(run: Run) -> list[Member]:
    members = [member for member in run.plan.members if is_usable(run, member)]
    if not members:
        raise RunError(
            f"run {run.name} has no trained member yet: "
            f"go on with `fkd-kaggle train-ensemble --resume {run.name}`"
        )
    return members


def predict_with_members(
    run: Run,
    members: list[Member],
    wanted: Faces,
    annotators: np.ndarray,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return (M, N, 15, 2) float32 predictions of each member, kept ones where they are true."""
    result = np.empty((len(members), len(wanted.images), NUM_KEYPOINTS, 2), np.float32)
    digest = faces_digest(wanted, annotators)
    for index, member in enumerate(members):
        if on_progress:
            on_progress(index, len(members))
        kept = load_test_predictions(run, member, digest)
        if kept is None:
            # Not before it is needed: blending what shards have answered takes no network.
            backend.start_keras(run.plan.precision)
            from fkd_kaggle.training.network import load_network

            network = load_network(member.recipe, run.member(member.name))
            kept = predict_member(network, member, wanted, annotators)
        result[index] = kept
    if on_progress:
        on_progress(len(members), len(members))
    return result


def recipe_names(members: list[Member]) -> list[str]:
    return list(dict.fromkeys(member.recipe.name for member in members))


def average_by_recipe(
    predictions: np.ndarray, members: list[Member], recipes: list[str]
) -> np.ndarray:
    """Return (R, N, 15, 2): (M, N, 15, 2) averaged over each recipe's folds and seeds."""
    return np.stack(
        [
            predictions[[member.recipe.name == recipe for member in members]].mean(0)
            for recipe in recipes
        ]
    )
