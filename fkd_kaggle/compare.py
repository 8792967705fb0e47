"""Recipes side by side: trained at equal budget on the same folds and measured on the same faces.

A comparison is a folder with a run for every recipe and seed inside, so that it can be interrupted,
continued and grown, and each of its runs used like any other. Conducts ``ensemble`` and measures;
what it looks like is ``comparison_page``'s and ``tables``'.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle import backend, blend, ensemble, faces, files, folds, metrics, recipes, report
from fkd_kaggle.crew import Crew, HireForRuns, RunTrainer, Trainer, work_off
from fkd_kaggle.ensemble import Material
from fkd_kaggle.errors import DataError, RecipeError, RunError
from fkd_kaggle.events import (
    EnsembleEnded,
    EnsembleStarted,
    Event,
    MemberFailed,
    MemberStarted,
    OnEvent,
    Scores,
    ignore,
    in_turn,
)
from fkd_kaggle.keypoints import COMPLETE, PARTIAL_SOURCE
from fkd_kaggle.recipes import Member, Plan
from fkd_kaggle.run import Run, all_runs, check_name, fresh_name

REFERENCE = "mean face"
"""The row of a predictor that answers every face with the training faces' mean."""


@dataclass(frozen=True)
class Settings:
    """What all recipes of a comparison share."""

    budget: float | None
    """Seconds of training for each recipe, fold and seed; an ensemble's members share them."""
    epochs: int | None
    folds: int
    held_out: int
    """How many of the folds are held out in turn."""
    precision: str
    data: str
    """Fingerprint of training.csv."""
    workers: int = 1
    """Networks trained at the same time, each with that part of the machine."""


@dataclass(frozen=True)
class Comparison:
    """A comparison's folder: ``compare.json``, ``folds.npy`` and the runs."""

    path: Path
    settings: Settings
    names: tuple[str, ...]
    """Recipes and ensembles as they were asked for."""
    seeds: int
    status: str = "new"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def runs(self) -> list[Run]:
        """Return the runs that are there."""
        return all_runs(self.path)


@dataclass(frozen=True)
class Result:
    """What one recipe with one seed reached on the held-out faces, errors in pixels."""

    recipe: str
    seed: int
    keypoints: int
    """Keypoints it answers for, of 15; its errors are over these only."""
    rmse: float | None
    """Both sources in the lookup table's proportions."""
    rmse_complete: float | None
    rmse_partial: float | None
    mae: float | None
    own_metric: str
    own_value: float | None
    images_per_second: float | None
    """Training images by seconds of training, looks at the held-out faces included."""
    seconds: float
    parameters: int
    flops: int
    """Of one forward pass for one face, all members' added up."""
    ended: str


@dataclass(frozen=True)
class Line:
    """One recipe's results averaged over seeds."""

    mean: Result
    spread: float | None
    """Standard deviation of the RMSE over seeds; None for one seed."""
    seeds: int


def start(
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
    settings = Settings(
        budget, epochs, 5 if parts is None else parts, 1 if parts is None else parts, precision,
        faces.fingerprint(data_dir), workers or places,
    )  # fmt: skip
    folder = name or fresh_name(runs_dir, "compare")
    check_name(folder)
    wanted = Comparison(runs_dir / folder, settings, tuple(names), seeds)
    _plans(wanted, 0)  # a wrong recipe is told before anything is made
    for path in sorted(runs_dir.glob("*/compare.json")):
        kept = open_comparison(path.parent)
        if workers is None:
            settings = replace(settings, workers=kept.settings.workers)
        if name == kept.name:
            _check_same(kept, settings)
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
    _write(wanted, "new")
    return wanted


def open_comparison(path: Path) -> Comparison:
    """Open a comparison's folder.

    Raises
    ------
    RunError
        Its note is missing or damaged.
    """
    try:
        note = json.loads((path / "compare.json").read_text(encoding="utf-8"))
        settings = Settings(**note["settings"])
        return Comparison(path, settings, tuple(note["names"]), note["seeds"], note["status"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / 'compare.json'} is missing or damaged: delete {path}") from error


def train(
    comparison: Comparison,
    data_dir: Path,
    on_event: OnEvent = ignore,
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
    material = _material(comparison, data_dir)
    runs = [run for seed in range(comparison.seeds) for run in _runs(comparison, seed, material)]
    everything = {
        f"{run.name}/{member.name}": (run, member) for run in runs for member in run.plan.members
    }
    done = sum(ensemble.is_finished(*one) for one in everything.values())
    todo = [
        replace(member, name=title)
        for title, (run, member) in everything.items()
        if not ensemble.is_finished(run, member)
    ]
    tell = in_turn(on_event)
    failed: list[str] = []

    def lane(trainer: RunTrainer) -> Trainer:
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

    begin = hire if hire and todo else _alone(comparison, material)
    with begin(runs[0].path, len(todo)) as crew:
        tell(
            EnsembleStarted(
                comparison.name, tuple(everything), done, len(material.training.images),
                crew.precision, None,
            )
        )  # fmt: skip
        stopped = work_off(todo, crew.told(lane), None, tell)
    if failed and stopped == "finished":
        stopped = "failures"
    for run in runs:
        _finish(run, data_dir, stopped)
    _write(comparison, stopped)
    done = sum(ensemble.is_finished(*one) for one in everything.values())
    seconds = time.monotonic() - began
    no_scores = Scores(None, None, None, None, {})
    tell(EnsembleEnded(no_scores, done, len(everything), seconds, stopped))
    return replace(comparison, status=stopped)


def _alone(comparison: Comparison, material: Material) -> HireForRuns:
    """Return what trains in this process, one after the other."""

    def trainer(run: Path, member: Member, budget: float | None, on_event: OnEvent) -> float:
        return ensemble.train_member(Run.open(run), member, material, budget, on_event)

    @contextmanager
    def start(run: Path, members: int) -> Iterator[Crew[RunTrainer]]:
        yield Crew([trainer], backend.start(comparison.settings.precision))

    return start


def results(comparison: Comparison, data_dir: Path) -> list[Result]:
    """Measure every run that has anything usable and write ``compare.csv``.

    Returns
    -------
    One result for each recipe and seed, and the mean face's as the last.
    """
    material = _material(comparison, data_dir)
    measured = [
        _measured(run, material)
        for run in comparison.runs
        if (run.path / "out_of_fold.npz").exists()
    ]
    measured.append(_reference(comparison, material))
    columns = [field.name for field in fields(Result)]
    rows = [astuple(result) for result in measured]
    files.write_csv(comparison.path / "compare.csv", columns, rows)
    return measured


def lines(measured: Sequence[Result]) -> list[Line]:
    """Average results over seeds, the best recipe first.

    Recipes that answer for fewer keypoints come after those that answer for more: their errors are
    over other points and do not compare.
    """
    table = []
    for name in dict.fromkeys(result.recipe for result in measured):
        own = [result for result in measured if result.recipe == name]
        means: dict[str, Any] = {
            what: _mean([getattr(result, what) for result in own])
            for what in ("rmse", "rmse_complete", "rmse_partial", "mae", "own_value",
                         "images_per_second")
        }  # fmt: skip
        scores = [result.rmse for result in own if result.rmse is not None]
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        table.append(Line(replace(own[0], **means), spread, len(own)))

    def worth(line: Line) -> tuple[int, float]:
        rmse = line.mean.rmse
        return (-line.mean.keypoints, float("inf") if rmse is None else rmse)

    return sorted(table, key=worth)


def _check_same(kept: Comparison, settings: Settings) -> None:
    for field in fields(Settings):
        before, now = getattr(kept.settings, field.name), getattr(settings, field.name)
        if before != now:
            what = "number of workers" if field.name == "workers" else field.name.replace("_", " ")
            raise RunError(
                f"comparison {kept.name} was made with another {what} "
                f"({before}, not {now}): leave out what differs, or choose another --name"
            )


def _write(comparison: Comparison, status: str) -> None:
    files.write_json(
        comparison.path / "compare.json",
        {
            "settings": asdict(comparison.settings), "names": comparison.names,
            "seeds": comparison.seeds, "status": status,
        },
    )  # fmt: skip


def _material(comparison: Comparison, data_dir: Path) -> Material:
    """Read what everything is trained and scored on; the folds are made once and kept."""
    if faces.fingerprint(data_dir) != comparison.settings.data:
        raise RunError(
            f"comparison {comparison.name} was made on another data set: point --data-dir at it, "
            "or begin another one"
        )
    training = faces.read_training(data_dir)
    path = comparison.path / "folds.npy"
    if not path.exists():
        with files.atomic_path(path) as temporary:
            np.save(temporary, folds.split(training, comparison.settings.folds, 0))
    # Without the test faces: predicting them would cost more than it tells here.
    return Material(training, np.load(path), None, ensemble.asked_for(data_dir, training))


def _plans(comparison: Comparison, seed: int) -> list[Plan]:
    """Return a plan for each recipe or ensemble, all on the comparison's folds."""
    settings = comparison.settings
    plans = []
    for name in comparison.names:
        plan = recipes.plan(
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


def _runs(comparison: Comparison, seed: int, material: Material) -> list[Run]:
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
    return max(whole - ensemble.spent(run, member).seconds, 0.1)


def _finish(run: Run, data_dir: Path, stopped: str) -> None:
    """Blend a run's members, if any can be used and it is not done yet."""
    members = run.plan.members
    if run.status == "finished" or not any(ensemble.is_usable(run, one) for one in members):
        return
    whole = all(ensemble.is_finished(run, one) for one in members)
    ensemble.finish(run, data_dir, status="finished" if whole else stopped, expect=False)


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


def _measured(run: Run, material: Material) -> Result:
    """Return what a run reached on the faces that its members have not seen."""
    with np.load(run.path / "out_of_fold.npz") as kept:
        predictions = kept["predictions"]
    plan = run.plan
    members = [line.recipe for line in plan.ensemble.members]
    own = members[0].own_metric if len({one.own_metric for one in members}) == 1 else "rmse-px"
    labels = material.training.keypoints
    histories = [
        report.read_history(run.member(member.name) / "history.csv") for member in plan.members
        if (run.member(member.name) / "history.csv").exists()
    ]  # fmt: skip
    images, seconds = (
        sum(float(history[what][-1]) for history in histories) for what in ("images", "seconds")
    )
    ends = {ensemble.spent(run, member).stopped or run.status for member in plan.members}
    parameters, flops = _cost(members, plan.precision)
    return _scored(
        Result(
            plan.ensemble.name, plan.seed, 0, None, None, None, None, own,
            metrics.own(members[0], predictions, labels)[own] if len(members) == 1
            else metrics.measure(own, predictions, labels),
            images / seconds if seconds else None, seconds, parameters, flops,
            ", ".join(sorted(ends)),
        ),
        predictions, material,
    )  # fmt: skip


def _reference(comparison: Comparison, material: Material) -> Result:
    """Return what the mean of the other folds' labels reaches."""
    labels, held_out = material.training.keypoints, material.held_out
    predictions = np.full_like(labels, np.nan)
    for fold in range(comparison.settings.held_out):
        rest = labels[held_out != fold]
        known = np.isfinite(rest)
        mean = np.where(known, rest, 0).sum(0) / np.maximum(known.sum(0), 1)
        predictions[held_out == fold] = mean
    own = metrics.measure("rmse-px", predictions, labels)
    return _scored(
        Result(REFERENCE, 0, 0, None, None, None, None, "rmse-px", own, None, 0.0, 0, 0, ""),
        predictions, material,
    )  # fmt: skip


def _scored(result: Result, predictions: np.ndarray, material: Material) -> Result:
    """Return the result with what every row of the table is measured by."""
    labels, sources = material.training.keypoints, material.training.sources
    return replace(
        result,
        keypoints=int(np.isfinite(predictions).any((0, 2)).sum()),
        rmse=blend.combined(predictions, labels, sources, material.asked),
        rmse_complete=blend.rmse(predictions, labels, sources == COMPLETE),
        rmse_partial=blend.rmse(predictions, labels, sources == PARTIAL_SOURCE),
        mae=metrics.measure("mae-px", predictions, labels),
    )


def _cost(members: Sequence[recipes.Recipe], precision: str) -> tuple[int, int]:
    """Return parameters and operations of one network of each recipe, added up."""
    backend.start(precision)
    from fkd_kaggle import flops, networks

    built = [networks.build_network(recipe) for recipe in members]
    return (
        sum(network.count_params() for network in built),
        sum(flops.forward(network) for network in built),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
