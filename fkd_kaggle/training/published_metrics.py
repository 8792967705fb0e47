"""Published metrics: a publication's own metric and unit, computed on our folds.

A recipe whose publication splits after the offline augmentation is measured on three sets: held-out
faces, copies of held-out faces, and, as in the publication, a random part of the augmented faces
with copies of training faces among them. The difference between the last two is the leak.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from fkd_kaggle import user_code
from fkd_kaggle.data.metrics import compute_metric
from fkd_kaggle.errors import NoteWarning, RecipeError
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.members import read_member_metrics, write_member_metrics
from fkd_kaggle.runs.scores import PublishedMetrics


def published_metrics(
    recipe: Recipe, predictions: np.ndarray, labels: np.ndarray
) -> dict[str, float | None]:
    """Return the metrics of a recipe's publication by name.

    A recipe that is trained only on complete faces is measured only on complete faces, as in its
    publication. A metric of the user's own that fails is None, with a ``NoteWarning``: it is first
    called after the training, which must not be lost.

    Parameters
    ----------
    recipe
        Names the metrics.
    predictions
        (N, 15, 2) pixels, NaN where the recipe does not predict the keypoint.
    labels
        (N, 15, 2) pixels, NaN where missing.

    Raises
    ------
    RecipeError
        A metric is code of the user that is not trusted.
    """
    if recipe.imputation == "drop":
        predicted = np.asarray(sorted({point for head in recipe.outputs() for point in head}))
        complete = np.isfinite(labels[:, predicted]).all((1, 2))
        predictions, labels = predictions[complete], labels[complete]
    return {
        name: _measure_own(name, recipe, predictions, labels)
        if user_code.is_reference(name)
        else compute_metric(name, predictions, labels)
        for name in recipe.metrics
    }


def store_published_metrics(
    run: Run, member: Member, name: str, predictions: np.ndarray, labels: np.ndarray
) -> None:
    """Compute a member's published metrics on a set of faces and store them in the run.

    Parameters
    ----------
    run, member
        Where to store the metrics.
    name
        Name of the set: "copies" or "unseen_copies".
    predictions, labels
        (N, 15, 2) pixels.
    """
    measured = published_metrics(member.recipe, predictions, labels)
    write_member_metrics(run, member, name, measured)


def collect_published_metrics(
    run: Run, members: Sequence[Member], out_of_fold: Mapping[str, np.ndarray], labels: np.ndarray
) -> PublishedMetrics:
    """Return the published metrics of each recipe, by recipe, metric and set of faces.

    Leaves out recipes whose only metric is the RMSE in pixels.

    Parameters
    ----------
    run
        The run; metrics on copies are read from it.
    members
        Members whose recipes are measured.
    out_of_fold
        (N, 15, 2) pixels by recipe: predictions for held-out faces, NaN elsewhere.
    labels
        (N, 15, 2) pixels, NaN where missing.
    """
    result: PublishedMetrics = {}
    for member in members:
        recipe = member.recipe
        if recipe.name in result or recipe.metrics == ("rmse-px",):
            continue
        measured = published_metrics(recipe, out_of_fold[recipe.name], labels)
        copies = read_member_metrics(run, member, "copies")
        unseen = read_member_metrics(run, member, "unseen_copies")
        result[recipe.name] = {
            name: {
                "held_out": value,
                "unseen_copies": unseen.get(name),
                "copies": copies.get(name),
                "published": recipe.published.get(name),
            }
            for name, value in measured.items()
        }
    return result


def _measure_own(
    name: str, recipe: Recipe, predictions: np.ndarray, labels: np.ndarray
) -> float | None:
    """Return a metric of the user's own; None, with a warning, if it fails."""
    user_code.require_trust(recipe.code, f"recipe {recipe.name}")
    try:
        return compute_metric(user_code.resolve(name, recipe.code), predictions, labels)
    except RecipeError as error:
        why = str(error)
    except (TypeError, ValueError):
        why = f"{name} does not return a number"
    warnings.warn(f"recipe {recipe.name}: a metric is left out: {why}", NoteWarning, stacklevel=3)
    return None
