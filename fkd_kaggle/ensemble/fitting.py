"""Fitting an ensemble: train the members of a run, blend them and compute the run's scores.

Training itself is in ``training.member`` and the distribution of members and time in ``workers``.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from fkd_kaggle import user_code
from fkd_kaggle.data import corrections, dataset, metrics
from fkd_kaggle.data.dataset import count_queries
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import blending, stacking
from fkd_kaggle.ensemble.expected_score import expected_rmse
from fkd_kaggle.ensemble.member_predictions import (
    predict_with_members,
    recipe_names,
    usable_members,
)
from fkd_kaggle.errors import FkdError, RunError, TrainingFailedError
from fkd_kaggle.keypoints import COMPLETE, PARTIAL
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member, Plan
from fkd_kaggle.runs.corrections import load_run_corrections
from fkd_kaggle.runs.folder import Run, load_folds
from fkd_kaggle.runs.lock import lock_run
from fkd_kaggle.runs.members import is_finished, is_usable, store_failures
from fkd_kaggle.runs.predictions import (
    has_out_of_fold,
    load_out_of_fold,
    store_blend,
    store_blended_out_of_fold,
    store_out_of_fold,
)
from fkd_kaggle.runs.scores import NO_SCORES, Scores
from fkd_kaggle.training import published_metrics
from fkd_kaggle.training.events import (
    EnsembleEnded,
    EnsembleStarted,
    OnEvent,
    ignore_events,
)
from fkd_kaggle.training.member import TrainingData, read_training_data, train_member
from fkd_kaggle.workers.in_process import InProcessPool
from fkd_kaggle.workers.pool import StartPool, Task
from fkd_kaggle.workers.schedule import Outcome, train_members

_RESERVED_SECONDS = 5.0
_RESERVED_FRACTION = 0.03
"""Part of a time limit that is reserved for the blend and the report."""


def start_run(runs_dir: Path, name: str | None, plan: Plan, data_dir: Path) -> Run:
    """Create the run folder for a plan on a data set.

    Parameters
    ----------
    runs_dir
        Folder of the runs.
    name
        Name of the run. Default: the ensemble's name and the first free number.
    plan
        Plan of the run: members, folds, seed and precision.
    data_dir
        Folder of the data set.

    Raises
    ------
    DataError
        training.csv is missing.
    RunError
        A run of this name exists, or the name is not valid for a folder.
    """
    return Run.create(runs_dir, name, plan, dataset.fingerprint(data_dir))


def train_run(
    run: Run,
    data_dir: Path,
    *,
    time_limit: float | None = None,
    only: Collection[str] | None = None,
    on_event: OnEvent = ignore_events,
    tensorboard: bool = False,
    start_workers: StartPool | None = None,
) -> Scores:
    """Train the members that are not finished, then blend.

    Parameters
    ----------
    run
        The run.
    data_dir
        Folder of the data set that the run was created on.
    time_limit
        Seconds for this call, blend included. Default: the time limit of the plan.
    only
        Names of the members of a shard; a shard is trained and not blended. Default: all members.
    on_event
        Called with each event of the training.
    tensorboard
        Whether to write logs for TensorBoard.
    start_workers
        Starts workers that train several members at the same time. Default: members are trained
        one after the other in this process.

    Returns
    -------
    Scores
        The cross-validated scores. ``NO_SCORES`` with ``only`` and after Ctrl-C: blending can take
        longer than a user waits, and ``ensemble.prediction`` blends the run when it is needed.

    Raises
    ------
    RunError
        The run was created on other data, another process trains it, or the time ended before any
        member was usable.
    TrainingFailedError
        All members failed.
    RecipeError
        A network cannot be built.
    """
    began = time.monotonic()
    with lock_run(run.path):
        data = read_training_data(run, data_dir)
        members = [member for member in run.plan.members if only is None or member.name in only]
        for member in members:
            user_code.require_trust(member.recipe.code, f"run {run.name}")
        run.update(status="training")
        limit = time_limit if time_limit is not None else run.plan.time_limit
        end = None if limit is None else began + limit - _reserved_seconds(limit)
        try:
            outcome = _train_members(
                run, members, data, limit, end, on_event, tensorboard, start_workers
            )
            if only is not None or outcome.status == "interrupted":
                run.update(status=outcome.status)
                return NO_SCORES
            if not any(is_usable(run, member) for member in members):
                run.update(status=outcome.status)
                raise _nothing_trained(run, outcome)
            scores = blend_run(run, data_dir, status=outcome.status, stored_only=True)
        except KeyboardInterrupt:
            run.update(status="interrupted")
            raise
        finished = sum(is_finished(run, member) for member in members)
        seconds = time.monotonic() - began
        on_event(EnsembleEnded(scores, finished, len(members), seconds, outcome.status))
    return scores


def _train_members(
    run: Run,
    members: Sequence[Member],
    data: TrainingData,
    limit: float | None,
    end: float | None,
    on_event: OnEvent,
    tensorboard: bool,
    start_workers: StartPool | None,
) -> Outcome:
    """Train the members that are not finished; the predictions are stored by ``end``."""
    todo = [member for member in members if not is_finished(run, member)]
    faces = len(data.training.images)
    if not todo:
        on_event(_started_event(run, members, 0, faces, run.plan.precision, limit))
        return Outcome("finished", {}, 0)
    start = start_workers or _in_process_pool(run, todo, data, tensorboard)
    tasks = [Task(member.name, run.path, member) for member in todo]
    began = time.monotonic()
    with start() as pool:
        # What takes long at the start takes long for each member as well.
        overhead = max(8.0, time.monotonic() - began)
        on_event(_started_event(run, members, len(todo), faces, pool.precision, limit))
        outcome = train_members(
            tasks, pool, lambda _, event: on_event(event), end=end, overhead=overhead
        )
    store_failures(run, outcome.failures)
    return outcome


def _reserved_seconds(limit: float) -> float:
    """Return the seconds of a time limit that are reserved for the blend and the report."""
    return min(_RESERVED_SECONDS + _RESERVED_FRACTION * limit, 0.3 * limit)


def _nothing_trained(run: Run, outcome: Outcome) -> FkdError:
    """Return the error of a training that left no usable member."""
    if outcome.failures:
        names = ", ".join(outcome.failures)
        first = next(iter(outcome.failures.values()))
        return TrainingFailedError(f"no network could be trained ({names}): {first}")
    return RunError(
        f"run {run.name} has no trained network: the time limit is too short; continue with "
        f"`fkd-kaggle train-ensemble --resume {run.name} --time-limit 10m`"
    )


def blend_run(
    run: Run,
    data_dir: Path,
    *,
    status: str = "finished",
    expect: bool = True,
    stored_only: bool = False,
) -> Scores:
    """Fit the blend on the usable members and store blend, predictions, scores and status.

    Parameters
    ----------
    run
        The run.
    data_dir
        Folder of the data set that the run was created on.
    status
        New status of the run.
    expect
        Whether to estimate the leaderboard score. The estimate needs predictions for the test
        faces.
    stored_only
        Whether to blend only the members whose training and predictions are finished, if there are
        any: then no network is loaded, which takes long.

    Returns
    -------
    Scores
        The cross-validated scores.

    Raises
    ------
    RunError
        No member is usable yet.
    """
    training = dataset.read_training(data_dir)
    found = load_run_corrections(run, training)
    corrected = corrections.apply_corrections(training, found) if found else training
    members = usable_members(run)
    if stored_only:
        members = [member for member in members if is_finished(run, member)] or members
    recipes = recipe_names(members)
    for member in members:
        if not has_out_of_fold(run, member, len(training.images)):
            _predict_held_out(run, member, training, load_folds(run, training))
    stacked = np.stack(
        [load_out_of_fold(run, members, recipe, len(training.images)) for recipe in recipes]
    )
    # The blend is fitted to the corrected labels and scored on those of training.csv, so that the
    # scores of runs with and without corrections can be compared.
    blend, predictions = stacking.fit_by_name(run.plan.ensemble.blend, stacked, corrected)
    store_blend(run, recipes, blend.arrays())
    store_blended_out_of_fold(run, training.ids, predictions)
    query_counts = count_queries(data_dir, training)
    by_recipe = dict(zip(recipes, stacked, strict=True))
    scores = replace(
        _cross_validated_scores(predictions, by_recipe, training, query_counts),
        published_metrics=published_metrics.collect_published_metrics(
            run, members, by_recipe, training.keypoints
        ),
    )
    run.update(status=status, scores=scores)
    if expect:
        expected = expected_rmse(run, data_dir, members, recipes, blend.weights, query_counts)
        plain = blending.apply_weights(stacked, blend.weights, training.annotators)
        simplex = metrics.combined_rmse(
            plain, training.keypoints, training.annotators, query_counts
        )
        if expected is not None and simplex is not None and scores.combined is not None:
            # Assumption: a correction reduces the squared error on test faces by the same amount
            # as on held-out faces.
            square = expected**2 + scores.combined**2 - simplex**2
            expected = float(np.sqrt(max(square, 0.0)))
        scores = replace(scores, expected=expected)
        run.update(scores=scores)
    return scores


def _started_event(
    run: Run,
    members: Sequence[Member],
    unfinished: int,
    faces: int,
    precision: str,
    limit: float | None,
) -> EnsembleStarted:
    """Return the first event of a training; ``limit`` is in seconds."""
    names = tuple(member.name for member in members)
    return EnsembleStarted(run.name, names, len(members) - unfinished, faces, precision, limit)


def _in_process_pool(
    run: Run, members: Sequence[Member], data: TrainingData, tensorboard: bool
) -> StartPool:
    """Return a function that starts a pool with one slot, in this process."""

    @contextmanager
    def start() -> Iterator[InProcessPool]:
        def train(task: Task, on_event: OnEvent) -> float:
            return train_member(
                run,
                task.member,
                data,
                task.budget,
                on_event,
                seconds=task.seconds,
                tensorboard=tensorboard,
            )

        policy = backend.start_keras(run.plan.precision)
        from fkd_kaggle.training import network

        network.check_networks(member.recipe for member in members)
        yield InProcessPool(policy, train)

    return start


def _cross_validated_scores(
    predictions: np.ndarray,
    by_recipe: Mapping[str, np.ndarray],
    training: Faces,
    query_counts: np.ndarray,
) -> Scores:
    """Return the scores of (N, 15, 2) out-of-fold predictions, of the blend and of each recipe."""
    labels, annotators = training.keypoints, training.annotators
    alone = {
        recipe: metrics.combined_rmse(one, labels, annotators, query_counts)
        for recipe, one in by_recipe.items()
    }
    return Scores(
        complete=metrics.rmse(predictions, labels, annotators == COMPLETE),
        partial=metrics.rmse(predictions, labels, annotators == PARTIAL),
        combined=metrics.combined_rmse(predictions, labels, annotators, query_counts),
        expected=None,
        by_member={name: value for name, value in alone.items() if value is not None},
    )


def _predict_held_out(run: Run, member: Member, training: Faces, held_out: np.ndarray) -> None:
    """Predict a member's held-out faces and store the predictions."""
    rows = np.nonzero(held_out == member.fold)[0]
    validation = training.take(rows)
    predictions = predict_with_members(run, [member], validation, validation.annotators)[0]
    store_out_of_fold(run, member, validation.ids, predictions)
