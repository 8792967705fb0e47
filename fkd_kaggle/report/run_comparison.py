"""Paired comparison of runs: the same faces and keypoints, with intervals and a sentence.

Runs are compared only where both have an out-of-fold prediction, with the labels of training.csv,
so that runs with and without corrections can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fkd_kaggle.data import dataset
from fkd_kaggle.errors import FkdError, RunError
from fkd_kaggle.keypoints import ANNOTATORS, KEYPOINT_NAMES, NUM_KEYPOINTS
from fkd_kaggle.report import bootstrap
from fkd_kaggle.report.bootstrap import GroupErrors, Interval
from fkd_kaggle.report.run_data import (
    RunData,
    collect_run_data,
    keypoint_errors,
    learning_curves,
    to_json,
)
from fkd_kaggle.runs.corrections import has_corrections
from fkd_kaggle.runs.folder import Run, list_runs
from fkd_kaggle.runs.predictions import has_blended_out_of_fold, load_scored_out_of_fold

CHANCE: Final = (
    "The interval covers the choice of faces, not of the random seed: train both with a second "
    "seed before you trust a small difference."
)

_MIN_FACES: Final = 20
"""Faces that two runs must share."""


def collect_comparison_data(
    runs: Sequence[Run], data_dir: Path, submissions_dir: Path | None = None
) -> RunData:
    """Compute the data of a page about several runs of one data set.

    The first run's data is complete; the other runs are predictors that can be selected, and each
    is compared with the first.

    Parameters
    ----------
    runs
        Two or more blended runs.
    data_dir
        Folder of the data set that all were trained on.
    submissions_dir
        Folder of the submission files; None for none.

    Raises
    ------
    RunError
        A run was made on another data set or was not blended, two runs have the same name, or two
        runs share too few predicted faces.
    DataError
        training.csv is missing or invalid.
    """
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise RunError(f"run {max(names, key=names.count)} is named twice: name different runs")
    for run in runs[1:]:
        run.check_data(dataset.fingerprint(data_dir))
    data = collect_run_data(runs[0], data_dir, submissions_dir)
    first, *members = data.predictors
    blends = {run.name: load_scored_out_of_fold(run) for run in runs}
    predictors = {**blends, **{f"{names[0]}: {one}": data.predictors[one] for one in members}}
    queries = dataset.count_queries(data_dir, data.training)
    summary = {
        **data.summary,
        "comparisons": [
            compare_predictions((names[0], blends[names[0]]), (name, blends[name]), data, queries)
            for name in names[1:]
        ],
        "errors": [
            *(
                {**one, "predictor": names[0]}
                for one in data.summary["errors"]
                if one["predictor"] == first
            ),
            *(
                entry
                for name in names[1:]
                for entry in keypoint_errors(name, blends[name], data.training, data.groups)
            ),
            *(
                {**one, "predictor": f"{names[0]}: {one['predictor']}"}
                for one in data.summary["errors"]
                if one["predictor"] != first
            ),
        ],
        "curves": [
            {
                **one,
                "recipe": f"{run.name}: {one['recipe']}",
                "member": f"{run.name}: {one['member']}",
            }
            for run in runs
            for one in learning_curves(run)
        ],
    }
    return replace(data, summary=to_json(summary), predictors=predictors)


def compare_predictions(
    one: tuple[str, np.ndarray], other: tuple[str, np.ndarray], data: RunData, queries: np.ndarray
) -> dict[str, Any]:
    """Return the paired comparison of two sets of predictions.

    Parameters
    ----------
    one, other
        Name and (N, 15, 2) out-of-fold predictions.
    data
        The faces, their labels and groups of near-duplicates.
    queries
        (2, 15) numbers of queries by annotator and keypoint.

    Returns
    -------
    dict
        "one", "other": names; "sentence"; "short"; "scores": a line for both annotators together
        and for each; "keypoints": differences by annotator and keypoint.

    Raises
    ------
    RunError
        Fewer than 20 faces have predictions of both.
    """
    training = data.training
    pairs = [
        np.square(predictions.astype(np.float64) - training.keypoints)
        for predictions in (one[1], other[1])
    ]
    shared = np.isfinite(pairs[0]) & np.isfinite(pairs[1])
    rows = shared.any((1, 2))
    if rows.sum() < _MIN_FACES:
        raise RunError(
            f"runs {one[0]} and {other[0]} have out-of-fold predictions of {int(rows.sum())} "
            "common faces: compare runs with the same seed and number of folds"
        )
    annotators, groups = training.annotators[rows], data.groups[rows]
    first, second = (
        GroupErrors.of(np.where(shared, squares, np.nan)[rows], annotators, groups)
        for squares in pairs
    )
    counts = [int(rows.sum()), *(int((annotators == code).sum()) for code in (0, 1))]
    lines = _score_lines(first, second, queries, counts)
    keypoints = bootstrap.paired_intervals(first, second, bootstrap.rmse_by_keypoint)
    return {
        "one": one[0],
        "other": other[0],
        "sentence": _sentence(one[0], other[0], lines),
        "short": _short(one[0], other[0], lines[0]),
        "scores": lines,
        "keypoints": [
            {
                "annotator": ANNOTATORS[index // NUM_KEYPOINTS],
                "keypoint": KEYPOINT_NAMES[index % NUM_KEYPOINTS],
                "value": interval.value,
                "low": interval.low,
                "high": interval.high,
            }
            for index, interval in enumerate(keypoints)
            if np.isfinite(interval.value)
        ],
    }


def measure_corrections(run: Run, data: RunData, data_dir: Path) -> dict[str, Any] | None:
    """Return whether corrections helped a run: its comparison with the same run without them.

    Parameters
    ----------
    run
        The run.
    data
        Its data.
    data_dir
        Folder of the data set that it was trained on.

    Returns
    -------
    "short" and "sentence" for the newest blended run of the same recipes, folds and data without
    corrections, in the same folder; None if the run has no corrections or there is no such run.
    """
    if not has_corrections(run):
        return None
    queries = dataset.count_queries(data_dir, data.training)
    for other in reversed(list_runs(run.path.parent)):
        same = other.recipe_digests == run.recipe_digests and other.data == run.data
        folds = other.plan.ensemble.folds == run.plan.ensemble.folds
        if not (same and folds and other.plan.seed == run.plan.seed):
            continue
        if has_corrections(other) or not has_blended_out_of_fold(other):
            continue
        try:
            predictions = load_scored_out_of_fold(other)
            compared = compare_predictions(
                ("this run", data.predictors["blend"]),
                (other.name, predictions),
                data,
                queries,
            )
        except FkdError:
            continue
        compared["short"] = _helped(compared["scores"][0])
        compared["sentence"] = f"Compared with {other.name}: {compared['sentence']} {CHANCE}"
        return dict(to_json({key: compared[key] for key in ("short", "sentence")}))
    return None


def _score_lines(
    first: GroupErrors, second: GroupErrors, queries: np.ndarray, counts: Sequence[int]
) -> list[dict[str, Any]]:
    """Return scores and differences of all faces and of each annotator's."""
    combined = bootstrap.combined_rmse(queries)
    differences = [
        *bootstrap.paired_intervals(first, second, combined),
        *bootstrap.paired_intervals(first, second, bootstrap.rmse_by_annotator)[:2],
    ]
    values = [_values(errors, queries) for errors in (first, second)]
    names = ("all faces", *(f"{annotator} faces" for annotator in ANNOTATORS))
    return [
        {
            "faces": names[index],
            "count": counts[index],
            "one": values[0][index],
            "other": values[1][index],
            "value": interval.value,
            "low": interval.low,
            "high": interval.high,
        }
        for index, interval in enumerate(differences)
        if np.isfinite(interval.value)
    ]


def _values(errors: GroupErrors, queries: np.ndarray) -> list[float]:
    """Return the RMSE of all faces, of complete and of partial faces."""
    sums, counts = errors.sums.sum(0, keepdims=True), errors.counts.sum(0, keepdims=True)
    combined = bootstrap.combined_rmse(queries)(sums, counts)[0]
    return [float(combined[0]), *bootstrap.rmse_by_annotator(sums, counts)[0, :2].tolist()]


def _sentence(one: str, other: str, lines: Sequence[dict[str, Any]]) -> str:
    """Return who is better on all, complete and partial faces."""
    parts = []
    for line in lines:
        interval = Interval(line["value"], line["low"], line["high"])
        if interval.low <= 0 <= interval.high:
            parts.append(f"no difference on {line['faces']} ({_difference(interval)})")
            continue
        better = one if interval.value < 0 else other
        parts.append(f"{better} is better by {_difference(interval)} on {line['faces']}")
    return "; ".join(parts) + "."


def _short(one: str, other: str, line: dict[str, Any]) -> str:
    if line["low"] <= 0 <= line["high"]:
        return "no difference beyond chance"
    return f"{one if line['value'] < 0 else other} is better by {abs(line['value']):.3f} px"


def _helped(line: dict[str, Any]) -> str:
    if line["low"] <= 0 <= line["high"]:
        return "no difference beyond chance"
    effect = "yes, better" if line["value"] < 0 else "no, worse"
    return f"{effect} by {abs(line['value']):.3f} px"


def _difference(interval: Interval) -> str:
    """Return a difference with half the width of its interval."""
    half = (interval.high - interval.low) / 2
    return f"{abs(interval.value):.3f} ± {half:.3f} px"
