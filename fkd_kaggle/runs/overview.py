"""What lies in the folder of the runs: runs, comparisons and photo runs, with state and size.

Reads and deletes folders; trains nothing.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fkd_kaggle.errors import NoteWarning, RunError, unknown_name
from fkd_kaggle.runs.folder import Run, count_weights, kind_of
from fkd_kaggle.runs.lock import is_locked
from fkd_kaggle.runs.members import is_finished, is_usable
from fkd_kaggle.runs.reading import list_subfolders
from fkd_kaggle.runs.scores import Scores

_DELETED: Final = ".deleted-"
"""Start of the name of a folder that is being deleted."""

_STATES: Final = {
    "new": "not trained",
    "training": "stopped",  # killed; a run that is being trained is locked
    "time limit": "time limit",
    "interrupted": "interrupted",
    "failures": "failures",
    "finished": "finished",
}
"""State in words by the status in run.json."""

_IN_USE: Final = "training"
"""State of a folder that a process trains."""


@dataclass(frozen=True)
class RunFolder:
    """A folder of a run, a comparison or a photo run."""

    path: Path
    kind: str
    """"run", "comparison" or "photo run"."""
    state: str
    """State in words; "training" if a process trains it, "damaged" if it cannot be read."""
    changed: datetime
    """When its newest file was written, UTC."""
    size: int
    """Bytes on disk."""
    members: int = 0
    """Number of planned members."""
    usable: int = 0
    """Number of members with weights; of a damaged run, too."""
    run: Run | None = None
    """The run; None for other kinds and damaged runs."""
    scores: Scores | None = None

    @property
    def name(self) -> str:
        """Return the name of the folder."""
        return self.path.name

    @property
    def is_useless(self) -> bool:
        """Return whether it is a run without any trained network, which no process trains."""
        return self.kind == "run" and not self.usable and not self.in_use

    @property
    def in_use(self) -> bool:
        """Return whether a process trains it."""
        return self.state == _IN_USE


def list_folders(runs_dir: Path) -> list[RunFolder]:
    """Return all folders in the folder of the runs, the one that changed last at the end."""
    found = [inspect_folder(path) for path in list_subfolders(runs_dir) if kind_of(path)]
    return sorted(found, key=lambda one: (one.changed, one.name))


def inspect_folder(path: Path) -> RunFolder:
    """Return state and size of a folder.

    Parameters
    ----------
    path
        A folder that ``kind_of`` knows.
    """
    kind = kind_of(path) or "run"
    size, changed = 0, path.stat().st_mtime
    for file in path.rglob("*"):
        try:
            status = file.lstat()
        except OSError:  # deleted meanwhile
            continue
        if not file.is_dir():
            size += status.st_size
            changed = max(changed, status.st_mtime)
    time = datetime.fromtimestamp(changed, UTC)
    in_use = is_locked(path)
    if kind != "run":
        return RunFolder(path, kind, _IN_USE if in_use else "", time, size)
    try:
        run = Run.open(path)
        state, scores = _STATES.get(run.status, run.status), run.scores
    except RunError as error:
        warnings.warn(str(error), NoteWarning, stacklevel=2)
        state = _IN_USE if in_use else "damaged"
        return RunFolder(path, kind, state, time, size, usable=count_weights(path))
    members = run.plan.members
    usable = sum(is_usable(run, member) for member in members)
    if state == "finished" and not all(is_finished(run, member) for member in members):
        state = "incomplete"
    if in_use:
        state = _IN_USE
    return RunFolder(path, kind, state, time, size, len(members), usable, run, scores)


def choose_folders(runs_dir: Path, names: Sequence[str]) -> list[RunFolder]:
    """Return the folders with these names.

    Raises
    ------
    RunError
        There is no such folder.
    """
    known = [path.name for path in list_subfolders(runs_dir) if kind_of(path)]
    for name in names:
        if name not in known:
            raise RunError(f"{unknown_name('run', name, known)} in {runs_dir}")
    return [inspect_folder(runs_dir / name) for name in dict.fromkeys(names)]


def choose_prunable(
    folders: Sequence[RunFolder], submitted: Collection[str], *, keep: int | None
) -> list[RunFolder]:
    """Return the runs that ``runs prune`` deletes.

    Parameters
    ----------
    folders
        All folders.
    submitted
        Names of runs that must stay.
    keep
        Number of usable runs to keep, those created last; None for all. Damaged runs with weights
        do not count and stay.
    """
    usable = [one for one in sorted(folders, key=_creation) if one.run is not None and one.usable]
    old = usable[: max(0, len(usable) - keep)] if keep is not None else []
    chosen = [one for one in folders if one.is_useless or (one in old and not one.in_use)]
    return [one for one in chosen if one.name not in submitted]


def delete_folder(path: Path) -> None:
    """Delete a folder of the runs.

    The folder is renamed first, so that an interrupted deletion leaves no damaged run.

    Raises
    ------
    RunError
        A process trains it.
    """
    if is_locked(path):
        raise RunError(f"{path.name} is being trained: stop that first, then delete it")
    doomed = path.with_name(f"{_DELETED}{path.name}")
    if doomed.exists():
        shutil.rmtree(doomed)
    path.rename(doomed)
    shutil.rmtree(doomed)


def delete_leftovers(runs_dir: Path) -> None:
    """Delete what interrupted deletions have left."""
    for path in runs_dir.glob(f"{_DELETED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _creation(folder: RunFolder) -> tuple[str, str]:
    """Return the time when a run was created, "" if unknown, and its name."""
    return folder.run.created if folder.run is not None else "", folder.name
