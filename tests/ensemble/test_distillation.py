"""Distillation: what is refused before the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fkd_kaggle.ensemble.distillation import open_or_start, train_distilled
from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs.folder import Run, write_folds
from fkd_kaggle.runs.lock import lock_run


@pytest.fixture
def teacher(tmp_path: Path) -> Run:
    run = Run.create(tmp_path, "teacher", make_plan(TrainingOptions(("smoke",))), "0" * 32)
    write_folds(run.path, np.arange(6) % 2)
    return run


def test_a_distillation_is_trained_by_one_process(teacher: Run, tmp_path: Path) -> None:
    run = open_or_start(teacher, None, epochs=1, time_limit=None)
    with lock_run(run.path), pytest.raises(RunError, match="is being trained by process"):
        train_distilled(run, teacher, tmp_path)


def test_an_ensemble_cannot_be_the_recipe_of_a_distillation(teacher: Run) -> None:
    with pytest.raises(RecipeError, match="quick is an ensemble"):
        open_or_start(teacher, "quick", epochs=None, time_limit=None)
