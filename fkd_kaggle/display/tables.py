"""The tables that commands print: data sets, scores, runs, comparisons, photos.

Formats values; reads no files, sends no requests and computes no scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from fkd_kaggle.data.metrics import metric_unit
from fkd_kaggle.display.wide_table import Column, WideTable, plain_table
from fkd_kaggle.formatting import (
    format_age,
    format_duration,
    format_pixels,
    format_short,
    format_size,
)
from fkd_kaggle.runs.members import member_progress

if TYPE_CHECKING:
    from fkd_kaggle.data.dataset import DataSummary
    from fkd_kaggle.data.statistics import DatasetStatistics
    from fkd_kaggle.runs.folder import Run
    from fkd_kaggle.runs.overview import RunFolder
    from fkd_kaggle.runs.scores import Scores


ANNOTATORS_EXPLAINED: Final = (
    "Two annotators labelled the faces, by different conventions: the complete annotator up to 15",
    "points of a face, the partial annotator four (eye centres, nose tip, bottom lip). Each test",
    "face is scored with the labels of one of them; a network therefore learns both.",
)
"""What the columns of ``dataset_table`` mean."""


def dataset_table(summary: DataSummary) -> Table:
    """Return the numbers of faces in a data set, by annotator."""
    table = plain_table("", ">complete annotator", ">partial annotator", ">together")
    for name, complete, partial in (
        ("training faces", summary.complete, summary.partial),
        ("test faces", summary.test_complete, summary.test_partial),
    ):
        table.add_row(name, f"{complete:,}", f"{partial:,}", f"{complete + partial:,}")
    table.add_row("keypoints of a face", "15", "4", "")
    table.add_row("values to submit", "", "", f"{summary.queries:,}")
    return table


def statistics_table(statistics: DatasetStatistics) -> Table:
    """Return the counts of a data set and its five least plausible labels."""
    table = plain_table("", ">", "")
    for name, value in statistics.counts:
        table.add_row(name, value, "")
    for number, label in enumerate(statistics.outliers[:5]):
        table.add_row(
            "" if number else "least plausible labels",
            f"row {label.row}",
            f"{label.keypoint}: {label.distance:.1f} px from the position that the other points "
            "predict",
        )
    return table


def scores_table(scores: Scores) -> Table:
    """Return the cross-validated scores of a run."""
    table = plain_table("error on held-out faces (RMSE)", ">pixels")
    table.add_row("complete annotator, 15 keypoints a face", format_pixels(scores.complete))
    table.add_row("partial annotator, 4 keypoints a face", format_pixels(scores.partial))
    table.add_row("both, weighted as in Kaggle's score", format_pixels(scores.combined))
    for name, value in sorted(scores.by_member.items(), key=lambda item: item[1]):
        table.add_row(f"  {name} alone", format_pixels(value), style="dim")
    table.add_row("  for comparison: the mean face", format_pixels(scores.reference), style="dim")
    table.add_row(
        "expected on the leaderboard, public and private",
        format_pixels(scores.expected),
        style="bold",
    )
    return table


def describe_change(before: float, after: float) -> str:
    """Return the line that compares a resumed run with its earlier result, in pixels."""
    if abs(after - before) < 0.0005:
        return f"unchanged since the run was stopped: {format_pixels(after)} px"
    word = "better" if after < before else "worse"
    change = format_pixels(abs(after - before))
    return (
        f"{word} than before it was resumed: {format_pixels(after)} px instead of "
        f"{format_pixels(before)} px ({change} px {word})"
    )


def members_table(run: Run, scores: Scores) -> WideTable:
    """Return all trained members of a run with their errors, best first.

    Parameters
    ----------
    run
        The run.
    scores
        Its scores.
    """
    table = WideTable(
        [
            Column("network"),
            Column("held-out RMSE, px", 1, right=True),
            Column("epochs", 3, right=True),
            Column("trained", 2, right=True),
            Column("ended by", 4),
            Column("in the blend", 5),
        ]
    )
    by_name = {member.name: member for member in run.plan.members}
    for name, rmse in sorted(scores.members.items(), key=lambda item: item[1]):
        if name not in by_name:
            continue
        progress = member_progress(run, by_name[name])
        table.add_row(
            name,
            format_pixels(rmse),
            f"{progress.epoch} of {run.plan.most_epochs(by_name[name])}",
            format_duration(progress.seconds),
            progress.stopped or "interruption",
            "no" if name in scores.excluded else "yes",
        )
    return table


def published_metrics_table(scores: Scores) -> Table:
    """Return the metrics of the recipes' publications: measured values and published ones."""
    headers = {
        "held_out": ">unseen faces",
        "unseen_copies": ">copies of unseen faces",
        "copies": ">copies of training faces",
        "published": ">published",
    }
    rows = [
        (recipe, name, values)
        for recipe, metrics in scores.published_metrics.items()
        for name, values in metrics.items()
    ]
    columns = [key for key in headers if any(values.get(key) is not None for *_, values in rows)]
    table = plain_table(
        "metrics of the publication", "metric", "unit", *(headers[key] for key in columns)
    )
    for recipe, name, values in rows:
        cells = (format_short(values.get(key)) for key in columns)
        table.add_row(recipe, name, metric_unit(name), *cells)
    return table


def runs_table(folders: Iterable[RunFolder], now: datetime) -> WideTable:
    """Return the folders of runs with their state, age, size and scores, in the given order.

    Parameters
    ----------
    folders
        What ``runs.overview.list_folders`` returns.
    now
        Current time, for the age.
    """
    table = WideTable(
        [
            Column("run"),
            Column("state", 1),
            Column("networks", 3, right=True),
            Column("age", 2, right=True),
            Column("size", 2, right=True),
            Column("cross-validated", 4, right=True),
            Column("expected", 1, right=True),
            Column("created (UTC)", 6),
            Column("recipes", 5, wraps=24),
        ]
    )
    for folder in folders:
        scores, run = folder.scores, folder.run
        table.add_row(
            folder.name,
            folder.state or folder.kind,
            f"{folder.usable} of {folder.members}" if folder.members else "–",
            format_age((now - folder.changed).total_seconds()),
            format_size(folder.size),
            format_pixels(scores.combined if scores else None),
            format_pixels(scores.expected if scores else None),
            run.created[:16].replace("T", " ") if run else "–",
            ", ".join(run.recipe_digests) if run else "–",
        )
    return table


_COMPARISON_IMPORTANCE: Final = {
    "recipe": 0,
    "RMSE, px": 0,
    "spread": 2,
    "complete": 1,
    "partial": 1,
    "MAE, px": 4,
    "points": 3,
    "published metric": 6,
    "images/s": 5,
    "parameters": 6,
    "MFLOP": 7,
    "ended by": 4,
}
"""How soon a column is left out on a narrow terminal, see ``wide_table.Column``."""


def comparison_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> WideTable:
    """Return compared recipes in the given order, one row each.

    Parameters
    ----------
    header
        Column names. All columns except "recipe" and "ended by" are aligned to the right.
    rows
        Cells as text.
    """
    table = WideTable(
        [
            Column(
                name,
                _COMPARISON_IMPORTANCE.get(name, 5),
                right=name not in ("recipe", "ended by"),
            )
            for name in header
        ]
    )
    for row in rows:
        table.add_row(*row)
    return table


def evaluation_table(summary: Mapping[str, Any], failure_percent: float) -> Table:
    """Return the errors of a run on annotated photos.

    Parameters
    ----------
    summary
        The values that ``evaluate`` writes to summary.json.
    failure_percent
        Normalised mean error above which a face counts as a failure, in per cent.
    """
    photos = f"{summary['faces']} faces in {summary['photos_evaluated']} photos"
    table = plain_table(f"{photos}, crop: {summary['crop']}", ">96×96 crop", ">photo")
    for name, key in (("RMSE per coordinate, pixels", "rmse"), ("MSE, pixels²", "mse")):
        table.add_row(name, f"{summary[f'{key}_96']:.3f}", f"{summary[f'{key}_photo']:.3f}")
    table.add_row("RMSE of the median face, pixels", f"{summary['median_rmse_96']:.3f}")
    table.add_row("RMSE of the worst face, pixels", f"{summary['worst_rmse_96']:.3f}")
    table.add_row("NME, share of the distance of the eyes", f"{summary['nme_percent']:.2f} %")
    table.add_row(
        f"faces not found or with an NME above {failure_percent:.0f} %",
        f"{summary['failures_percent']:.1f} %",
    )
    if summary["crop"] == "detect":
        table.add_row("faces that the detector did not find", str(summary["missed_by_detector"]))
    return table


def photo_run_table(info: Mapping[str, Any]) -> Table:
    """Return the errors of a network for photos on its test photos.

    Parameters
    ----------
    info
        The content of the run's photo_run.json.
    """
    title = (
        f"{info['photos']['test']} test photos, after {info['epochs']} epochs ({info['status']})"
    )
    table = plain_table(title, ">network", ">mean points")
    for key, value in info["test"].items():
        metric, *rest = key.split("_")
        unit = f", pixels at {rest[-1]}" if rest else ", share of width and height"
        table.add_row(metric.upper() + unit, f"{value:.4f}", f"{info['means_alone'][key]:.4f}")
    return table
