"""What determines the labels that a run's members are trained on, besides training.csv.

    runs/<name>/corrections.csv              see ``runs.corrections``
    runs/<name>/reference_predictions.npz    see ``runs.predictions``

Members of runs with different labels are not blended as one run.
"""

from __future__ import annotations

import numpy as np

from fkd_kaggle.runs.copying import copy_file
from fkd_kaggle.runs.folder import CORRECTIONS, REFERENCE, Run
from fkd_kaggle.runs.predictions import load_reference_predictions


def have_same_labels(run: Run, other: Run) -> bool:
    """Return whether two runs on the same data are trained on the same labels.

    Raises
    ------
    RunError
        A file of one of the runs is damaged.
    """
    texts = [_corrections_text(one) for one in (run, other)]
    own, expected = (load_reference_predictions(one) for one in (run, other))
    if own is None or expected is None:
        return texts[0] == texts[1] and own is expected
    return texts[0] == texts[1] and np.array_equal(own, expected, equal_nan=True)


def copy_labels(source: Run, target: Run) -> None:
    """Copy the corrections and the reference predictions of a run to a new run on the same data.

    Raises
    ------
    RunError
        A file cannot be read.
    FkdError
        The disk is full or the target cannot be written.
    """
    for name in (CORRECTIONS, REFERENCE):
        if (source.path / name).exists():
            copy_file(source.path / name, target.path / name)


def _corrections_text(run: Run) -> bytes | None:
    path = run.path / CORRECTIONS
    return path.read_bytes() if path.exists() else None
