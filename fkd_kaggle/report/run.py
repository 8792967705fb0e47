"""Report of a run: report.html, one file that answers how good the run is and why.

Puts what ``run_data`` computes on a page, with the faces and the predictions. The page corrects
labels and saves corrections.csv. report.json, beside the page, has the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.formatting import format_duration, format_pixels
from fkd_kaggle.report import answers, html, packed
from fkd_kaggle.report.run_comparison import collect_comparison_data, measure_corrections
from fkd_kaggle.report.run_data import RunData, collect_run_data
from fkd_kaggle.runs.folder import Run

PAGE: Final = "report.html"

SCRIPTS: Final = (
    "vega.min.js",
    "vega-lite.min.js",
    "data.js",
    "charts.js",
    "faces.js",
    "review.js",
    "viewer.js",
    "page.js",
)
"""Scripts of the page, in order of execution."""

MAX_FACES: Final = 8000
"""Faces whose images are on a page; the others are grey there. Keeps pages of larger data sets
below about 12 MB."""

_LABEL_STEP, _POINT_STEP, _MEMBER_STEP = 0.01, 0.05, 0.1
"""Resolution of labels, of predictions and of members' differences from the blend, in pixels."""


def write_run_page(
    run: Run,
    data_dir: Path,
    submissions_dir: Path | None = None,
    *,
    target: Path | None = None,
) -> Path:
    """Write a run's page ``report.html`` and its numbers, report.json, into the run's folder.

    Parameters
    ----------
    run
        A blended run.
    data_dir
        Holds the training.csv that the run was trained on.
    submissions_dir
        Folder of the submission files, whose scores the page shows; None for none.
    target
        Path of the page. Default: report.html in the run's folder.

    Returns
    -------
    The path of the page.

    Raises
    ------
    DataError
        training.csv is missing or not in the competition's format.
    RunError
        The run was made on another data set, or was not blended.
    """
    data = collect_run_data(run, data_dir, submissions_dir)
    effect = measure_corrections(run, data, data_dir)
    if effect:
        data.summary["corrections_effect"] = effect
    page = target or run.path / PAGE
    files.write_text(page, render_run_page(data, f"Run {run.name}"))
    files.write_json(run.path / "report.json", data.summary)
    return page


def write_comparison_of_runs(
    runs: Sequence[Run], data_dir: Path, target: Path, submissions_dir: Path | None = None
) -> RunData:
    """Write the page that compares runs, and return its data.

    Parameters
    ----------
    runs, data_dir, submissions_dir
        As for ``collect_comparison_data``.
    target
        Path of the page.
    """
    data = collect_comparison_data(runs, data_dir, submissions_dir)
    title = "Comparison of " + ", ".join(run.name for run in runs)
    files.write_text(target, render_run_page(data, title))
    return data


def render_run_page(data: RunData, title: str) -> str:
    """Return the page for a run's data, or for the data of several runs.

    Parameters
    ----------
    data
        The data.
    title
        Title and heading.
    """
    summary = {**data.summary, "run_corrections": _listed_corrections(data)}
    worst = answers.worst_keypoint(summary)
    return html.render_page(
        "run.html",
        title=title,
        scripts=SCRIPTS,
        data=summary,
        answers=answers.answer_questions(summary),
        expected_reason=answers.EXPECTED,
        worst=worst["keypoint"] if worst else "",
        predictors=list(data.predictors),
        summary_json=html.json_for_page(summary),
        arrays_json=html.json_for_page(_pack_arrays(data)),
        sheets=packed.pack_sheets(_images_on_page(data)),
        pixels=format_pixels,
        duration=format_duration,
        words=lambda name: name.replace("_", " "),
    )


def _pack_arrays(data: RunData) -> dict[str, Any]:
    """Return the arrays that the page's script decodes."""
    training = data.training
    plain = {
        "labels": (training.keypoints, _LABEL_STEP),
        "annotators": (training.annotators, 1.0),
        "groups": (_shared_groups(data.groups), 1.0),
        "expected": (data.evidence.expected, _POINT_STEP),
        "shape": (data.evidence.shape, 0.1),
        "disagreement": (data.disagreement, 0.01),
        "spread": (data.spread, 0.01),
    }
    predictors = []
    first = next(iter(data.predictors))
    base = np.nan_to_num(_rounded(data.predictors[first], _POINT_STEP))
    labelled = np.isfinite(training.keypoints)
    for name, values in data.predictors.items():
        if name == first:
            entry = packed.pack_points(values, _POINT_STEP)
        else:
            # Differences from the blend are small and compress well; only where they are compared.
            # Where the blend has no prediction, they are differences from 0.
            entry = packed.pack_points(np.where(labelled, values - base, np.nan), _MEMBER_STEP)
            entry["relative"] = first
        predictors.append({**entry, "name": name})
    packed_plain = {name: packed.pack_points(*one) for name, one in plain.items()}
    return {"plain": packed_plain, "predictors": predictors}


def _images_on_page(data: RunData) -> np.ndarray:
    """Return (N, 96, 96) uint8 images; grey for the least suspicious of too many faces."""
    images = data.training.images
    if len(images) <= MAX_FACES:
        return images
    distances = np.linalg.norm(data.evidence.predictions - data.training.keypoints, axis=-1)
    largest = np.nan_to_num(distances, nan=-1.0).max(1)
    listed = [one["row"] - 1 for one in data.summary["review"]]
    listed += [row - 1 for one in data.summary["review"] for row in one["duplicates"]]
    largest[listed] = np.inf
    shown = np.full_like(images, 119)
    chosen = np.argsort(-largest, kind="stable")[:MAX_FACES]
    shown[chosen] = images[chosen]
    return shown


def _listed_corrections(data: RunData) -> list[dict[str, Any]]:
    """Return the corrections that the run was trained with, for the page to start from."""
    return [
        {
            "row": one.row,
            "keypoint": one.keypoint,
            "action": one.action,
            "x": None if one.action == "dropped" else round(one.x, 2),
            "y": None if one.action == "dropped" else round(one.y, 2),
        }
        for one in data.corrections
    ]


def _shared_groups(groups: np.ndarray) -> np.ndarray:
    """Return (N,) group numbers that fit int16: NaN for a face without near-duplicates."""
    _, position, counts = np.unique(groups, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(counts > 1)
    number = np.full(len(counts), np.nan)
    number[shared] = np.arange(len(shared))
    return np.asarray(number[position])


def _rounded(values: np.ndarray, step: float) -> np.ndarray:
    return np.asarray(np.rint(values / step) * step)
