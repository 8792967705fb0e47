"""A member whose training continues: predictions of its earlier weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_faces

from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.members import Progress, is_finished, write_progress
from fkd_kaggle.runs.predictions import store_out_of_fold, store_test_predictions
from fkd_kaggle.training import trainer
from fkd_kaggle.training.events import ignore_events
from fkd_kaggle.training.member import TrainingData, train_member


@pytest.mark.parametrize(
    ("stopped", "kept"),
    [("", set[str]()), ("finished", {"out_of_fold.npz", "test.npz"})],
    ids=["interrupted", "ended"],
)
def test_predictions_are_deleted_before_a_training_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: str, kept: set[str]
) -> None:
    """Else a member that is killed before its new predictions would be finished with old ones."""
    run = Run.create(tmp_path, "one", make_plan(TrainingOptions(("farhat",), folds=2)), "0" * 32)
    member, faces = run.plan.members[0], make_faces(8, seed=0)
    folder = run.member_folder(member.name)
    predictions = np.zeros((8, 15, 2), np.float32)
    store_out_of_fold(run, member, faces.ids, predictions)
    store_test_predictions(run, member, faces, faces.annotators, predictions)
    write_progress(folder, Progress(epoch=20, seconds=60.0, stopped=stopped))

    def fit_and_die(*_: Any, **__: Any) -> None:
        write_progress(folder, Progress(epoch=40, seconds=120.0, stopped="finished"))
        raise ZeroDivisionError

    monkeypatch.setattr(trainer, "fit_member", fit_and_die)
    data = TrainingData(faces, np.arange(8) % 2, None, np.ones((2, 15)))
    with pytest.raises(ZeroDivisionError):
        train_member(run, member, data, None, ignore_events)
    assert {path.name for path in folder.glob("*.npz")} == kept
    assert is_finished(run, member) == bool(kept)
