"""Recipes side by side: trained at equal budget on the same folds and measured on the same faces.

A comparison is a folder with a run for every recipe and seed inside, so that it can be interrupted,
continued and grown, and each of its runs used like any other. Conducts ``ensemble`` and measures;
what it looks like is ``comparison_page``'s and ``tables``'.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import metrics
from fkd_kaggle.ensemble.comparison import read_comparison_data
from fkd_kaggle.keypoints import COMPLETE, PARTIAL
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes import schema
from fkd_kaggle.runs.comparison import Comparison
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import read_history
from fkd_kaggle.runs.members import member_progress
from fkd_kaggle.training import published_metrics
from fkd_kaggle.training.member import TrainingData

REFERENCE = "mean face"
"""The row of a predictor that answers every face with the training faces' mean."""


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
class ComparisonRow:
    """One recipe's results averaged over seeds."""

    mean: Result
    spread: float | None
    """Standard deviation of the RMSE over seeds; None for one seed."""
    seeds: int


def measure_runs(comparison: Comparison, data_dir: Path) -> list[Result]:
    """Measure every run that has anything usable and write ``compare.csv``.

    Returns
    -------
    One result for each recipe and seed, and the mean face's as the last.
    """
    material = read_comparison_data(comparison, data_dir)
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


def average_over_seeds(measured: Sequence[Result]) -> list[ComparisonRow]:
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
        table.append(ComparisonRow(replace(own[0], **means), spread, len(own)))

    def worth(line: ComparisonRow) -> tuple[int, float]:
        rmse = line.mean.rmse
        return (-line.mean.keypoints, float("inf") if rmse is None else rmse)

    return sorted(table, key=worth)


def _measured(run: Run, material: TrainingData) -> Result:
    """Return what a run reached on the faces that its members have not seen."""
    with np.load(run.path / "out_of_fold.npz") as kept:
        predictions = kept["predictions"]
    plan = run.plan
    members = [line.recipe for line in plan.ensemble.members]
    own = members[0].own_metric if len({one.own_metric for one in members}) == 1 else "rmse-px"
    labels = material.training.keypoints
    histories = [
        read_history(run.member(member.name) / "history.csv") for member in plan.members
        if (run.member(member.name) / "history.csv").exists()
    ]  # fmt: skip
    images, seconds = (
        sum(float(history[what][-1]) for history in histories) for what in ("images", "seconds")
    )
    ends = {member_progress(run, member).stopped or run.status for member in plan.members}
    parameters, flops = _cost(members, plan.precision)
    return _scored(
        Result(
            plan.ensemble.name, plan.seed, 0, None, None, None, None, own,
            published_metrics.published_metrics(members[0], predictions, labels)[own] if len(members) == 1
            else metrics.compute_metric(own, predictions, labels),
            images / seconds if seconds else None, seconds, parameters, flops,
            ", ".join(sorted(ends)),
        ),
        predictions, material,
    )  # fmt: skip


def _reference(comparison: Comparison, material: TrainingData) -> Result:
    """Return what the mean of the other folds' labels reaches."""
    labels, held_out = material.training.keypoints, material.held_out
    predictions = np.full_like(labels, np.nan)
    for fold in range(comparison.settings.held_out):
        rest = labels[held_out != fold]
        predictions[held_out == fold] = metrics.masked_means(rest, 0, default=0.0)
    own = metrics.compute_metric("rmse-px", predictions, labels)
    return _scored(
        Result(REFERENCE, 0, 0, None, None, None, None, "rmse-px", own, None, 0.0, 0, 0, ""),
        predictions, material,
    )  # fmt: skip


def _scored(result: Result, predictions: np.ndarray, material: TrainingData) -> Result:
    """Return the result with what every row of the table is measured by."""
    labels, annotators = material.training.keypoints, material.training.annotators
    return replace(
        result,
        keypoints=int(np.isfinite(predictions).any((0, 2)).sum()),
        rmse=metrics.combined_rmse(predictions, labels, annotators, material.query_counts),
        rmse_complete=metrics.rmse(predictions, labels, annotators == COMPLETE),
        rmse_partial=metrics.rmse(predictions, labels, annotators == PARTIAL),
        mae=metrics.compute_metric("mae-px", predictions, labels),
    )


def _cost(members: Sequence[schema.Recipe], precision: str) -> tuple[int, int]:
    """Return parameters and operations of one network of each recipe, added up."""
    backend.start_keras(precision)
    from fkd_kaggle.nn.flops import forward_flops
    from fkd_kaggle.training.network import build_network

    built = [build_network(recipe) for recipe in members]
    return (
        sum(network.count_params() for network in built),
        sum(forward_flops(network) for network in built),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
