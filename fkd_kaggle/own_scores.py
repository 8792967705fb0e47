"""What the recipes' sources measure, on our folds and beside what they report.

A source that enlarges its data before splitting is measured three times: on faces never seen, on
their copies, and, as it did itself, on copies of faces its network was trained on. What the last is
better by than the one before is the leak.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from fkd_kaggle import files, metrics
from fkd_kaggle.recipes import Member
from fkd_kaggle.run import Run

OwnScores = dict[str, dict[str, dict[str, float | None]]]


def keep(run: Run, member: Member, name: str, predictions: np.ndarray, labels: np.ndarray) -> None:
    """Keep a member's metrics on more faces than the run's own, (N, 15, 2) pixels both."""
    measured = metrics.own(member.recipe, predictions, labels)
    files.write_json(run.member(member.name) / f"{name}.json", measured)


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
