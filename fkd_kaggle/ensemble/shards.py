"""Shards: the members of a plan divided between runs, and these runs merged into one.

Kernels and batch jobs use the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fkd_kaggle.errors import FkdError, KernelError, RunError
from fkd_kaggle.recipes.plans import Member, Plan
from fkd_kaggle.runs.copying import copy_folder
from fkd_kaggle.runs.folder import Run, read_folds, write_folds
from fkd_kaggle.runs.members import is_finished, is_usable
from fkd_kaggle.runs.training_labels import copy_labels, have_same_labels

_PUSH_AGAIN = "push all shards anew, so that they run in the same image"

_TRAIN_AGAIN = "train all shards anew with the same options and package versions"


def parse_shard(text: str) -> tuple[int, int]:
    """Return the number of a shard, from 1, and the number of shards of a text such as "2/8".

    Raises
    ------
    FkdError
        The text is not of this form.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text, re.ASCII)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise FkdError(f"--shard {text!r} is no shard: write 2/8 for the second of eight")
    return number, count


def select_members(members: Sequence[Member], index: int, count: int) -> tuple[Member, ...]:
    """Return the members of a shard, in training order.

    The longest member comes first, each to the shard with the smallest load, so that shards end at
    about the same time.

    Parameters
    ----------
    members
        All members of the plan.
    index
        Index of the shard, from 0.
    count
        Number of shards.
    """
    loads = [0.0] * count
    index_of = {}
    for member in sorted(members, key=lambda member: -member.share):
        index_of[member.name] = loads.index(min(loads))
        loads[index_of[member.name]] += member.share
    return tuple(member for member in members if index_of[member.name] == index)


def shard_members(plan: Plan, number: int, count: int) -> tuple[Member, ...]:
    """Return the members of a shard of a plan.

    Parameters
    ----------
    plan
        The plan of all shards.
    number
        Number of the shard, from 1.
    count
        Number of shards.

    Raises
    ------
    FkdError
        There are more shards than members.
    """
    if count > len(plan.members):
        raise FkdError(
            f"--shard {number}/{count}: {len(plan.members)} networks can be divided into at most "
            f"{len(plan.members)} shards"
        )
    return select_members(plan.members, number - 1, count)


def open_shard(path: Path, plan: Plan, data: str) -> Run:
    """Open the run of a shard, to continue it.

    Parameters
    ----------
    path
        Folder of the run.
    plan
        The plan of all shards.
    data
        Fingerprint of training.csv.

    Raises
    ------
    RunError
        The run has another plan or other data.
    """
    run = Run.open(path)
    run.check_data(data)
    if run.plan != plan:
        raise RunError(f"run {run.name} exists with another plan: choose another name with --run")
    return run


def missing_shards(runs: Sequence[Run], plan: Plan) -> list[str]:
    """Return which members no shard has finished, by shard where the shards are known.

    Parameters
    ----------
    runs
        Runs that trained a part of the members each.
    plan
        The plan of all shards.

    Returns
    -------
    list of str
        Such as "shard 2/3 (heatmap-small-f1, heatmap-small-f2)".
    """
    unfinished = [
        member for member in plan.members if not any(is_finished(run, member) for run in runs)
    ]
    counts = {run.shard[1] for run in runs if run.shard is not None}
    if len(counts) != 1:
        return [member.name for member in unfinished]
    (count,) = counts
    result = []
    for index in range(count):
        names = {member.name for member in select_members(plan.members, index, count)}
        lost = [member.name for member in unfinished if member.name in names]
        if lost:
            result.append(f"shard {index + 1}/{count} ({', '.join(lost)})")
    return result


def merge_shards(runs: Sequence[Run], merged: Run) -> list[str]:
    """Copy the shards' folds, corrections and members into a run.

    Parameters
    ----------
    runs
        Runs that trained a part of the members each.
    merged
        A new run with the same plan.

    Returns
    -------
    list of str
        Names of members of which no shard has weights.

    Raises
    ------
    RunError
        A shard was trained on other data, or a file of a shard cannot be read.
    KernelError
        A shard has another plan, no folds, other folds or other corrections.
    FkdError
        The disk is full or ``merged`` cannot be written.
    """
    for run in runs:
        check_shard(run, runs[0], merged.plan, merged.data)
    copy_members(runs, merged)
    return [member.name for member in merged.plan.members if not is_usable(merged, member)]


def copy_members(runs: Sequence[Run], merged: Run) -> None:
    """Copy the shards' folds, corrections and members into a run.

    If several shards have a member, the first one that has finished it is copied; otherwise the
    first one that has weights.

    Parameters
    ----------
    runs
        Runs that ``check_shard`` accepts.
    merged
        A new run with the same plan.

    Raises
    ------
    RunError
        A file of a shard cannot be read.
    FkdError
        The disk is full or ``merged`` cannot be written.
    """
    held_out = read_folds(runs[0].path)
    assert held_out is not None  # check_shard has compared them
    write_folds(merged.path, held_out)
    copy_labels(runs[0], merged)
    for member in merged.plan.members:
        sources = [run for run in runs if run.member_folder(member.name).is_dir()]
        sources.sort(key=lambda run: (not is_finished(run, member), not is_usable(run, member)))
        if sources:
            copy_folder(sources[0].member_folder(member.name), merged.member_folder(member.name))


def check_shard(run: Run, first: Run, plan: Plan, data: str, *, in_kernels: bool = True) -> None:
    """Raise an error for a shard whose members cannot be blended with the others'.

    Parameters
    ----------
    run
        The run of the shard to check.
    first
        The run of the first shard; all shards must have its folds.
    plan, data
        The plan of all shards and the fingerprint of their data.
    in_kernels
        Whether the shards were trained in kernels, for the remedy in the message.

    Raises
    ------
    RunError
        The shard was trained on other data; or, unless ``in_kernels``, it has another plan, other
        folds, corrections or reference predictions, or it or the first shard has no folds.
    KernelError
        The same differences between shards in kernels.
    """
    remedy, kind = (_PUSH_AGAIN, KernelError) if in_kernels else (_TRAIN_AGAIN, RunError)
    run.check_data(data)
    if run.plan.members != plan.members:
        other = "the run that merges the shards" if run.path == first.path else first.path
        raise kind(f"{run.path} was trained to another plan than {other}: {remedy}")
    own, expected = read_folds(run.path), read_folds(first.path)
    if own is None or expected is None:
        lacking = run if own is None else first
        raise kind(f"{lacking.path / 'folds.npy'} is missing: restore it from a copy, or {remedy}")
    if own.tolist() != expected.tolist():
        raise kind(f"{run.path} and {first.path} have split the faces differently: {remedy}")
    if not have_same_labels(run, first):
        raise kind(
            f"{run.path} and {first.path} were trained with different --corrections or "
            f"--predictions-from: {remedy}"
        )
