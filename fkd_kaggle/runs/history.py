"""Pictures of a run: curves, predictions, errors per keypoint, doubtful labels, and a page of them.

Draws into files through ``pictures``; computes only what it draws.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from fkd_kaggle.runs.folder import Run


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a member's history.csv, (E,) float64; NaN where nothing was measured.

    Those of ``training.HISTORY``; an older run's history may lack some, which are all NaN then.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = ("epoch", "loss", "rmse", "seconds", "images")
    return {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in columns}


HISTORY = ("epoch", "loss", "rmse", "learning_rate", "images_per_second", "seconds", "images")


def read_histories(run: Run) -> dict[str, dict[str, np.ndarray]]:
    """Return the histories of a run's members that have one, by member name, sorted by name."""
    paths = sorted((run.path / "members").glob("*/history.csv"))
    return {path.parent.name: read_history(path) for path in paths}
