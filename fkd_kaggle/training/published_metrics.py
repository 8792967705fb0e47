"""What the recipes' sources measure, on our folds and beside what they report.

A source that enlarges its data before splitting is measured three times: on faces never seen, on
their copies, and, as it did itself, on copies of faces its network was trained on. What the last is
better by than the one before is the leak.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data.metrics import compute_metric
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run

if TYPE_CHECKING:
    from fkd_kaggle.recipes.schema import Recipe


def published_metrics(
    recipe: Recipe, predictions: np.ndarray, labels: np.ndarray
) -> dict[str, float | None]:
    """Return the metrics a recipe's source speaks in, by name.

    A source that trained on complete faces only was also tested on complete faces only.
    """
    if recipe.missing == "drop":
        answered = np.asarray(sorted({point for head in recipe.outputs() for point in head}))
        complete = np.isfinite(labels[:, answered]).all((1, 2))
        predictions, labels = predictions[complete], labels[complete]
    return {name: compute_metric(name, predictions, labels) for name in recipe.metrics}


OwnScores = dict[str, dict[str, dict[str, float | None]]]


def store_published_metrics(
    run: Run, member: Member, name: str, predictions: np.ndarray, labels: np.ndarray
) -> None:
    """Keep a member's metrics on more faces than the run's own, (N, 15, 2) pixels both."""
    measured = published_metrics(member.recipe, predictions, labels)
    files.write_json(run.member(member.name) / f"{name}.json", measured)


def collect_published_metrics(
    run: Run, members: Sequence[Member], out_of_fold: Mapping[str, np.ndarray], labels: np.ndarray
) -> OwnScores:
    """Return what each recipe's source measures, by recipe and metric.

    Recipes whose sources speak in our own RMSE are left out.

    Parameters
    ----------
    out_of_fold
        (N, 15, 2) pixels by recipe: predictions for faces held out, NaN elsewhere.
    labels
        (N, 15, 2) pixels, NaN where nobody labelled.
    """
    own: OwnScores = {}
    for member in members:
        recipe = member.recipe
        if recipe.name in own or recipe.metrics == ("rmse-px",):
            continue
        measured = published_metrics(recipe, out_of_fold[recipe.name], labels)
        copies, unseen = (_kept(run, member, name) for name in ("copies", "unseen_copies"))
        own[recipe.name] = {
            name: {
                "held_out": value,
                "unseen_copies": unseen.get(name),
                "copies": copies.get(name),
                "published": recipe.published.get(name),
            }
            for name, value in measured.items()
        }
    return own


def _kept(run: Run, member: Member, name: str) -> dict[str, float | None]:
    try:
        text = (run.member(member.name) / f"{name}.json").read_text(encoding="utf-8")
        return dict(json.loads(text))
    except (OSError, ValueError):
        return {}
