"""Training histories: history.csv in a member's folder, one row for each epoch."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.runs.folder import Run

HISTORY = ("epoch", "loss", "rmse", "learning_rate", "images_per_second", "seconds", "images")
"""Columns of history.csv. ``rmse`` is the validation RMSE in pixels, empty without validation;
``seconds`` and ``images`` are totals since training began."""

_READ = ("epoch", "loss", "rmse", "seconds", "images")


def read_histories(run: Run) -> dict[str, dict[str, np.ndarray]]:
    """Return the histories of a run's members that have one, by member name, sorted by name."""
    paths = sorted((run.path / "members").glob("*/history.csv"))
    return {path.parent.name: read_history(path) for path in paths}


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Return columns of a history.csv by name.

    Returns
    -------
    dict
        (E,) float64 for each of epoch, loss, rmse, seconds and images; NaN for empty cells, and
        for columns that the history of an older version lacks.
    """
    rows = _read_rows(path)
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in _READ}


def read_history_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the history in a member's folder, each cell as text by column name.

    A damaged history is empty: it is drawn, but no training depends on it.
    """
    return _read_rows(folder / "history.csv")


def write_history(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the history in a member's folder; each row maps names in ``HISTORY`` to values."""
    cells = [[row.get(name) for name in HISTORY] for row in rows]
    files.write_csv(folder / "history.csv", HISTORY, cells)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a history.csv; none if the file is missing or damaged."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error):
        return []
    return rows if all(None not in row for row in rows) else []


def _number(cell: str | None) -> float:
    """Return the number in a cell; NaN for an empty or damaged cell."""
    try:
        return float(cell or "nan")
    except ValueError:
        return float("nan")
