"""An ensemble: members trained fold by fold, blended out of fold, averaged at prediction.

Conducts ``training``, ``blend`` and the run folder. Knows how time is shared between members and
what to do when it runs out or somebody presses Ctrl-C.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import dataset, metrics
from fkd_kaggle.data.dataset import count_queries
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import blending, stacking
from fkd_kaggle.ensemble.expected_score import expected_rmse
from fkd_kaggle.ensemble.member_predictions import (
    predict_with_members,
    recipe_names,
    usable_members,
)
from fkd_kaggle.keypoints import COMPLETE, PARTIAL
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member, Plan
from fkd_kaggle.runs.folder import Run, load_folds
from fkd_kaggle.runs.members import is_finished
from fkd_kaggle.runs.predictions import load_out_of_fold, store_out_of_fold
from fkd_kaggle.runs.scores import Scores
from fkd_kaggle.training import published_metrics
from fkd_kaggle.training.events import (
    EnsembleEnded,
    EnsembleStarted,
    OnEvent,
    ignore_events,
    serialize_events,
)
from fkd_kaggle.training.member import read_training_data, train_member
from fkd_kaggle.workers.schedule import Hire, MemberTrainer, WorkerPool, train_members

_RESERVE = 0.02
"""Share of a time limit kept back for the blend."""


def start_run(runs_dir: Path, name: str | None, plan: Plan, data_dir: Path) -> Run:
    """Make the run folder for a plan on a data set."""
    return Run.create(runs_dir, name, plan, dataset.fingerprint(data_dir))


def train_run(
    run: Run,
    data_dir: Path,
    *,
    time_limit: float | None = None,
    only: Collection[str] | None = None,
    on_event: OnEvent = ignore_events,
    tensorboard: bool = False,
    hire: Hire | None = None,
) -> Scores:
    """Train the run's members that are not finished yet, then blend.

    Parameters
    ----------
    time_limit
        Seconds for this call; the plan's own limit when None.
    only
        Names of the members to train, for a shard; the blend is then left to ``finish``.
    hire
        Starts what trains several members at once; None to train one after the other, here.

    Returns
    -------
    The cross-validated scores. After Ctrl-C they are those of what is usable.

    Raises
    ------
    RunError
        The run was made on other data, or interrupted before anything usable was trained.
    """
    began = time.monotonic()
    material = read_training_data(run, data_dir)
    plan = run.plan
    members = [member for member in plan.members if only is None or member.name in only]
    limit = time_limit if time_limit is not None else plan.time_limit
    run = run.update(status="training")
    todo = [member for member in members if not is_finished(run, member)]
    tell = serialize_events(on_event)

    @contextmanager
    def alone(tell: OnEvent) -> Iterator[WorkerPool[MemberTrainer]]:
        def trainer(member: Member, budget: float | None) -> float:
            return train_member(run, member, material, budget, tell, tensorboard)

        policy = backend.start_keras(plan.precision)
        from fkd_kaggle.training import network

        network.check_networks(member.recipe for member in todo)
        yield WorkerPool([trainer], policy)

    with (hire or alone)(tell) as crew:
        tell(
            EnsembleStarted(
                run.name, tuple(member.name for member in members), len(members) - len(todo),
                len(material.training.images), crew.precision, limit,
            )
        )  # fmt: skip
        end = None if limit is None else began + limit * (1 - _RESERVE)
        late = None if limit is None else began + limit
        stopped = train_members(todo, crew, end, tell, late=late)
    if only is not None:
        run.update(status=stopped)
        return Scores(None, None, None, None, {})
    scores = blend_run(run, data_dir, status=stopped)
    finished = sum(is_finished(run, member) for member in members)
    tell(EnsembleEnded(scores, finished, len(members), time.monotonic() - began, stopped))
    return scores


def blend_run(run: Run, data_dir: Path, *, status: str = "finished", expect: bool = True) -> Scores:
    """Fit the blend on the members that are there and write the run's scores.

    Parameters
    ----------
    expect
        Whether to estimate the leaderboard's score, for which the test faces are predicted.

    Raises
    ------
    RunError
        No member is usable yet.
    """
    training_faces = dataset.read_training(data_dir)
    members = usable_members(run)
    recipes = recipe_names(members)
    for member in members:
        if not (run.member(member.name) / "out_of_fold.npz").exists():
            _predict_held_out(run, member, training_faces, load_folds(run, training_faces))
    stacked = np.stack(
        [load_out_of_fold(run, members, recipe, len(training_faces.images)) for recipe in recipes]
    )
    labels, annotators = training_faces.keypoints, training_faces.annotators
    blended, mixed = stacking.fit_by_name(run.plan.ensemble.blend, stacked, training_faces)
    kept: dict[str, Any] = {"recipes": np.array(recipes), **blended.arrays()}
    with files.atomic_path(run.path / "blend.npz") as path:
        np.savez(path, **kept)
    with files.atomic_path(run.path / "out_of_fold.npz") as path:
        np.savez_compressed(path, predictions=mixed, ids=training_faces.ids)
    query_counts = count_queries(data_dir, training_faces)
    alone = {
        recipe: metrics.combined_rmse(one, labels, annotators, query_counts)
        for recipe, one in zip(recipes, stacked, strict=True)
    }
    scores = Scores(
        complete=metrics.rmse(mixed, labels, annotators == COMPLETE),
        partial=metrics.rmse(mixed, labels, annotators == PARTIAL),
        combined=metrics.combined_rmse(mixed, labels, annotators, query_counts),
        expected=None,
        by_member={name: value for name, value in alone.items() if value is not None},
        own=published_metrics.collect_published_metrics(
            run, members, dict(zip(recipes, stacked, strict=True)), labels
        ),
    )
    run = run.update(status=status, scores=scores)
    if expect:
        expected = expected_rmse(run, data_dir, members, recipes, blended.weights, query_counts)
        plain = blending.apply_weights(stacked, blended.weights, annotators)
        simplex = metrics.combined_rmse(plain, labels, annotators, query_counts)
        if expected is not None and simplex is not None and scores.combined is not None:
            # What a stack gains on held-out faces it is taken to gain on averaged networks too.
            square = expected**2 + scores.combined**2 - simplex**2
            expected = float(np.sqrt(max(square, 0.0)))
        scores = replace(scores, expected=expected)
        run.update(scores=scores)
    return scores


def _predict_held_out(
    run: Run, member: Member, training_faces: Faces, held_out: np.ndarray
) -> None:
    rows = np.nonzero(held_out == member.fold)[0]
    validation = training_faces.take(rows)
    predictions = predict_with_members(run, [member], validation, validation.annotators)[0]
    store_out_of_fold(run, member, validation.ids, predictions)
