"""The lines about the duration of a training, before it begins."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
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
        Names of shipped ensembles of which all networks fit the time limit; empty if the recipe
        cannot be chosen any more.
    """
    devices, plan = _devices(estimate), estimate.plan
    count, total = len(plan.members), len(estimate.todo)
    if count == total:
        duration = _rounded(plan.seconds)
        return f"expected duration: about {duration} on {devices} ({_numbered(total, 'network')})"
    recipe = plan.members[0].recipe
    epochs = max(1, round(plan.fraction * recipe.epochs))
    line = (
        f"{format_duration(estimate.limit)} on {devices}: {count} of {_numbered(total, 'network')} "
        f"({describe_members(plan.members)}; {recipe.name} for about {epochs} of "
        f"{_numbered(recipe.most_epochs(is_limited=True), 'epoch')})"
    )
    if plan.fraction * recipe.epochs < 1:
        line += ", less than one here now: the machine is slow or busy"
    hints = [f"--recipe {name} fits" for name in fitting]
    hints.append(f"all epochs of the full plan take about {_rounded(estimate.full)}")
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
        return "–", f"needs {_rounded(result.minimum)}"
    rmse = "not measured" if result.rmse is None else f"{result.rmse:.2f}"
    epochs = _numbered(round(result.epochs), "epoch")
    if result.epochs < 1:
        epochs = "less than an epoch"
    return rmse, f"{_numbered(result.members, 'network')}, {epochs}"


def describe_members(members: Sequence[Member]) -> str:
    """Return recipes with their folds, such as "cascade, folds 0–1, 4; heatmap, fold 0"."""
    folds: dict[str, set[int]] = {}
    for member in members:
        folds.setdefault(member.recipe.name, set()).add(member.fold)
    return "; ".join(
        f"{name}, fold{'' if len(numbers) == 1 else 's'} {_ranges(numbers)}"
        for name, numbers in folds.items()
    )


def _ranges(numbers: Collection[int]) -> str:
    """Return different numbers, consecutive ones joined, such as "0–1, 4"."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return ", ".join(f"{one[0]}" if len(one) == 1 else f"{one[0]}–{one[-1]}" for one in ranges)


def _numbered(count: int, noun: str) -> str:
    """Return a number with a noun, such as "1 network" or "2 networks"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _rounded(seconds: float) -> str:
    """Return a rounded duration, such as "55 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h"


def _devices(estimate: TrainingEstimate) -> str:
    machine = estimate.machine.machine
    where = " of the cluster" if estimate.machine.on_cluster else ""
    if machine.gpus:
        return f"{_numbered(len(machine.gpus), 'GPU')}{where}"
    return f"{_numbered(machine.cores, 'core')}{where}"
