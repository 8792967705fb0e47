"""Runs with untrained networks: what is exported need not be good, only the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import write_competition

from fkd_kaggle.data import dataset
from fkd_kaggle.ensemble import fitting
from fkd_kaggle.ensemble.correction_inputs import labelled_points
from fkd_kaggle.ensemble.member_predictions import recipe_names
from fkd_kaggle.ensemble.stacking import Correction, Stack
from fkd_kaggle.keypoints import NUM_KEYPOINTS
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs.folder import Run, load_folds
from fkd_kaggle.runs.members import weights_path
from fkd_kaggle.runs.predictions import store_blend

MakeRun = Callable[..., Run]
"""(recipes, blend) → a run with random weights."""


@pytest.fixture(scope="session")
def faces_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small competition."""
    folder = tmp_path_factory.mktemp("export") / "data"
    write_competition(folder)
    return folder


@pytest.fixture
def make_run(faces_dir: Path, tmp_path: Path) -> MakeRun:
    """A function that makes a blended run of untrained networks with random weights."""

    def make(recipes: Sequence[str], blend: str = "simplex", folds: int = 2) -> Run:
        plan = make_plan(TrainingOptions(tuple(recipes), folds=folds, precision="float32"))
        run = fitting.start_run(tmp_path / "runs", "tiny", plan, faces_dir)
        load_folds(run, dataset.read_training(faces_dir))
        backend.start_keras("float32")
        from fkd_kaggle.training.network import build_network

        random = np.random.default_rng(0)
        for member in run.plan.members:
            network = build_network(member.recipe)
            for weight in network.weights:
                if "mean_face" in weight.path or "seed" in weight.path:
                    continue
                value = np.asarray(weight)
                scale = 0.1 if value.std() == 0 else 0.1 * value.std()
                new = value + random.normal(0, scale, value.shape)
                weight.assign(np.abs(new) + 0.1 if "variance" in weight.path else new)
            path = weights_path(run.member_folder(member.name))
            path.parent.mkdir(parents=True, exist_ok=True)
            network.save_weights(path)
        names = recipe_names(run.plan.members)
        store_blend(run, names, _random_stack(run, names, blend, random).arrays())
        return run

    return make


def _random_stack(run: Run, names: list[str], blend: str, random: np.random.Generator) -> Stack:
    """Return a blend with random weights and, unless "simplex", random corrections."""
    weights = random.random((2, NUM_KEYPOINTS, len(names)))
    weights /= weights.sum(-1, keepdims=True)
    if blend == "simplex":
        return Stack(weights, (None, None))
    corrections = []
    for annotator in (0, 1):
        used = np.zeros((len(names), NUM_KEYPOINTS), bool)
        for member in run.plan.members:
            if member.recipe.rows in ("all", ("complete", "partial")[annotator]):
                for outputs in member.recipe.outputs():
                    used[names.index(member.recipe.name), list(outputs)] = True
        points = labelled_points(annotator)
        if blend == "stack":
            used[:, np.setdiff1d(np.arange(NUM_KEYPOINTS), points)] = False
        count = 2 * int(used.sum())
        features = count
        if blend == "stack":
            features += sum(n * (n - 1) // 2 for n in 2 * used.sum(1))
        corrections.append(
            Correction(
                used,
                random.normal(48, 5, count),
                random.uniform(2, 4, count),
                random.normal(0, 1 / features, (features, 2 * len(points))),
                random.normal(0, 1, 2 * len(points)),
                points,
                np.array(1.0),
            )
        )
    return Stack(weights, tuple(corrections))
