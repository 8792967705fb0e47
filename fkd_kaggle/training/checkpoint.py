"""Checkpoints: copy the state of a learner to and from a member's folder.

Keras objects are read and assigned here; ``runs`` reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from fkd_kaggle.nn import backend
from fkd_kaggle.runs import history, members
from fkd_kaggle.runs.members import Progress
from fkd_kaggle.training.learner import Learner


def save_checkpoint(
    learner: Learner, folder: Path, progress: Progress, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write everything that resuming a member needs.

    The progress is written last: a checkpoint that does not match it is ignored.

    Parameters
    ----------
    learner
        Its network, optimizer and view seed are stored.
    folder
        The member's folder.
    progress
        Progress at the last finished epoch.
    rows
        Rows of the history, one for each epoch.
    """
    values = [ops.convert_to_numpy(variable) for variable in _variables(learner)]
    members.write_checkpoint(folder, progress.epoch, values)
    history.write_history(folder, rows)
    members.write_progress(folder, progress)


def restore_checkpoint(
    learner: Learner, folder: Path
) -> tuple[Progress, list[dict[str, Any]]] | None:
    """Assign the stored state to a learner and return the progress and the history.

    Parameters
    ----------
    learner
        A new learner of the same member.
    folder
        The member's folder.

    Returns
    -------
    The progress and the rows of the history. None, and an unchanged learner, if there is no
    complete checkpoint or if the shapes differ (another version or another number of devices).
    """
    progress = members.read_progress(folder)
    if not progress.epoch:
        return None
    with backend.distribution_scope():
        learner.optimizer.build(learner.network.trainable_variables)
    variables = _variables(learner)
    stored = members.read_checkpoint(folder)
    if stored is None or stored[0] != progress.epoch or not _same_shapes(variables, stored[1]):
        return None
    for variable, value in zip(variables, stored[1], strict=True):
        variable.assign(value)
    return progress, history.read_history_rows(folder)[: progress.epoch]


def _same_shapes(variables: Sequence[Any], values: Sequence[np.ndarray]) -> bool:
    return [value.shape for value in values] == [tuple(variable.shape) for variable in variables]


def _variables(learner: Learner) -> list[Any]:
    optimizer = learner.optimizer
    return [*learner.network.variables, *optimizer.variables, learner.view_seed.state]
