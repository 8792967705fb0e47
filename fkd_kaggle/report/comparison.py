"""Page of a comparison of recipes: learning curves, scores as bars, and the table of results.

Draws what ``ensemble.comparison_results`` measured and what ``runs`` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from fkd_kaggle.data.metrics import metric_unit
from fkd_kaggle.ensemble.comparison_results import REFERENCE, ComparisonRow, Result
from fkd_kaggle.keypoints import NUM_KEYPOINTS
from fkd_kaggle.report import drawing, html
from fkd_kaggle.runs.comparison import Comparison
from fkd_kaggle.runs.history import read_histories

HEADER: Final = (
    "recipe", "RMSE, px", "spread", "complete", "partial", "MAE, px", "points", "published metric",
    "images/s", "parameters", "MFLOP", "ended by",
)  # fmt: skip
"""Columns of the table."""

_FIGURES: Final = {
    "histories.png": "RMSE on held-out faces during training, by time and by training images: a "
    "line for each network and seed.",
    "scores.png": "RMSE on held-out faces: bars for the mean over seeds, dots for each seed.",
}

_TIME_AXES: Final = {"seconds": "seconds of training", "images": "training images"}


def write_comparison_page(
    comparison: Comparison, table: Sequence[ComparisonRow], measured: Sequence[Result]
) -> Path:
    """Draw a comparison's figures into its folder and write the page ``compare.html``.

    Parameters
    ----------
    comparison
        The comparison, with its runs.
    table
        A row for each recipe, the best first.
    measured
        A result for each recipe and seed.

    Returns
    -------
    The path of the page.
    """
    draw_histories(comparison, table, comparison.path / "histories.png")
    draw_scores(table, measured, comparison.path / "scores.png")
    page = comparison.path / "compare.html"
    html.write_page(
        page,
        "comparison.html",
        title=f"comparison {comparison.name}",
        rows=[table_cells(row) for row in table],
        figures=_FIGURES,
        header=HEADER,
        protocol=describe_protocol(comparison),
    )
    return page


def describe_protocol(comparison: Comparison) -> str:
    """Return the settings that all recipes of a comparison share, as a phrase."""
    settings = comparison.settings
    limits = [f"{settings.budget:g} s of training"] if settings.budget else []
    limits += [f"{settings.epochs} epochs"] if settings.epochs else []
    parallel = f", {settings.workers} networks at a time" if settings.workers > 1 else ""
    return (
        f"{' or '.join(limits) or 'its own epochs'} each, "
        f"{settings.held_out} of {settings.folds} folds held out, "
        f"{comparison.seeds} seed{'s' if comparison.seeds > 1 else ''}{parallel}"
    )


def table_cells(row: ComparisonRow) -> tuple[str, ...]:
    """Return the formatted cells of a row, in the order of ``HEADER``."""
    mean = row.mean
    own = "–"
    if mean.published_value is not None and mean.published_metric != "rmse-px":
        unit = metric_unit(mean.published_metric)
        own = f"{mean.published_metric} {mean.published_value:.3g} {unit}"
    return (
        mean.recipe,
        _format_number(mean.rmse, 3),
        "–" if row.spread is None else f"±{row.spread:.3f}",
        _format_number(mean.rmse_complete, 3),
        _format_number(mean.rmse_partial, 3),
        _format_number(mean.mae, 3),
        f"{mean.keypoints} of {NUM_KEYPOINTS}",
        own,
        _format_number(mean.images_per_second, 0),
        f"{mean.parameters:,}" if mean.parameters else "–",
        f"{mean.flops / 1e6:,.0f}" if mean.flops else "–",
        mean.ended or "–",
    )


def draw_histories(comparison: Comparison, table: Sequence[ComparisonRow], target: Path) -> None:
    """Draw held-out RMSE over seconds and over images, a line for each network.

    Parameters
    ----------
    comparison
        The comparison, with its runs.
    table
        A row for each recipe to draw; its position selects the colour.
    target
        Path of the PNG.
    """
    figure = Figure(figsize=(12, 5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    order = [row.mean.recipe for row in table]
    labelled: set[str] = set()
    runs = [(run.plan.ensemble.name, run) for run in comparison.runs]
    drawn = [(recipe, run) for recipe, run in runs if recipe in order]
    for recipe, run in sorted(drawn, key=lambda item: order.index(item[0])):
        for history in read_histories(run).values():
            evaluated = np.isfinite(history["rmse"])
            for axes, column in zip(panels, _TIME_AXES, strict=True):
                axes.plot(
                    history[column][evaluated],
                    history["rmse"][evaluated],
                    marker=".",
                    markersize=4,
                    linewidth=1,
                    color=f"C{order.index(recipe) % 10}",
                    label=None if recipe in labelled else recipe,
                )
            labelled.add(recipe)
    for axes, label in zip(panels, _TIME_AXES.values(), strict=True):
        drawing.use_log_axis(axes)
        axes.set_xlabel(label)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("RMSE on held-out faces, pixels")
    if labelled:
        panels[1].legend(fontsize=8)
    drawing.save_figure(figure, target)


def draw_scores(table: Sequence[ComparisonRow], measured: Sequence[Result], target: Path) -> None:
    """Draw a bar for each recipe, a dot for each seed, and a line at the RMSE of the column means.

    Parameters
    ----------
    table
        A row for each recipe, the best first.
    measured
        A result for each recipe and seed.
    target
        Path of the PNG.
    """
    shown = [row for row in table if row.mean.recipe != REFERENCE]
    figure = Figure(figsize=(9, 1.6 + 0.45 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for position, row in enumerate(shown):
        mean = row.mean
        axes.barh(position, mean.rmse or 0.0, color=f"C{table.index(row) % 10}", alpha=0.6)
        seeds = [
            result.rmse
            for result in measured
            if result.recipe == mean.recipe and result.rmse is not None
        ]
        axes.scatter(seeds, [position] * len(seeds), s=14, color="black", zorder=3)
        if mean.keypoints < NUM_KEYPOINTS:
            axes.annotate(
                f"{mean.keypoints} points only",
                (0, position),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    for row in table:
        if row.mean.recipe == REFERENCE and row.mean.rmse is not None:
            axes.axvline(row.mean.rmse, color="0.4", linestyle="--", label=REFERENCE)
            axes.legend(fontsize=8)
    axes.set_yticks(range(len(shown)), [row.mean.recipe for row in shown])
    axes.invert_yaxis()
    axes.set_xlabel("RMSE on held-out faces, pixels")
    axes.grid(alpha=0.3, axis="x")
    drawing.save_figure(figure, target)


def _format_number(value: float | None, decimals: int) -> str:
    """Return a number with fixed decimals; None gives a dash."""
    return "–" if value is None else f"{value:,.{decimals}f}"
