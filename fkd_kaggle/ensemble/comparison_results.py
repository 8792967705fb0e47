"""Results of a comparison: each run measured on the faces that its members have not seen.

This module measures and averages; ``report.comparison`` and ``display.tables`` make figures and
tables.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle import user_code
from fkd_kaggle.data import metrics
from fkd_kaggle.ensemble.comparison import read_comparison_data
from fkd_kaggle.keypoints import COMPLETE, PARTIAL
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes import schema
from fkd_kaggle.runs.comparison import Comparison, write_results
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import read_histories
from fkd_kaggle.runs.members import member_progress
from fkd_kaggle.runs.predictions import (
    average_out_of_fold,
    has_blended_out_of_fold,
    has_out_of_fold,
    load_blended_out_of_fold,
)
from fkd_kaggle.training import published_metrics
from fkd_kaggle.training.member import TrainingData

REFERENCE = "column means"
"""Name of the baseline that predicts the mean of all labels, whoever annotated them. The mean face
of a run's output (``ensemble.reference``) has the mean of each annotator instead."""

_AVERAGED = (
    "rmse",
    "rmse_complete",
    "rmse_partial",
    "mae",
    "published_value",
    "images_per_second",
    "seconds",
)
"""Fields of ``Result`` that are averaged over seeds."""


@dataclass(frozen=True)
class Result:
    """Result of one recipe with one seed on the held-out faces; errors in pixels."""

    recipe: str
    seed: int
    keypoints: int
    """Number of keypoints that the recipe predicts; the errors are over these keypoints only."""
    rmse: float | None
    """RMSE weighted by the query counts of the lookup table."""
    rmse_complete: float | None
    """RMSE on faces of the complete annotator."""
    rmse_partial: float | None
    """RMSE on faces of the partial annotator."""
    mae: float | None
    """Mean absolute error of the coordinates."""
    published_metric: str
    """Metric of the recipe's publication; "rmse-px" for ensembles with different metrics."""
    published_value: float | None
    """Value of ``published_metric``."""
    images_per_second: float | None
    """Training images per second of training; the time includes validation. None if no member has
    a readable history."""
    seconds: float
    """Seconds of training, summed over the members with a readable history."""
    parameters: int
    """Number of parameters, summed over the recipes of an ensemble."""
    flops: int
    """Operations of one forward pass for one face, summed over the recipes of an ensemble."""
    ended: str
    """Reasons why the trainings ended, each once, sorted and separated by ", "."""


@dataclass(frozen=True)
class ComparisonRow:
    """One recipe's results averaged over seeds."""

    mean: Result
    """Errors, ``published_value``, ``images_per_second`` and ``seconds`` are means over the seeds
    that have them, None if none has; ``ended`` has the reasons of all seeds. The other fields are
    those of the first result: ``seed``, ``keypoints``, ``published_metric``, and the costs
    ``parameters`` and ``flops``, which do not depend on the seed."""
    spread: float | None
    """Standard deviation of the RMSE over the seeds that have one; None for fewer than two."""
    seeds: int
    """Number of results of the recipe, one for each seed with a blended run."""


def measure_runs(comparison: Comparison, data_dir: Path) -> list[Result]:
    """Measure all blended runs and write compare.csv.

    Parameters
    ----------
    comparison
        The comparison.
    data_dir
        Folder of the data set.

    Returns
    -------
    list of Result
        One result for each recipe and seed, followed by the result of the baseline.

    Raises
    ------
    RunError
        The comparison was made on other data.
    """
    material = read_comparison_data(comparison, data_dir)
    results = [
        measure_run(run, material) for run in comparison.runs if has_blended_out_of_fold(run)
    ]
    results.append(_measure_baseline(comparison, material))
    columns = [field.name for field in fields(Result)]
    rows = [astuple(result) for result in results]
    write_results(comparison, columns, rows)
    return results


def measure_run(run: Run, material: TrainingData) -> Result:
    """Return the result of a run on the faces that its members have not seen.

    Parameters
    ----------
    run
        A blended run.
    material
        The data that it was trained on.

    Raises
    ------
    RunError
        The out-of-fold predictions of the blend or of a member are missing or damaged.
    """
    predictions = _own_predictions(run)
    plan, labels = run.plan, material.training.keypoints
    recipes = [line.recipe for line in plan.ensemble.members]
    metric, value = _published_metric(recipes, predictions, labels)
    histories = read_histories(run)
    rows = [histories[member.name] for member in plan.members if member.name in histories]
    images, seconds = _training_totals(rows)
    ends = {member_progress(run, member).stopped or run.status for member in plan.members}
    parameters, flops = _cost(recipes, plan.precision)
    return Result(
        recipe=plan.ensemble.name,
        seed=plan.seed,
        published_metric=metric,
        published_value=value,
        images_per_second=images / seconds if seconds else None,
        seconds=seconds,
        parameters=parameters,
        flops=flops,
        ended=", ".join(sorted(ends)),
        **_errors(predictions, material),
    )


def average_over_seeds(results: Sequence[Result]) -> list[ComparisonRow]:
    """Average results over seeds and sort them, the best recipe first.

    Recipes that predict fewer keypoints come after recipes that predict more, because errors over
    different keypoints cannot be compared.

    Parameters
    ----------
    results
        Results of ``measure_runs``, in any order.

    Returns
    -------
    list of ComparisonRow
        One row for each recipe.
    """
    table = []
    for name in dict.fromkeys(result.recipe for result in results):
        own = [result for result in results if result.recipe == name]
        means: dict[str, Any] = {
            what: _mean([getattr(result, what) for result in own]) for what in _AVERAGED
        }
        scores = [result.rmse for result in own if result.rmse is not None]
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        reasons = {reason for result in own for reason in result.ended.split(", ") if reason}
        mean = replace(own[0], ended=", ".join(sorted(reasons)), **means)
        table.append(ComparisonRow(mean, spread, len(own)))

    def sort_key(line: ComparisonRow) -> tuple[int, float]:
        rmse = line.mean.rmse
        return (-line.mean.keypoints, float("inf") if rmse is None else rmse)

    return sorted(table, key=sort_key)


def _own_predictions(run: Run) -> np.ndarray:
    """Return the run's out-of-fold predictions, also of members that its blend excludes.

    A blend predicts the mean face where only excluded members have predictions; a comparison must
    show that a recipe is worse than a constant. There, the result is the mean of the excluded
    members' finite predictions.
    """
    predictions = load_blended_out_of_fold(run)
    scores = run.scores
    names = scores.excluded if scores else ()
    excluded = [member for member in run.plan.members if member.name in names]
    if not excluded:
        return predictions
    folds = {member.fold for member in excluded}
    rest = [one for one in run.plan.members if one.fold in folds and one.name not in names]
    # An interrupted comparison has members without predictions.
    used = [member for member in rest if has_out_of_fold(run, member)]
    others, own = (average_out_of_fold(run, each, len(predictions)) for each in (used, excluded))
    return np.where(np.isnan(others) & np.isfinite(own), own, predictions)


def _training_totals(histories: Sequence[Mapping[str, np.ndarray]]) -> tuple[float, float]:
    """Return images and seconds of training, summed over histories with rows and both numbers.

    A damaged history is empty, and a damaged cell is NaN (``runs.history``).
    """
    last = [(each["images"][-1], each["seconds"][-1]) for each in histories if len(each["seconds"])]
    known = [pair for pair in last if np.isfinite(pair).all()]
    return sum(float(pair[0]) for pair in known), sum(float(pair[1]) for pair in known)


def _measure_baseline(comparison: Comparison, material: TrainingData) -> Result:
    """Return the result of predicting the mean labels of the other folds."""
    labels, held_out = material.training.keypoints, material.held_out
    predictions = np.full_like(labels, np.nan)
    for fold in range(comparison.settings.held_out):
        rest = labels[held_out != fold]
        predictions[held_out == fold] = metrics.masked_means(rest, 0, default=0.0)
    return Result(
        recipe=REFERENCE,
        seed=0,
        published_metric="rmse-px",
        published_value=metrics.compute_metric("rmse-px", predictions, labels),
        images_per_second=None,
        seconds=0.0,
        parameters=0,
        flops=0,
        ended="",
        **_errors(predictions, material),
    )


def _published_metric(
    recipes: Sequence[schema.Recipe], predictions: np.ndarray, labels: np.ndarray
) -> tuple[str, float | None]:
    """Return the metric that all recipes' publications use, or else "rmse-px", and its value."""
    names = {recipe.published_metric for recipe in recipes}
    name = names.pop() if len(names) == 1 else "rmse-px"
    if len(recipes) == 1:
        return name, published_metrics.published_metrics(recipes[0], predictions, labels)[name]
    metric = user_code.resolve(name, recipes[0].code)
    return name, metrics.compute_metric(metric, predictions, labels)


def _errors(predictions: np.ndarray, material: TrainingData) -> dict[str, Any]:
    """Return the number of predicted keypoints and the errors, by the fields of ``Result``."""
    labels, annotators = material.training.keypoints, material.training.annotators
    return {
        "keypoints": int(np.isfinite(predictions).any((0, 2)).sum()),
        "rmse": metrics.combined_rmse(predictions, labels, annotators, material.query_counts),
        "rmse_complete": metrics.rmse(predictions, labels, annotators == COMPLETE),
        "rmse_partial": metrics.rmse(predictions, labels, annotators == PARTIAL),
        "mae": metrics.compute_metric("mae-px", predictions, labels),
    }


def _cost(recipes: Sequence[schema.Recipe], precision: str) -> tuple[int, int]:
    """Return parameters and operations of one network of each recipe, summed."""
    backend.start_keras(precision)
    from fkd_kaggle.nn.flops import forward_flops
    from fkd_kaggle.training.network import build_network

    built = [build_network(recipe) for recipe in recipes]
    return (
        sum(network.count_params() for network in built),
        sum(forward_flops(network) for network in built),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
