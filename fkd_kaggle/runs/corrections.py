"""Corrections of labels that a run was trained with: a copy of corrections.csv in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fkd_kaggle.data import corrections
from fkd_kaggle.data.corrections import Correction
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.runs.folder import CORRECTIONS, Run


def store_corrections(run: Run, found: Sequence[Correction], training: Faces) -> None:
    """Store the corrections that the members of a new run are trained with.

    Parameters
    ----------
    run
        A run without trained members.
    found
        The corrections, checked.
    training
        All training faces, with the labels of training.csv.
    """
    corrections.write_corrections(_path(run), found, training)


def load_run_corrections(run: Run, training: Faces) -> tuple[Correction, ...]:
    """Return the corrections that a run is trained with; none if it has none.

    Parameters
    ----------
    run
        The run.
    training
        All training faces, with the labels of training.csv.

    Raises
    ------
    DataError
        The file in the run's folder is damaged.
    """
    return corrections.read_corrections(_path(run), training) if has_corrections(run) else ()


def is_trained_with(run: Run, found: Sequence[Correction], training: Faces) -> bool:
    """Return whether a run is trained with these corrections and no others.

    Parameters
    ----------
    run
        The run.
    found
        The corrections, checked; empty for none.
    training
        All training faces, with the labels of training.csv.

    Raises
    ------
    DataError
        The file in the run's folder is damaged.
    """
    stored = load_run_corrections(run, training)
    return sorted(map(_stored_values, stored)) == sorted(map(_stored_values, found))


def has_corrections(run: Run) -> bool:
    """Return whether a run is trained with corrections."""
    return _path(run).exists()


def _stored_values(correction: Correction) -> tuple[int, int, str, str, str]:
    """Return a correction with its position as it is stored."""
    x, y = (f"{value:.2f}" for value in (correction.x, correction.y))
    return correction.row, correction.keypoint, correction.action, x, y


def _path(run: Run) -> Path:
    return run.path / CORRECTIONS
