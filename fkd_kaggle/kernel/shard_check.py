"""Check a shard when it has ended: can its members be blended with those of the other shards?

Shards that Kaggle runs in different images can split the faces differently. This is found here,
when the shard ends, and not when the blend runs, hours of GPU time later. Downloads two small files
per shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fkd_kaggle.errors import KernelError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kernel import records
from fkd_kaggle.kernel.records import KernelRecord
from fkd_kaggle.runs.folder import read_folds
from fkd_kaggle.runs.machine import MACHINE_FILE, describe_difference, read_machine

_FILES: Final = (MACHINE_FILE, "folds.npy", "run.json")


def check_ended_shard(
    competition: Competition, record: KernelRecord, others: Sequence[KernelRecord], runs_dir: Path
) -> str:
    """Compare the versions and the folds of an ended shard with those of an earlier shard.

    Parameters
    ----------
    competition
        The session with Kaggle.
    record
        Record of the shard that has ended.
    others
        Records of the shards of the same run; those that have not ended are ignored.
    runs_dir
        Folder of the runs.

    Returns
    -------
    str
        A warning in one line if the packages differ but the folds agree; empty otherwise.

    Raises
    ------
    KernelError
        The shards have split the faces differently, so they cannot be blended.
    CompetitionError
        Kaggle refuses or cannot be reached.
    """
    own = _fetch(competition, record, runs_dir)
    ended = [one for one in others if one.shard != record.shard and one.state == "complete"]
    for other in ended[:1]:
        reference = _fetch(competition, other, runs_dir)
        here, there = read_machine(own / MACHINE_FILE), read_machine(reference / MACHINE_FILE)
        differ = describe_difference(there, here) if there and here else ""
        folds, expected = read_folds(own), read_folds(reference)
        if folds is not None and expected is not None and folds.tolist() != expected.tolist():
            raise KernelError(
                f"shard {_number(record)} of {record.run} has split the faces differently from "
                f"shard {_number(other)}, so they cannot be blended"
                f"{f' (their images differ: {differ})' if differ else ''}: repeat the command, "
                f"which pushes shard {_number(record)} again in the image of the others"
            )
        if differ:
            return (
                f"shards {_number(other)} and {_number(record)} ran in different images "
                f"({differ}); their folds agree, so they can be blended"
            )
    return ""


def _fetch(competition: Competition, record: KernelRecord, runs_dir: Path) -> Path:
    """Download the small files of a shard's run, unless they are there; return their folder."""
    folder = records.record_folder(runs_dir, record) / f"v{record.version}-check"
    wanted = {f"{record.run}/{name}" for name in _FILES}
    if not (folder / record.run / MACHINE_FILE).exists():
        competition.kernel_output(record.kernel, folder, record.version, keep=True, only=wanted)
    return folder / record.run


def _number(record: KernelRecord) -> int:
    """Return the number of a shard as users see it, from 1."""
    return (record.shard or 0) + 1
