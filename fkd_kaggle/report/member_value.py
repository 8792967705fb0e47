"""Value of each member: the score without it, and the blend weights.

A recipe is left out by fitting the simplex blend again, without corrections, because a corrected
blend takes minutes to fit. A single network is left out of the average over folds, which changes
only the expected score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle.data import metrics
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import blending
from fkd_kaggle.ensemble.blend import Blend
from fkd_kaggle.ensemble.member_predictions import recipe_names
from fkd_kaggle.ensemble.run_blend import expected_without_each
from fkd_kaggle.errors import FkdError
from fkd_kaggle.keypoints import ANNOTATORS, KEYPOINT_NAMES
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.predictions import has_test_predictions, load_blend, load_out_of_fold


def measure_members(
    run: Run, data_dir: Path, members: Sequence[Member], training: Faces, queries: np.ndarray
) -> dict[str, Any]:
    """Return what each recipe and each network of a run contributes.

    Parameters
    ----------
    run
        A blended run.
    data_dir
        Folder of the data set.
    members
        Members whose out-of-fold predictions are stored.
    training
        N training faces.
    queries
        (2, 15) numbers of queries by annotator and keypoint.

    Returns
    -------
    dict
        "recipes": RMSE alone, without the recipe, and the change. "networks": expected score
        without the network, and the change. "weights": blend weight by recipe or network,
        annotator and keypoint. "excluded": networks that the blend leaves out.
    """
    recipes, arrays = load_blend(run)
    excluded = [str(name) for name in arrays.get("excluded", ())]
    usable = [
        member
        for member in members
        if member.recipe.name in recipes and member.name not in excluded
    ]
    value = {
        "recipes": _value_of_recipes(run, usable, training, queries) if usable else [],
        "networks": [],
        "weights": [],
        "excluded": excluded,
    }
    try:
        blend = Blend.from_arrays(recipes, arrays)
    except KeyError:  # stored by an earlier version
        return value
    return {
        **value,
        "networks": _value_of_networks(run, data_dir, blend, queries),
        "weights": _list_weights(blend, queries),
    }


def _value_of_recipes(
    run: Run, members: Sequence[Member], training: Faces, queries: np.ndarray
) -> list[dict[str, Any]]:
    """Return each recipe's RMSE alone and that of the simplex blend without it."""
    recipes = recipe_names(members)
    count = len(training.images)
    stacked = np.stack([load_out_of_fold(run, members, recipe, count) for recipe in recipes])
    labels, annotators = training.keypoints, training.annotators

    def score(chosen: np.ndarray) -> float | None:
        weights = blending.fit_weights(chosen, labels, annotators)
        blend = blending.apply_weights(chosen, weights, annotators)
        return metrics.combined_rmse(blend, labels, annotators, queries)

    everything = score(stacked)
    found = []
    for position, recipe in enumerate(recipes):
        alone = metrics.combined_rmse(stacked[position], labels, annotators, queries)
        without = score(np.delete(stacked, position, 0)) if len(recipes) > 1 else None
        found.append(
            {
                "recipe": recipe,
                "alone": alone,
                "points": int(np.isfinite(stacked[position]).any((0, 2)).sum()),
                "without": without,
                "change": _difference(without, everything),
            }
        )
    return found


def _value_of_networks(
    run: Run, data_dir: Path, blend: Blend, queries: np.ndarray
) -> list[dict[str, Any]]:
    """Return the expected score without each network; empty if test predictions are missing."""
    members = [member for member in run.plan.members if member.name in blend.members]
    if len(members) < 2 or not all(has_test_predictions(run, member) for member in members):
        return []
    try:
        everything, without = expected_without_each(run, data_dir, blend, queries)
    except FkdError:
        return []
    recipes = recipe_names(members)
    owners = [member.recipe.name for member in members]
    return [
        {
            "member": member.name,
            "without": without.get(member.name),
            "change": _difference(without.get(member.name), everything),
        }
        for member in members
        # The only network of a recipe is left out with its recipe.
        if len(recipes) == 1 or owners.count(member.recipe.name) > 1
    ]


def _list_weights(blend: Blend, queries: np.ndarray) -> list[dict[str, Any]]:
    """Return the blend weight of each recipe, or of each network, for each queried keypoint."""
    if blend.member_weights is None:
        names, weights = [*blend.recipes], blend.stack.weights
    else:
        names, weights = [*blend.members, "mean face"], blend.member_weights
    return [
        {
            "recipe": name,
            "annotator": ANNOTATORS[annotator],
            "keypoint": KEYPOINT_NAMES[point],
            "weight": float(weights[annotator, point, position]),
        }
        for annotator, point in zip(*np.nonzero(queries), strict=True)
        for position, name in enumerate(names)
    ]


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
