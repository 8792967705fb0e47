"""What the recipes' sources measure, on our folds and beside what they report.

A source that enlarges its data before splitting is measured twice: on copies of faces its network
was trained on, as it did, and on faces never seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from fkd_kaggle import files, metrics
from fkd_kaggle.recipes import Member
from fkd_kaggle.run import Run

OwnScores = dict[str, dict[str, dict[str, float | None]]]


def keep_copies(run: Run, member: Member, predictions: np.ndarray, labels: np.ndarray) -> None:
    """Keep a member's metrics on a leaky protocol's test faces, (N, 15, 2) pixels both."""
    measured = metrics.own(member.recipe, predictions, labels)
    files.write_json(run.member(member.name) / "copies.json", measured)


def collect(
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
        measured = metrics.own(recipe, out_of_fold[recipe.name], labels)
        on_copies = _copies(run, member)
        own[recipe.name] = {
            name: {
                "held_out": value,
                "copies": on_copies.get(name),
                "published": recipe.published.get(name),
            }
            for name, value in measured.items()
        }
    return own


def _copies(run: Run, member: Member) -> dict[str, float | None]:
    try:
        text = (run.member(member.name) / "copies.json").read_text(encoding="utf-8")
        return dict(json.loads(text))
    except (OSError, ValueError):
        return {}
