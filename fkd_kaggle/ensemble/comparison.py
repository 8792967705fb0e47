"""Recipes side by side: trained at equal budget on the same folds and measured on the same faces.

A comparison is a folder with a run for every recipe and seed inside, so that it can be interrupted,
continued and grown, and each of its runs used like any other. Conducts ``ensemble`` and measures;
what it looks like is ``comparison_page``'s and ``tables``'.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import dataset, folds
from fkd_kaggle.ensemble import fitting
from fkd_kaggle.errors import DataError, RecipeError, RunError
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member, Plan, make_plan
from fkd_kaggle.runs.comparison import (
    Comparison,
    ComparisonSettings,
    check_same_settings,
    open_comparison,
    write_comparison,
)
from fkd_kaggle.runs.folder import Run, check_run_name, next_run_name
from fkd_kaggle.runs.members import is_finished, is_usable, member_progress
from fkd_kaggle.runs.scores import Scores
from fkd_kaggle.training.events import (
    EnsembleEnded,
    EnsembleStarted,
    Event,
    MemberFailed,
    MemberStarted,
    OnEvent,
    ignore_events,
    serialize_events,
)
from fkd_kaggle.training.member import TrainingData, train_member
from fkd_kaggle.workers.schedule import (
    HireForRuns,
    MemberTrainer,
    RunsTrainer,
    WorkerPool,
    train_members,
)


def start_comparison(
    runs_dir: Path,
    names: Sequence[str],
    data_dir: Path,
    *,
    budget: float | None,
    epochs: int | None = None,
    seeds: int = 1,
    parts: int | None = None,
    precision: str = "auto",
    workers: int | None = None,
    places: int = 1,
    name: str | None = None,
) -> Comparison:
    """Make a comparison, or find the one that was asked for before and is not finished.

    Parameters
    ----------
    budget, epochs
        Seconds and epochs, whichever ends first; None for no limit.
    parts
        Parts of the faces, each held out in turn; None for five parts and one held out.
    workers, places
        How many networks are to be trained at the same time. None for as many as the comparison
        that is gone on with was begun with; ``places`` for a new one.
    name
        Of a comparison to go on with, or to add recipes and seeds to. None finds an unfinished one
        with the same recipes and settings, or makes ``compare-1`` and so on.

    Raises
    ------
    RecipeError
        A recipe is unknown, or two have the same name.
    RunError
        The named comparison was made with other settings or on other data, or the name cannot be
        a folder's.
    """
    settings = ComparisonSettings(
        budget, epochs, 5 if parts is None else parts, 1 if parts is None else parts, precision,
        dataset.fingerprint(data_dir), workers or places,
    )  # fmt: skip
    folder = name or next_run_name(runs_dir, "compare")
    check_run_name(folder)
    wanted = Comparison(runs_dir / folder, settings, tuple(names), seeds)
    _plans(wanted, 0)  # a wrong recipe is told before anything is made
    for path in sorted(runs_dir.glob("*/compare.json")):
        kept = open_comparison(path.parent)
        if workers is None:
            settings = replace(settings, workers=kept.settings.workers)
        if name == kept.name:
            check_same_settings(kept, settings)
            everyone = tuple(dict.fromkeys((*kept.names, *names)))
            wanted = replace(kept, names=everyone, seeds=max(seeds, kept.seeds))
            _plans(wanted, 0)
            break
        same = (kept.settings, kept.names, kept.seeds) == (settings, tuple(names), seeds)
        if name is None and same and kept.status != "finished":
            return kept
    else:
        if wanted.path.exists():
            raise RunError(f"{wanted.path} exists and is no comparison: choose another --name")
    write_comparison(wanted, "new")
    return wanted


def train_comparison(
    comparison: Comparison,
    data_dir: Path,
    on_event: OnEvent = ignore_events,
    *,
    hire: HireForRuns | None = None,
) -> Comparison:
    """Train what is not trained yet, seed after seed; return the comparison as it is then.

    Every seed of a recipe is a run of its own. One that cannot be trained on this data is told as
    an event, and the others go on; the status is "failures" then. After Ctrl-C it is "interrupted",
    and the runs that have anything usable are blended like the others.

    Parameters
    ----------
    hire
        Starts what trains several networks at once; None to train one after the other, here.

    Raises
    ------
    RunError
        The data or a recipe is not what the comparison was begun with.
    """
    began = time.monotonic()
    material = read_comparison_data(comparison, data_dir)
    runs = [run for seed in range(comparison.seeds) for run in _runs(comparison, seed, material)]
    everything = {
        f"{run.name}/{member.name}": (run, member) for run in runs for member in run.plan.members
    }
    done = sum(is_finished(*one) for one in everything.values())
    todo = [
        replace(member, name=title)
        for title, (run, member) in everything.items()
        if not is_finished(run, member)
    ]
    tell = serialize_events(on_event)
    failed: list[str] = []

    def lane(trainer: RunsTrainer) -> MemberTrainer:
        def train_one(member: Member, budget: float | None) -> float:
            run, member = everything[member.name]
            budget = _budget(comparison, run, member)
            heard = _renamed(run.name, tuple(everything), tell)
            try:
                return trainer(run.path, member, budget, heard)
            except (DataError, RecipeError) as error:
                failed.append(member.name)
                heard(MemberFailed(member.name, str(error)))
                return 0.0

        return train_one

    begin = hire if hire and todo else _in_process_trainer(comparison, material)
    with begin(runs[0].path, len(todo)) as crew:
        tell(
            EnsembleStarted(
                comparison.name, tuple(everything), done, len(material.training.images),
                crew.precision, None,
            )
        )  # fmt: skip
        stopped = train_members(todo, crew.told(lane), None, tell)
    if failed and stopped == "finished":
        stopped = "failures"
    for run in runs:
        _finish(run, data_dir, stopped)
    write_comparison(comparison, stopped)
    done = sum(is_finished(*one) for one in everything.values())
    seconds = time.monotonic() - began
    no_scores = Scores(None, None, None, None, {})
    tell(EnsembleEnded(no_scores, done, len(everything), seconds, stopped))
    return replace(comparison, status=stopped)


def _in_process_trainer(comparison: Comparison, material: TrainingData) -> HireForRuns:
    """Return what trains in this process, one after the other."""

    def trainer(run: Path, member: Member, budget: float | None, on_event: OnEvent) -> float:
        return train_member(Run.open(run), member, material, budget, on_event)

    @contextmanager
    def start(run: Path, members: int) -> Iterator[WorkerPool[RunsTrainer]]:
        yield WorkerPool([trainer], backend.start_keras(comparison.settings.precision))

    return start


def read_comparison_data(comparison: Comparison, data_dir: Path) -> TrainingData:
    """Read what everything is trained and scored on; the folds are made once and kept."""
    if dataset.fingerprint(data_dir) != comparison.settings.data:
        raise RunError(
            f"comparison {comparison.name} was made on another data set: point --data-dir at it, "
            "or begin another one"
        )
    training = dataset.read_training(data_dir)
    path = comparison.path / "folds.npy"
    if not path.exists():
        with files.atomic_path(path) as temporary:
            np.save(temporary, folds.assign_folds(training, comparison.settings.folds, 0))
    # Without the test faces: predicting them would cost more than it tells here.
    return TrainingData(training, np.load(path), None, dataset.count_queries(data_dir, training))


def _plans(comparison: Comparison, seed: int) -> list[Plan]:
    """Return a plan for each recipe or ensemble, all on the comparison's folds."""
    settings = comparison.settings
    plans = []
    for name in comparison.names:
        plan = make_plan(
            [name], folds=settings.folds, epochs=settings.epochs, seed=seed,
            precision=settings.precision,
        )  # fmt: skip
        held_out = replace(plan.ensemble, trained_folds=settings.held_out)
        plans.append(replace(plan, ensemble=held_out, time_limit=None))
    titles = [plan.ensemble.name for plan in plans]
    if len(set(titles)) < len(titles):
        twice = max(titles, key=titles.count)
        raise RecipeError(f"two recipes to compare are called {twice!r}: name each once")
    return plans


def _runs(comparison: Comparison, seed: int, material: TrainingData) -> list[Run]:
    """Return one seed's runs in the order of the recipes, made where they are not there yet."""
    runs = []
    for plan in _plans(comparison, seed):
        path = comparison.path / f"{plan.ensemble.name}-seed{seed}"
        if (path / "run.json").exists():
            run = Run.open(path)
            if run.plan != plan:
                raise RunError(
                    f"recipe {plan.ensemble.name} is not what it was when {comparison.name} began: "
                    f"delete {path} to train it anew, or begin another comparison with --name"
                )
        else:
            run = Run.create(comparison.path, path.name, plan, comparison.settings.data)
            # Seeds differ in everything but what they are scored on.
            with files.atomic_path(path / "folds.npy") as temporary:
                np.save(temporary, material.held_out)
        runs.append(run)
    return runs


def _budget(comparison: Comparison, run: Run, member: Member) -> float | None:
    """Return the seconds of training that are left to a member."""
    if comparison.settings.budget is None:
        return None
    beside = sum(other.share for other in run.plan.members if other.fold == member.fold)
    whole = comparison.settings.budget * member.share / beside
    return max(whole - member_progress(run, member).seconds, 0.1)


def _finish(run: Run, data_dir: Path, stopped: str) -> None:
    """Blend a run's members, if any can be used and it is not done yet."""
    members = run.plan.members
    if run.status == "finished" or not any(is_usable(run, one) for one in members):
        return
    whole = all(is_finished(run, one) for one in members)
    fitting.blend_run(run, data_dir, status="finished" if whole else stopped, expect=False)


def _renamed(run: str, titles: Sequence[str], on_event: OnEvent) -> OnEvent:
    """Return a callback that tells of a run's members by the names they have in the comparison."""

    def tell(event: Event) -> None:
        if isinstance(event, EnsembleStarted | EnsembleEnded):
            return  # the comparison begins and ends once, in its own name
        title = f"{run}/{event.member}"
        if isinstance(event, MemberStarted):
            event = replace(event, position=titles.index(title))
        on_event(replace(event, member=title))

    return tell
