"""Shards: runs with the same plan that trained a part of the members each, merged into one run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from fkd_kaggle.errors import KernelError
from fkd_kaggle.runs.folder import Run, read_folds, write_folds


def merge_shards(shards: Sequence[Run], run: Run) -> list[str]:
    """Copy the shards' folds and members into a run.

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
        A shard has another plan or other folds.
    """
    for shard in shards:
        check_shard(shard, shards[0], run)
        held_out = read_folds(shard.path)
        assert held_out is not None  # check_shard has compared them
        write_folds(run.path, held_out)
        shutil.copytree(shard.path / "members", run.path / "members", dirs_exist_ok=True)
    names = [member.name for member in run.plan.members]
    return [name for name in names if not run.member_folder(name).is_dir()]


def check_shard(shard: Run, first: Run, run: Run) -> None:
    """Raise an error for a shard whose members cannot be blended with the others'.

    Parameters
    ----------
    shard
        The shard to check.
    first
        The first shard; all shards must have its folds.
    run
        The run that the shards are merged into; all shards must have its plan and data.

    Raises
    ------
    RunError
        The shard was trained on other data.
    KernelError
        The shard has another plan or other folds.
    """
    shard.check_data(run.data)
    if shard.plan.members != run.plan.members:
        raise KernelError(
            f"{shard.path} was trained to another plan than {run.name} is to be blended by: "
            "push all its shards anew"
        )
    own, expected = read_folds(shard.path), read_folds(first.path)
    if own is None or expected is None or own.tolist() != expected.tolist():
        raise KernelError(
            f"{shard.path} and {first.path} have split the faces differently: the machines' "
            "images differ; push all shards anew, so that they run in the same one"
        )
