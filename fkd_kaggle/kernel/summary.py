"""What a kernel does, in words, for the people who read it on Kaggle."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from fkd_kaggle.formatting import format_duration
from fkd_kaggle.kernel.job import KernelTask, training_time
from fkd_kaggle.recipes.plans import Member


def title_of(task: KernelTask) -> str:
    """Return a title in one line, such as "train the ensemble winning (20 networks)"."""
    name, count = task.plan.ensemble.name, len(task.members)
    networks = f"{count} network" + ("" if count == 1 else "s")
    if task.gather:
        return f"blend the ensemble {name} ({networks} of {len(task.gather)} kernels)"
    if task.shard is not None:
        part = f"part {task.shard + 1} of {task.shards}"
        return f"train a part of the ensemble {name} ({networks}, {part})"
    return f"train the ensemble {name} ({networks})"


def describe_task(task: KernelTask) -> list[tuple[str, str]]:
    """Return what a kernel does, as pairs of a label and a text in one line."""
    ensemble = task.plan.ensemble
    lines = [("Run", task.run_name)]
    if ensemble.description:
        lines.append(("Ensemble", _shorten(ensemble.description)))
    for recipe in dict.fromkeys(member.recipe.name for member in task.members):
        members = [member for member in task.members if member.recipe.name == recipe]
        lines.append((f"Recipe {recipe}", _describe_recipe(members)))
    folds = ensemble.trained_folds or ensemble.folds
    if ensemble.held_out:
        split = f"{ensemble.held_out:.0%} of the faces are held out to measure the error"
    else:
        split = (
            f"{ensemble.folds} groups of faces, near-duplicates in one group; each network is "
            f"measured on the group that it has not seen; {folds} of the groups are held out once"
        )
    lines.append(("Folds", split))
    if count := len(task.corrections.splitlines()[1:]):
        labels = "1 label" if count == 1 else f"{count} labels"
        lines.append(("Corrections", f"{labels} of training.csv, listed below as corrections"))
    if task.gather:
        lines.append(("Networks from", ", ".join(task.gather)))
    else:
        limit = training_time(task.session_limit)
        seconds = min(limit, task.plan.time_limit or limit)
        lines.append(("Time", f"at most {format_duration(seconds)} of training"))
    lines.append(("Result", _describe_result(task)))
    return lines


def _describe_recipe(members: Sequence[Member]) -> str:
    """Return networks, folds, epochs and description of a recipe."""
    recipe = members[0].recipe
    count = len(members)
    folds = ", ".join(str(fold) for fold in sorted({member.fold for member in members}))
    text = (
        f"{count} network{'' if count == 1 else 's'} (held-out fold"
        f"{'' if ',' not in folds else 's'} {folds}), architecture {recipe.architecture}, "
        f"at most {recipe.epochs} epoch{'' if recipe.epochs == 1 else 's'}"
    )
    return f"{text}. {_shorten(recipe.description)}" if recipe.description else text


def _shorten(description: str) -> str:
    """Return a description in one line of at most 300 characters."""
    return textwrap.shorten(description, 300, placeholder=" …")


def _describe_result(task: KernelTask) -> str:
    """Return what a kernel leaves in its working folder."""
    if not task.submits:
        return f"the folder {task.run_name} with the networks, for the kernel that blends"
    return f"submission.csv, and the folder {task.run_name} with the networks and the report"
