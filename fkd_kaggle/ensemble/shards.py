"""Shards: the members of a plan divided between runs, and these runs merged into one.

Kernels and batch jobs use the same functions.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from fkd_kaggle.errors import FkdError, KernelError, RunError
from fkd_kaggle.recipes.plans import Member, Plan
from fkd_kaggle.runs.folder import Run, read_folds, write_folds
from fkd_kaggle.runs.members import is_finished
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
    shard, shards = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= shard <= shards:
        raise FkdError(f"--shard {text!r} is no shard: write 2/8 for the second of eight")
    return shard, shards


def select_members(members: Sequence[Member], shard: int, shards: int) -> tuple[Member, ...]:
    """Return the members of a shard, in training order.

    The longest member comes first, each to the shard with the smallest load, so that shards end at
    about the same time.

    Parameters
    ----------
    members
        All members of the plan.
    shard
        Index of the shard, from 0.
    shards
        Number of shards.
    """
    loads = [0.0] * shards
    shard_of = {}
    for member in sorted(members, key=lambda member: -member.share):
        shard_of[member.name] = loads.index(min(loads))
        loads[shard_of[member.name]] += member.share
    return tuple(member for member in members if shard_of[member.name] == shard)


def shard_members(plan: Plan, shard: int, shards: int) -> tuple[Member, ...]:
    """Return the members of a shard of a plan; ``shard`` counts from 1.

    Raises
    ------
    FkdError
        There are more shards than members.
    """
    if shards > len(plan.members):
        raise FkdError(
            f"--shard {shard}/{shards}: {len(plan.members)} networks can be divided into at most "
            f"{len(plan.members)} shards"
        )
    return select_members(plan.members, shard - 1, shards)


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


def missing_shards(shards: Sequence[Run], plan: Plan) -> list[str]:
    """Return which members no shard has finished, by shard where the shards are known.

    Parameters
    ----------
    shards
        Runs that trained a part of the members each.
    plan
        The plan of all shards.

    Returns
    -------
    list of str
        Such as "shard 2/3 (heatmap-small-f1, heatmap-small-f2)".
    """
    unfinished = [
        member for member in plan.members if not any(is_finished(shard, member) for shard in shards)
    ]
    numbers = {shard.shard for shard in shards} - {None}
    counts = {number[1] for number in numbers if number}
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


def merge_shards(shards: Sequence[Run], run: Run) -> list[str]:
    """Copy the shards' folds, corrections and members into a run.

    Parameters
    ----------
    shards
        Runs that trained a part of the members each.
    run
        A new run with the same plan.

    Returns
    -------
    list of str
        Names of members that no shard has trained.

    Raises
    ------
    RunError
        A shard was trained on other data.
    KernelError
        A shard has another plan, other folds or other corrections.
    """
    for shard in shards:
        check_shard(shard, shards[0], run.plan, run.data)
    copy_members(shards, run)
    names = [member.name for member in run.plan.members]
    return [name for name in names if not run.member_folder(name).is_dir()]


def copy_members(shards: Sequence[Run], run: Run) -> None:
    """Copy the shards' folds, corrections and members into a run.

    A finished member replaces an unfinished one.

    Parameters
    ----------
    shards
        Runs that ``check_shard`` accepts.
    run
        A new run with the same plan.
    """
    held_out = read_folds(shards[0].path)
    assert held_out is not None  # check_shard has compared them
    write_folds(run.path, held_out)
    copy_labels(shards[0], run)
    for member in run.plan.members:
        sources = [shard for shard in shards if shard.member_folder(member.name).is_dir()]
        sources.sort(key=lambda shard: not is_finished(shard, member))
        if sources:
            _copy_folder(sources[0].member_folder(member.name), run.member_folder(member.name))


def check_shard(shard: Run, first: Run, plan: Plan, data: str, *, in_kernels: bool = True) -> None:
    """Raise an error for a shard whose members cannot be blended with the others'.

    Parameters
    ----------
    shard
        The shard to check.
    first
        The first shard; all shards must have its folds.
    plan, data
        The plan of all shards and the fingerprint of their data.
    in_kernels
        Whether the shards were trained in kernels, for the remedy in the message.

    Raises
    ------
    RunError
        The shard was trained on other data; or, unless ``in_kernels``, it has another plan, other
        folds, corrections or reference predictions.
    KernelError
        The same differences between shards in kernels.
    """
    remedy, kind = (_PUSH_AGAIN, KernelError) if in_kernels else (_TRAIN_AGAIN, RunError)
    shard.check_data(data)
    if shard.plan.members != plan.members:
        raise kind(f"{shard.path} was trained to another plan than {first.path}: {remedy}")
    own, expected = read_folds(shard.path), read_folds(first.path)
    if own is None or expected is None or own.tolist() != expected.tolist():
        raise kind(f"{shard.path} and {first.path} have split the faces differently: {remedy}")
    if not have_same_labels(shard, first):
        raise kind(
            f"{shard.path} and {first.path} were trained with different --corrections or "
            f"--predictions-from: {remedy}"
        )


def _copy_folder(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=_temporary_files, dirs_exist_ok=True)


def _temporary_files(_: str, names: Sequence[str]) -> Collection[str]:
    return [name for name in names if name.startswith(".tmp-")]
