"""Before a training: which members fit the time limit on this machine, and how long it takes.

Trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fkd_kaggle.ensemble.run_times import MachineTimes, training_faces
from fkd_kaggle.ensemble.time_plan import (
    TimePlan,
    error_after_all_epochs,
    expected_error,
    full_seconds,
    minimum_seconds,
    plan_time,
)
from fkd_kaggle.errors import DataError
from fkd_kaggle.recipes import loading
from fkd_kaggle.recipes.plans import Member, Plan, TrainingOptions, make_plan
from fkd_kaggle.recipes.schema import Ensemble, Recipe
from fkd_kaggle.runs import speeds
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.workers.calibration import REFERENCE_CORE, measure_core, speed_estimator

_ORIGINAL_FACES = 6344
"""Nine tenths of the faces of the original competition."""


_MEASURED_FACES = 2637
"""Training faces of the networks in ``reached``: nine tenths of four fifths of the stand-in."""


@dataclass(frozen=True)
class TrainingEstimate:
    """Which members of a plan are trained in a time limit on this machine, and how long it takes.

    Durations are in seconds.
    """

    todo: tuple[Member, ...]
    """The members that are not trained yet."""
    limit: float | None
    """The time limit; None for all epochs."""
    plan: TimePlan
    """The members that fit."""
    full: float
    """Duration of the whole plan: its own time limit, or with all epochs of its recipes."""
    minimum: float
    """Shortest useful time limit on this machine when it is idle."""
    machine: MachineTimes
    faces: int
    """Number of faces that each member is trained on."""


def estimate_training(
    plan: Plan,
    todo: Sequence[Member],
    data_dir: Path,
    runs_dir: Path,
    *,
    time_limit: float | None = None,
    workers: int | None = None,
    cluster: str | None = None,
) -> TrainingEstimate:
    """Choose the members that fit a time limit and estimate durations; trains nothing.

    Parameters
    ----------
    plan
        The plan of the run.
    todo
        Its members that are not trained yet.
    data_dir
        Folder of the competition's files.
    runs_dir
        Folder of the runs, which remember speeds.
    time_limit
        Seconds. Default: the plan's own limit.
    workers
        Number of members trained at the same time. Default: as for ``train``.
    cluster
        Address of a Ray cluster to train on, see ``workers.ray_connection.connect``; the connection
        is kept for the training. Default: this machine.

    Raises
    ------
    DataError
        training.csv is missing or invalid.
    FkdError
        The cluster cannot be used.
    """
    limit = plan.time_limit if time_limit is None else time_limit
    machine = MachineTimes.measure(runs_dir, cluster)
    faces = training_faces(data_dir, todo, plan.ensemble.folds)
    now = machine.times(todo, faces, workers)
    idle = machine.times(todo, faces, workers, idle=True)
    own = plan.ensemble.minutes * 60
    return TrainingEstimate(
        tuple(todo),
        limit,
        plan_time(todo, limit, now),
        own or full_seconds(todo, now),
        minimum_seconds(todo, idle) if todo else 0.0,
        machine,
        faces,
    )


def fitting_ensembles(estimate: TrainingEstimate, plan: Plan) -> list[str]:
    """Return the shipped ensembles of which all networks fit the time limit, but not ``plan``'s."""
    limit, found = estimate.limit, []
    for name in loading.recipe_names():
        if limit is None or name == plan.ensemble.name:
            continue
        ensemble = loading.load_recipe(name)
        if not isinstance(ensemble, Ensemble) or not ensemble.minutes:
            continue
        members = make_plan(TrainingOptions((name,))).members
        chosen = plan_time(members, limit, estimate.machine.times(members, estimate.faces))
        if len(chosen.members) == len(members):
            found.append(name)
    return found


def remember_speeds(run: Run, estimate: TrainingEstimate) -> None:
    """Store how fast this machine has trained the members of a run, for later estimates."""
    # Other programs may have started or ended during the training.
    core = (estimate.machine.core + measure_core()) / 2
    speeds.remember_speeds(run, estimate.machine.name, core)


@dataclass(frozen=True)
class TimedResult:
    """What a recipe or an ensemble reaches in a time on this machine."""

    rmse: float | None
    """Estimate in pixels; None if no result of the recipe is known, or the time is too short."""
    minimum: float
    """Shortest useful time limit in seconds."""
    members: int
    """Number of networks that are trained in the time."""
    epochs: float
    """Epochs of the most important recipe."""
    is_possible: bool
    """Whether the time is enough for a useful network."""

    @property
    def rank(self) -> tuple[bool, bool, float, float]:
        """Return a key that sorts the best result first, then unknown ones, then impossible."""
        unknown = self.rmse is None
        return (not self.is_possible, unknown, self.rmse or 0.0, self.minimum)


def estimate_results(
    names: Sequence[str], limit: float, data_dir: Path, runs_dir: Path
) -> dict[str, TimedResult]:
    """Estimate what recipes and ensembles reach in a time limit on this machine.

    Parameters
    ----------
    names
        Names for ``load_recipe``.
    limit
        Seconds.
    data_dir
        Folder of the competition's files. Without them the original's number of faces is assumed.
    runs_dir
        Folder of the runs, which remember speeds.
    """
    machine = MachineTimes.measure(runs_dir)
    results = {}
    for name in names:
        plan = make_plan(TrainingOptions((name,)))
        try:
            faces = training_faces(data_dir, plan.members, plan.ensemble.folds)
        except DataError:
            faces = _ORIGINAL_FACES
        times = machine.times(plan.members, faces)
        chosen = plan_time(plan.members, limit, times)
        minimum = minimum_seconds(plan.members, times)
        recipe = chosen.members[0].recipe
        possible = limit >= minimum
        count = sum(member.recipe.name == recipe.name for member in chosen.members)
        full = _full_error(recipe) if possible else None
        results[name] = TimedResult(
            None if full is None else expected_error(chosen.fraction, count, full),
            minimum,
            len(chosen.members),
            chosen.fraction * recipe.epochs,
            possible,
        )
    return results


def _full_error(recipe: Recipe) -> float | None:
    """Return the estimated RMSE of one network after all epochs; None if it was not measured.

    ``reached`` is from a training of some minutes, which are not enough for all epochs of a slow
    recipe.
    """
    shipped = recipe.name in loading.recipe_names()
    reached = (loading.load_recipe(recipe.name) if shipped else recipe).reached
    if "rmse" not in reached or "keypoints" in reached:
        return None  # an error on a part of the face says little about a whole submission
    rmse, minutes = float(reached["rmse"]), float(reached.get("minutes", math.inf))
    speed = speed_estimator([], REFERENCE_CORE, gpus=0)(recipe)
    epochs = 60 * minutes * speed / _MEASURED_FACES
    return error_after_all_epochs(rmse, epochs / recipe.epochs)
