"""Runs with stored predictions, for the report: nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fkd_kaggle.data import archive, dataset, metrics
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import run_blend
from fkd_kaggle.practice import synthetic_dataset
from fkd_kaggle.recipes import plans
from fkd_kaggle.runs.folder import Run, load_folds
from fkd_kaggle.runs.history import write_history
from fkd_kaggle.runs.members import Progress, weights_path, write_progress
from fkd_kaggle.runs.predictions import store_out_of_fold, store_test_predictions

RECIPES = ("heatmap-small", "deep15")


def make_data(folder: Path, *, training: int, test: int) -> Path:
    """Write the competition's files for synthetic faces below ``folder``; return their folder."""
    zipped, _ = synthetic_dataset.write_competition(folder, training=training, test=test, seed=3)
    archive.unpack(zipped, folder / "data")
    return folder / "data"


def make_run(
    data_dir: Path, runs_dir: Path, name: str, noise: float, seed: int = 0, *, seeds: int = 1
) -> Run:
    """Create a blended run whose predictions are the labels with noise.

    Parameters
    ----------
    data_dir
        Folder of the data set.
    runs_dir
        Folder of the runs.
    name
        Name of the run.
    noise
        Standard deviation of the first recipe's errors in pixels; the second recipe's is twice as
        large.
    seed
        Random seed of the errors.
    seeds
        Number of networks of each recipe on each fold.
    """
    plan = plans.make_plan(plans.TrainingOptions(RECIPES, folds=2, time_limit=60.0))
    recipes = tuple(replace(one, seeds=seeds) for one in plan.ensemble.members)
    plan = replace(plan, ensemble=replace(plan.ensemble, members=recipes))
    run = Run.create(runs_dir, name, plan, dataset.fingerprint(data_dir))
    training = dataset.read_training(data_dir)
    found = dataset.read_test_if_present(data_dir)
    assert found is not None
    random = np.random.default_rng(seed)
    middle = metrics.masked_means(training.keypoints, 0)
    truth = np.where(np.isnan(training.keypoints), middle, training.keypoints)
    held_out = load_folds(run, training)
    # Some faces are more difficult than others, for all members.
    difficulty = random.gamma(4, 0.25, (len(truth), 1, 1))
    for member in run.plan.members:
        rows = np.flatnonzero(held_out == member.fold)
        size = noise * (1 + RECIPES.index(member.recipe.name))
        errors = difficulty[rows] * random.normal(0, size, (len(rows), 15, 2))
        folder = run.member_folder(member.name)
        folder.mkdir(parents=True)
        weights_path(folder).write_bytes(b"")
        disagreement = np.sqrt(np.square(errors).mean((1, 2))).astype(np.float32)
        predictions = (truth[rows] + errors).astype(np.float32)
        store_out_of_fold(run, member, training.ids[rows], predictions, disagreement)
        _store_test(run, member, found, middle, size, random)
        write_progress(folder, Progress(2, 3.5, size, 2, 0.001, "finished"))
        epochs = [
            {
                "epoch": number,
                "loss": 3 / number,
                "rmse": size + 1 / number,
                "learning_rate": 0.001,
                "images_per_second": 300,
                "seconds": 1.5 * number,
                "images": 75 * number,
            }
            for number in (1, 2)
        ]
        write_history(folder, epochs)
    run_blend.blend_run(run, data_dir, status="finished")
    return run


def _store_test(
    run: Run,
    member: plans.Member,
    found: tuple[Faces, np.ndarray],
    middle: np.ndarray,
    size: float,
    random: np.random.Generator,
) -> None:
    """Store predictions for the test faces."""
    test, annotators = found
    errors = random.normal(0, size, (len(test.ids), 15, 2))
    store_test_predictions(run, member, test, annotators, (middle + errors).astype(np.float32))
