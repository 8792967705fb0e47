"""Members of a run: how far their training is, and the files that training leaves.

    members/<member>/
      progress.json         epochs, seconds and the best RMSE so far; why training ended
      history.csv           see ``runs.history``
      best.weights.h5       weights of the best epoch, written by Keras
      checkpoint.npz        all variables, only while training is not finished
      out_of_fold.npz, test.npz    see ``runs.predictions``
      copies.json, unseen_copies.json    published metrics on augmented copies

This module never imports Keras: it returns the paths of files that Keras writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.errors import RunError
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs import reading
from fkd_kaggle.runs.folder import Run


@dataclass(frozen=True)
class Progress:
    """How far the training of a member is."""

    epoch: int = 0
    """Epochs trained."""
    seconds: float = 0.0
    """Seconds of training."""
    best_rmse: float | None = None
    """Smallest validation RMSE in pixels; None before the first validation."""
    best_epoch: int = 0
    learning_rate: float = 0.0
    stopped: str = ""
    """Why training ended; empty while it can be resumed."""


def member_progress(run: Run, member: Member) -> Progress:
    """Return how far the training of a member is."""
    return read_progress(run.member_folder(member.name))


def is_finished(run: Run, member: Member) -> bool:
    """Return whether a member is trained and its out-of-fold predictions are stored."""
    stored = (run.member_folder(member.name) / "out_of_fold.npz").exists()
    return stored and bool(member_progress(run, member).stopped)


def is_usable(run: Run, member: Member) -> bool:
    """Return whether a member has weights, whether its training is finished or not."""
    return weights_path(run.member_folder(member.name)).exists()


def store_failures(run: Run, failures: Mapping[str, Exception]) -> None:
    """Store why members failed, by member name, in run.json; an empty mapping removes the entry."""
    run.update(failures={name: str(error) for name, error in failures.items()})


def read_progress(folder: Path) -> Progress:
    """Return the progress stored in a member's folder; the initial one without a valid file."""
    path = folder / "progress.json"
    try:
        progress = Progress(**reading.read_json_object(path))
        _check_progress(progress)
    except (RunError, TypeError, ValueError):
        # A checkpoint is deleted when training has ended, after the weights are complete.
        ended = weights_path(folder).exists() and not (folder / "checkpoint.npz").exists()
        lost = path.exists() and ended and (folder / "out_of_fold.npz").exists()
        return Progress(stopped="end of training; progress.json is damaged" if lost else "")
    return progress


def write_progress(folder: Path, progress: Progress) -> None:
    """Store how far a member's training is in the member's folder."""
    files.write_json(folder / "progress.json", asdict(progress))


def weights_path(folder: Path) -> Path:
    """Return the file of the weights in a member's folder."""
    return folder / "best.weights.h5"


def read_checkpoint(folder: Path) -> tuple[int, list[np.ndarray]] | None:
    """Return the epochs trained and the variables' values; None without a valid checkpoint.

    Parameters
    ----------
    folder
        The member's folder.
    """
    try:
        arrays = reading.read_arrays(folder / "checkpoint.npz", {"epoch": ()})
    except RunError:
        return None
    values = [arrays.get(f"v{index}") for index in range(len(arrays) - 1)]
    numbers = [value for value in values if value is not None and value.dtype.kind in "biufV"]
    return (int(arrays["epoch"]), numbers) if len(numbers) == len(values) else None


def write_checkpoint(folder: Path, epoch: int, values: Sequence[np.ndarray]) -> None:
    """Store the values of all variables after ``epoch`` epochs in a member's folder."""
    arrays = {f"v{index}": value for index, value in enumerate(values)}
    with files.atomic_path(folder / "checkpoint.npz") as path:
        np.savez(path, epoch=epoch, **arrays)  # type: ignore[arg-type]


def delete_checkpoint(folder: Path) -> None:
    """Delete the checkpoint in a member's folder if there is one."""
    (folder / "checkpoint.npz").unlink(missing_ok=True)


def write_member_metrics(
    run: Run, member: Member, name: str, values: Mapping[str, float | None]
) -> None:
    """Store a member's metrics on the set of faces called ``name``, by metric."""
    files.write_json(run.member_folder(member.name) / f"{name}.json", dict(values))


def read_member_metrics(run: Run, member: Member, name: str) -> dict[str, float | None]:
    """Return what ``write_member_metrics`` stored; empty without a valid file."""
    try:
        values = reading.read_json_object(run.member_folder(member.name) / f"{name}.json")
    except RunError:
        return {}
    valid = all(value is None or isinstance(value, int | float) for value in values.values())
    return values if valid else {}


def _check_progress(progress: Progress) -> None:
    """Raise TypeError or ValueError for progress that this package does not write."""
    numbers: tuple[float, ...] = (
        progress.epoch,
        progress.seconds,
        progress.best_epoch,
        progress.learning_rate,
    )
    if progress.best_rmse is not None:
        numbers += (progress.best_rmse,)
    if not all(isinstance(number, int | float) for number in numbers):
        raise TypeError("not a number")
    if not isinstance(progress.stopped, str) or not isinstance(progress.epoch, int):
        raise TypeError("wrong type")
    if progress.epoch < 0 or not 0 <= progress.seconds < float("inf"):
        raise ValueError("out of range")
