"""Fitting an ensemble: train the members of a run, blend them and compute the run's scores.

Training itself is in ``training.member`` and the distribution of members and time in ``workers``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fkd_kaggle import user_code
from fkd_kaggle.data import dataset
from fkd_kaggle.ensemble.run_blend import blend_run
from fkd_kaggle.errors import FkdError, RunError, TrainingFailedError
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member, Plan
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.lock import lock_run
from fkd_kaggle.runs.members import is_finished, is_usable, store_failures
from fkd_kaggle.runs.scores import NO_SCORES, Scores
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


def start_run(
    runs_dir: Path,
    name: str | None,
    plan: Plan,
    data_dir: Path,
    *,
    prepare: Callable[[Run], None] | None = None,
) -> Run:
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
    prepare
        Writes further files into the folder before it counts as a run; see ``Run.create``.

    Raises
    ------
    DataError
        training.csv is missing.
    RunError
        A run of this name exists, or the name is not valid for a folder.
    """
    return Run.create(runs_dir, name, plan, dataset.fingerprint(data_dir), prepare=prepare)


def train_run(
    run: Run,
    data_dir: Path,
    *,
    time_limit: float | None = None,
    only: Collection[str] | None = None,
    chosen: Collection[str] | None = None,
    on_event: OnEvent = ignore_events,
    tensorboard: bool = False,
    start_workers: StartPool | None = None,
    began: float | None = None,
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
    chosen
        Names of the members that fit the time limit; the others can be trained later. Default: all
        members.
    on_event
        Called with each event of the training.
    tensorboard
        Whether to write logs for TensorBoard.
    start_workers
        Starts workers that train several members at the same time. Default: members are trained
        one after the other in this process.
    began
        ``time.monotonic()`` from which the time limit counts. Default: now.

    Returns
    -------
    Scores
        The cross-validated scores. ``NO_SCORES`` with ``only`` and after Ctrl-C: blending can take
        longer than a user waits, and ``ensemble.prediction`` blends the run when it is needed.

    Raises
    ------
    DataError
        The files of the data set are missing or invalid.
    RunError
        The run was created on other data, another process trains it, or the time limit ended
        before any member was finished.
    TrainingFailedError
        All members failed.
    RecipeError
        A network cannot be built, or the code of a recipe is not trusted.
    KeyboardInterrupt
        Interrupted before or after the training, for example during the blend; the same call
        continues.
    """
    began = time.monotonic() if began is None else began
    with lock_run(run.path):
        data = read_training_data(run, data_dir)
        members = [member for member in run.plan.members if only is None or member.name in only]
        for member in members:
            user_code.require_trust(member.recipe.code, f"run {run.name}")
        run.update(status="training")
        limit = time_limit if time_limit is not None else run.plan.time_limit
        try:
            todo = [
                member
                for member in members
                if not is_finished(run, member) and (chosen is None or member.name in chosen)
            ]
            outcome = _train_members(
                run, members, todo, data, limit, began, on_event, tensorboard, start_workers
            )
            if only is not None or outcome.status == "interrupted":
                run.update(status=outcome.status)
                return NO_SCORES
            # Predictions of unfinished members take longer than a time limit allows.
            needed = is_usable if limit is None else is_finished
            if not any(needed(run, member) for member in members):
                run.update(status=outcome.status)
                is_any_usable = any(is_usable(run, member) for member in members)
                raise _nothing_trained(run, outcome, is_any_usable)
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
    todo: Sequence[Member],
    data: TrainingData,
    limit: float | None,
    limit_began: float,
    on_event: OnEvent,
    tensorboard: bool,
    start_workers: StartPool | None,
) -> Outcome:
    """Train the members in ``todo``; time is left for the blend and the report."""
    faces = len(data.training.images)
    if not todo:
        on_event(_started_event(run, members, 0, faces, run.plan.precision, limit))
        return Outcome("finished", {}, 0)
    start = start_workers or _in_process_pool(run, todo, data, tensorboard)
    tasks = [Task(member.name, run.path, member) for member in todo]
    began = time.monotonic()
    with start() as pool:
        # What takes long at the start takes long for each member, the blend and the report as well.
        start_seconds = time.monotonic() - began - pool.waited
        overhead = max(8.0, start_seconds)
        reserved = _reserved_seconds(limit or 0.0, start_seconds)
        end = latest = None
        if limit is not None:
            end = limit_began + limit - reserved
            # Predictions that take longer than planned may use the time of the report.
            latest = limit_began + limit - min(2.0 + 0.3 * start_seconds, 0.1 * limit)
        planned = [one for one in members if one in todo or is_finished(run, one)]
        on_event(_started_event(run, planned, len(todo), faces, pool.precision, limit))
        outcome = train_members(
            tasks,
            pool,
            lambda _, event: on_event(event),
            end=end,
            latest=latest,
            overhead=overhead,
        )
    store_failures(run, outcome.failures)
    if outcome.status == "finished" and not all(is_finished(run, one) for one in members):
        return replace(outcome, status="time limit")  # only some members were chosen
    return outcome


def _reserved_seconds(limit: float, start_seconds: float) -> float:
    """Return the seconds of a time limit that are reserved for the blend and the report.

    The report takes about as long as the start of Keras, and the blend less (measured on 2 cores:
    8, 7 and 2 s of processor time).
    """
    return min(3.0 + 1.5 * start_seconds + 0.02 * limit, 0.35 * limit)


def _nothing_trained(run: Run, outcome: Outcome, is_any_usable: bool) -> FkdError:
    """Return the error of a training that left no member to blend.

    ``is_any_usable`` says whether an unfinished member has weights, which ``predict`` can use.
    """
    if outcome.failures:
        names = ", ".join(outcome.failures)
        first = next(iter(outcome.failures.values()))
        return TrainingFailedError(f"no network could be trained ({names}): {first}")
    predict = f"; `fkd-kaggle predict {run.name}` uses the epochs so far" if is_any_usable else ""
    return RunError(
        f"no network of run {run.name} was finished in the time limit: continue with "
        f"`fkd-kaggle train-ensemble --resume {run.name} --time-limit 10m`{predict}"
    )


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
