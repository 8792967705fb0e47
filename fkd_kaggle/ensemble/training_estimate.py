"""Before a training: which members fit the time limit on this machine, and how long it takes.

Trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import face_counts
from fkd_kaggle.ensemble.run_times import MachineTimes
from fkd_kaggle.ensemble.time_plan import (
    TimePlan,
    Times,
    error_after_all_epochs,
    expected_error,
    full_seconds,
    minimum_seconds,
    plan_time,
)
from fkd_kaggle.errors import DataError
from fkd_kaggle.recipes import loading
from fkd_kaggle.recipes.plans import Member, Plan, TrainingOptions, make_plan
from fkd_kaggle.recipes.schema import Ensemble, EnsembleMember, Recipe
from fkd_kaggle.runs import speeds
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.workers.calibration import REFERENCE_CORE, measure_core, speed_estimator

_MEASURED_FACES: Final = (2930, 1094, 1024)
"""Faces on which the recipes' ``reached`` was measured, four fifths of the stand-in, as arguments
of ``face_counts.make_labels``."""

_MEASURED_FOLDS: Final = 10
"""Number of folds with which ``reached`` was measured."""


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
    """Duration of all members of the plan, those that are trained already included, with all epochs
    of their recipes at the speed of the machine now; the plan's own time limit is not considered.
    """
    minimum: float
    """Shortest useful time limit on this machine if no other program uses it; 0 with nothing to
    train."""
    machine: MachineTimes
    times: Times
    """What the durations depend on, with the load by other programs now."""
    workers: int | None
    """Number of workers that was asked for; None for the default, 0 to train one member after the
    other in the command's own process."""
    labels: Faces
    """All training faces, without images."""


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
        Number of members trained at the same time. Default: one for each GPU or core; 0 to train
        one after the other in the command's own process.
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
    labels = face_counts.read_labels(data_dir)
    faces = face_counts.face_counter(plan.ensemble, labels)
    now = machine.times(plan.members, faces, workers)
    idle = machine.times(plan.members, faces, workers, idle=True)
    # A resumed run may lack a less important recipe on the first fold.
    order = [line.recipe.name for line in plan.ensemble.members]
    ranked = sorted(todo, key=lambda member: order.index(member.recipe.name))
    chosen = plan_time(ranked, limit, now)
    members = tuple(member for member in todo if member in chosen.members)
    return TrainingEstimate(
        todo=tuple(todo),
        limit=limit,
        plan=replace(chosen, members=members),
        full=full_seconds(plan.members, now),
        minimum=minimum_seconds(ranked, idle) if todo else 0.0,
        machine=machine,
        times=now,
        workers=workers,
        labels=labels,
    )


def fitting_ensembles(estimate: TrainingEstimate, plan: Plan) -> list[str]:
    """Return the other shipped ensembles of which all networks fit the time limit.

    Parameters
    ----------
    estimate
        Estimate for a training; its time limit, workers and data are used.
    plan
        The plan of that training; its ensemble is left out.

    Returns
    -------
    list of str
        Names for ``load_recipe``; empty without a time limit.
    """
    if estimate.limit is None:
        return []
    found = []
    for name in loading.recipe_names():
        if name == plan.ensemble.name:
            continue
        ensemble = loading.load_recipe(name)
        if not isinstance(ensemble, Ensemble) or not ensemble.minutes:
            continue
        members = make_plan(TrainingOptions((name,))).members
        faces = face_counts.face_counter(ensemble, estimate.labels)
        times = estimate.machine.times(members, faces, estimate.workers)
        chosen = plan_time(members, estimate.limit, times)
        if len(chosen.members) == len(members):
            found.append(name)
    return found


def remember_speeds(run: Run, estimate: TrainingEstimate, before: speeds.Histories) -> None:
    """Store how fast this machine has trained members of a run, for later estimates.

    Members that were trained elsewhere or earlier are left out. Without a new epoch nothing is
    measured or stored.

    Parameters
    ----------
    run
        The run after the training.
    estimate
        The estimate for the training.
    before
        The histories of the run before the training, from ``runs.history.read_histories``.
    """
    measured = speeds.measured_speeds(run, before)
    if not measured:
        return
    machine = estimate.machine
    # Other programs may have started or ended during the training.
    core = (machine.core + measure_core()) / 2
    # The part of a core that each worker had.
    core /= estimate.times.slowdown(len(estimate.plan.members))
    found = speeds.RememberedSpeeds(machine.name, core, measured)
    speeds.remember_speeds(run, found, gpus=len(machine.machine.gpus))


@dataclass(frozen=True)
class TimedResult:
    """What a recipe or an ensemble reaches in a time on this machine."""

    rmse: float | None
    """Estimate in pixels; None if no result of the recipe is known, or the time is too short."""
    minimum: float
    """Shortest useful time limit in seconds, with the load by other programs now."""
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
        Folder of the competition's files. Without them the original's faces are assumed.
    runs_dir
        Folder of the runs, which remember speeds.
    """
    machine = MachineTimes.measure(runs_dir)
    try:
        labels = face_counts.read_labels(data_dir)
    except DataError:
        labels = face_counts.original_labels()
    results = {}
    for name in names:
        plan = make_plan(TrainingOptions((name,)))
        faces = face_counts.face_counter(plan.ensemble, labels)
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
    alone = Ensemble(recipe.name, (EnsembleMember(recipe),), folds=_MEASURED_FOLDS)
    labels = face_counts.make_labels(*_MEASURED_FACES)
    faces = max(face_counts.count_faces(recipe, alone, labels), recipe.batch_size)
    epochs = 60 * minutes * speed / faces
    return error_after_all_epochs(rmse, epochs / recipe.epochs)
