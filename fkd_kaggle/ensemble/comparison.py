"""Comparisons: recipes trained with the same budget on the same folds.

A comparison contains one run for each recipe and seed, so that it can be interrupted, resumed and
extended. The runs of a comparison can be used like other runs. ``ensemble.comparison_results``
measures the runs, ``runs.comparison`` stores the comparison.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.data.folds import assign_folds
from fkd_kaggle.ensemble import run_blend
from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member, Plan, TrainingOptions, make_plan
from fkd_kaggle.runs.comparison import (
    Comparison,
    ComparisonSettings,
    check_same_settings,
    list_comparisons,
    with_recipes,
    write_comparison,
)
from fkd_kaggle.runs.folder import (
    Run,
    check_run_name,
    is_run,
    is_run_name,
    next_run_name,
    read_folds,
    run_name_stem,
    write_folds,
)
from fkd_kaggle.runs.lock import lock_run
from fkd_kaggle.runs.members import is_finished, is_usable, member_progress
from fkd_kaggle.runs.scores import NO_SCORES
from fkd_kaggle.training.events import (
    EnsembleEnded,
    EnsembleStarted,
    Event,
    MemberStarted,
    OnEvent,
    Stopping,
    Waiting,
    ignore_events,
)
from fkd_kaggle.training.member import TrainingData, train_member
from fkd_kaggle.workers.in_process import InProcessPool
from fkd_kaggle.workers.pool import OnTaskEvent, StartRunsPool, Task
from fkd_kaggle.workers.schedule import train_members


def start_comparison(
    runs_dir: Path,
    names: Sequence[str],
    data_dir: Path,
    *,
    budget: float | None,
    epochs: int | None = None,
    seeds: int = 1,
    folds: int | None = None,
    precision: str = "auto",
    workers: int | None = None,
    default_workers: int = 1,
    name: str | None = None,
) -> Comparison:
    """Create a comparison, or find the unfinished one with the same recipes and settings.

    Parameters
    ----------
    runs_dir
        Folder of the runs.
    names
        Recipes and ensembles, or paths of .toml files.
    data_dir
        Folder of the data set.
    budget, epochs
        Seconds and epochs of each training, whichever ends first; None for no limit.
    seeds
        Number of trainings of each recipe that differ in their seed.
    folds
        Number of folds, each held out in turn. Default: five folds, of which one is held out.
    precision
        One of ``recipes.schema.PRECISIONS``.
    workers
        Number of networks trained at the same time. Default: as in the comparison that is resumed,
        ``default_workers`` in a new comparison.
    default_workers
        Number of workers of a new comparison without ``workers``.
    name
        Name of a comparison to resume or extend, or of a new comparison. Default: an
        unfinished comparison with the same recipes and settings, or else ``compare-<number>``.

    Returns
    -------
    Comparison
        The comparison; its compare.json is written.

    Raises
    ------
    RecipeError
        A recipe is unknown, or two recipes have the same name.
    DataError
        There are fewer groups of near-duplicates than folds.
    RunError
        The named comparison was made with other settings or on other data, or the name is not
        valid for a folder.
    """
    settings = ComparisonSettings(
        budget=budget,
        epochs=epochs,
        folds=5 if folds is None else folds,
        held_out=1 if folds is None else folds,
        precision=precision,
        data=dataset.fingerprint(data_dir),
        workers=default_workers if workers is None else workers,
    )
    folder = name or next_run_name(runs_dir, "compare")
    check_run_name(folder)
    new = Comparison(runs_dir / folder, settings, tuple(names), seeds)
    return _resume_or_create(new, data_dir, by_name=name is not None, any_workers=workers is None)


def train_comparison(
    comparison: Comparison,
    data_dir: Path,
    on_event: OnEvent = ignore_events,
    *,
    start_workers: StartRunsPool | None = None,
) -> None:
    """Train all members that are not finished, seed after seed, and blend the runs.

    If a member cannot be trained on this data, an event is sent, the other members are trained,
    and the comparison's status is "failures". After Ctrl-C it is "interrupted", and nothing is
    blended.

    Parameters
    ----------
    comparison
        The comparison.
    data_dir
        Folder of the data set.
    on_event
        Called with each event of the training.
    start_workers
        Starts workers that train several networks at the same time. Default: the networks are
        trained one after the other in this process.

    Raises
    ------
    RunError
        The data or a recipe has changed since the comparison began.
    """
    began = time.monotonic()
    with lock_run(comparison.path):
        data = read_comparison_data(comparison, data_dir)
        runs = [
            run for seed in range(comparison.seeds) for run in _open_runs(comparison, seed, data)
        ]
        members = {
            f"{run.name}/{member.name}": (run, member)
            for run in runs
            for member in run.plan.members
        }
        tasks = [
            Task(title, run.path, member, _member_budget(comparison, run, member))
            for title, (run, member) in members.items()
            if not is_finished(run, member)
        ]
        start = start_workers if start_workers and tasks else _in_process_pool(comparison, data)
        faces = len(data.training.images)
        with start(runs[0].path, len(tasks)) as pool:
            names = tuple(members)
            finished = len(members) - len(tasks)
            on_event(EnsembleStarted(comparison.name, names, finished, faces, pool.precision, None))
            outcome = train_members(tasks, pool, _with_titles(list(members), on_event))
        if outcome.status != "interrupted":
            trained = {task.run for task in tasks}
            for run in runs:
                if run.path in trained or run.status != "finished":
                    _blend_if_usable(run, data_dir, outcome.status)
        write_comparison(comparison, outcome.status)
        finished = sum(is_finished(*one) for one in members.values())
        seconds = time.monotonic() - began
        on_event(EnsembleEnded(NO_SCORES, finished, len(members), seconds, outcome.status))


def _with_titles(titles: Sequence[str], on_event: OnEvent) -> OnTaskEvent:
    """Return a callback that passes on events with the members' names in the comparison."""

    def notify(task: Task, event: Event) -> None:
        if isinstance(event, MemberStarted):
            event = replace(event, position=titles.index(task.title))
        if not isinstance(event, EnsembleStarted | EnsembleEnded | Stopping | Waiting):
            event = replace(event, member=task.title)
        on_event(event)

    return notify


def _resume_or_create(
    new: Comparison, data_dir: Path, *, by_name: bool, any_workers: bool
) -> Comparison:
    """Return the stored comparison that ``new`` resumes or extends, or ``new``; write changes."""
    _make_plans(new, 0)  # checks the recipes before anything is written
    stored = _find_comparison(new, by_name=by_name, any_workers=any_workers)
    if stored is None and new.path.exists():
        raise RunError(f"{new.path} exists and is no comparison: choose another --name")
    if stored is not None and not by_name:
        return stored
    comparison = new if stored is None else with_recipes(stored, new.names, new.seeds)
    _make_plans(comparison, 0)
    # Too few groups of faces are refused before anything is written.
    held_out = None if stored is not None else _assign_folds(new, dataset.read_training(data_dir))
    write_comparison(comparison, "new")
    if held_out is not None:
        write_folds(comparison.path, held_out)
    return comparison


def _assign_folds(comparison: Comparison, training: Faces) -> np.ndarray:
    """Return (N,) int64, the fold in which each training face is held out."""
    return assign_folds(training, comparison.settings.folds, 0)


def _find_comparison(new: Comparison, *, by_name: bool, any_workers: bool) -> Comparison | None:
    """Return the comparison of the same name, or an unfinished one that equals ``new``.

    Raises
    ------
    RunError
        The comparison of the same name has other settings.
    """
    for stored in list_comparisons(new.path.parent):
        settings = new.settings
        if any_workers:
            settings = replace(settings, workers=stored.settings.workers)
        if by_name and stored.name == new.name:
            check_same_settings(stored, settings)
            return stored
        same = (stored.settings, stored.names, stored.seeds) == (settings, new.names, new.seeds)
        if not by_name and same and stored.status != "finished":
            return stored
    return None


def _in_process_pool(comparison: Comparison, data: TrainingData) -> StartRunsPool:
    """Return a function that starts a pool with one slot, in this process."""

    def train(task: Task, on_event: OnEvent) -> float:
        return train_member(
            Run.open(task.run), task.member, data, task.budget, on_event, seconds=task.seconds
        )

    @contextmanager
    def start(run: Path, members: int) -> Iterator[InProcessPool]:
        yield InProcessPool(backend.start_keras(comparison.settings.precision), train)

    return start


def read_comparison_data(comparison: Comparison, data_dir: Path) -> TrainingData:
    """Read the data that all runs are trained and scored on; the first call stores the folds.

    Raises
    ------
    RunError
        The comparison was made on other data.
    """
    if dataset.fingerprint(data_dir) != comparison.settings.data:
        raise RunError(
            f"comparison {comparison.name} was made on another data set: point --data-dir at it, "
            "or begin another one"
        )
    training = dataset.read_training(data_dir)
    held_out = read_folds(comparison.path)
    if held_out is None:
        held_out = _assign_folds(comparison, training)
        write_folds(comparison.path, held_out)
    # No test faces (None): a comparison does not need predictions for them.
    return TrainingData(training, held_out, None, dataset.count_queries(data_dir, training))


def _make_plans(comparison: Comparison, seed: int) -> list[Plan]:
    """Return a plan for each recipe or ensemble; all plans use the comparison's folds."""
    settings = comparison.settings
    plans = []
    for name in comparison.names:
        options = TrainingOptions(
            recipes=(name,),
            folds=settings.folds,
            epochs=settings.epochs,
            seed=seed,
            precision=settings.precision,
        )
        plan = make_plan(options)
        held_out = replace(plan.ensemble, trained_folds=settings.held_out)
        plans.append(replace(plan, ensemble=held_out, time_limit=None))
    titles = [plan.ensemble.name for plan in plans]
    if len(set(titles)) < len(titles):
        twice = max(titles, key=titles.count)
        raise RecipeError(f"two recipes to compare are called {twice!r}: name each once")
    return plans


def _open_runs(comparison: Comparison, seed: int, data: TrainingData) -> list[Run]:
    """Return the runs of one seed in the order of the recipes; create the missing runs."""
    runs = []
    for plan in _make_plans(comparison, seed):
        path = comparison.path / _run_name(plan.ensemble.name, seed)
        if is_run(path):
            run = Run.open(path)
            if run.plan != plan:
                raise RunError(
                    f"recipe {plan.ensemble.name} is not what it was when {comparison.name} began: "
                    f"delete {path} to train it anew, or begin another comparison with --name"
                )
        else:
            run = Run.create(comparison.path, path.name, plan, comparison.settings.data)
        if read_folds(path) is None:
            # All seeds are scored on the same faces.
            write_folds(path, data.held_out)
        runs.append(run)
    return runs


def _run_name(recipe: str, seed: int) -> str:
    """Return the name of a recipe's run; a digest distinguishes names that are not valid."""
    name = f"{recipe}-seed{seed}"
    if is_run_name(name):
        return name
    digest = hashlib.sha256(recipe.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{run_name_stem(recipe)}-{digest}-seed{seed}"


def _member_budget(comparison: Comparison, run: Run, member: Member) -> float | None:
    """Return the seconds of training that are left for a member."""
    if comparison.settings.budget is None:
        return None
    total = sum(other.share for other in run.plan.members if other.fold == member.fold)
    whole = comparison.settings.budget * member.share / total
    return max(whole - member_progress(run, member).seconds, 0.1)


def _blend_if_usable(run: Run, data_dir: Path, status: str) -> None:
    """Blend a run unless it has no usable member."""
    members = run.plan.members
    if not any(is_usable(run, one) for one in members):
        return
    complete = all(is_finished(run, one) for one in members)
    run_blend.blend_run(run, data_dir, status="finished" if complete else status, expect=False)
