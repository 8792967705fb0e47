"""The lines about the duration of a training, before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fkd_kaggle.formatting import format_duration

if TYPE_CHECKING:
    from fkd_kaggle.ensemble.training_estimate import TimedResult, TrainingEstimate
    from fkd_kaggle.recipes.plans import Member

UNITS = "write 90s, 20m or 1.5h; a number without a unit is seconds"


def describe_estimate(estimate: TrainingEstimate, fitting: Sequence[str] = ()) -> str:
    """Return the line about what is trained and how long it takes.

    Parameters
    ----------
    estimate
        From ``ensemble.training_estimate``.
    fitting
        Names of shipped ensembles of which all networks fit the time limit.
    """
    devices, plan = _devices(estimate), estimate.plan
    count, total = len(plan.members), len(estimate.todo)
    if estimate.limit is None or not total:
        return f"expected duration: {_about(plan.seconds)} on {devices} ({_networks(total)})"
    if count == total:
        return f"expected duration: {_about(plan.seconds)} on {devices} ({_networks(total)})"
    recipe = plan.members[0].recipe
    epochs = max(1, round(plan.fraction * recipe.epochs))
    line = (
        f"{format_duration(estimate.limit)} on {devices}: {count} of {_networks(total)} "
        f"({describe_members(plan.members)}; {recipe.name} for about {epochs} of "
        f"{recipe.most_epochs(is_limited=True)} epochs)"
    )
    if plan.fraction * recipe.epochs < 1:
        line += ", less than one here now: the machine is slow or busy"
    hints = [f"--recipe {name} fits" for name in fitting]
    hints.append(f"the full plan takes {_about(estimate.full)}")
    return f"{line}; {'; '.join(hints)}"


def describe_minimum(estimate: TrainingEstimate, text: str) -> str:
    """Return the message for a time limit that is too short for any useful network.

    Parameters
    ----------
    estimate
        From ``ensemble.training_estimate``.
    text
        The time limit as the user wrote it.
    """
    recipe = estimate.plan.members[0].recipe.name
    shortest = math.ceil(estimate.minimum / 5) * 5
    place = _devices(estimate)
    if not estimate.machine.on_cluster:
        place = f"this machine ({place})"
    return (
        f"--time-limit {text} is too short: on {place} the first "
        f"useful network of {recipe} takes {format_duration(shortest)}, with start, compilation, "
        f"blend and report; {UNITS}"
    )


def describe_result(result: TimedResult) -> tuple[str, str]:
    """Return an estimated RMSE and what is trained for it, as cells of a table."""
    if not result.is_possible:
        return "–", f"needs {_about(result.minimum).removeprefix('about ')}"
    rmse = "not measured" if result.rmse is None else f"{result.rmse:.2f}"
    epochs = f"{result.epochs:.0f} epochs" if result.epochs >= 1 else "less than an epoch"
    return rmse, f"{_networks(result.members)}, {epochs}"


def describe_members(members: Sequence[Member]) -> str:
    """Return recipes with their folds, such as "cascade, folds 0–1"."""
    folds: dict[str, list[int]] = {}
    for member in members:
        folds.setdefault(member.recipe.name, []).append(member.fold)
    parts = []
    for name, numbers in folds.items():
        first, last = min(numbers), max(numbers)
        parts.append(f"{name}, fold {first}" if first == last else f"{name}, folds {first}–{last}")
    return "; ".join(parts)


def _networks(count: int) -> str:
    return f"{count} network{'' if count == 1 else 's'}"


def _about(seconds: float) -> str:
    """Return a rounded duration, such as "55 min"."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"about {minutes} min"
    return f"about {minutes / 60:.1f} h"


def _devices(estimate: TrainingEstimate) -> str:
    machine = estimate.machine.machine
    where = " of the cluster" if estimate.machine.on_cluster else ""
    if machine.gpus:
        return f"{len(machine.gpus)} GPU{'' if len(machine.gpus) == 1 else 's'}{where}"
    return f"{machine.cores} core{'' if machine.cores == 1 else 's'}{where}"
