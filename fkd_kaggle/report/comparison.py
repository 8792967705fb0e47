"""Pictures of a comparison: histories side by side, scores as bars, and a page with the table.

Draws what ``compare`` measured and what training wrote; measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from fkd_kaggle.data.metrics import METRICS
from fkd_kaggle.ensemble.comparison_results import REFERENCE, ComparisonRow, Result
from fkd_kaggle.report import drawing, html
from fkd_kaggle.runs.comparison import Comparison
from fkd_kaggle.runs.history import read_history

HEADER = (
    "recipe", "RMSE, px", "spread", "complete", "partial", "MAE, px", "points", "as its source",
    "images/s", "parameters", "MFLOP", "ended by",
)  # fmt: skip

_PICTURES = {
    "histories.png": "RMSE on held-out faces while training, by time and by training images seen: "
    "a line for each network and seed.",
    "scores.png": "RMSE on held-out faces: bars for the mean over seeds, dots for each seed.",
}


def write_comparison_page(
    comparison: Comparison, table: Sequence[ComparisonRow], measured: Sequence[Result]
) -> Path:
    """Draw a comparison's pictures into its folder and return the page that holds them."""
    draw_histories(comparison, table, comparison.path / "histories.png")
    draw_scores(table, measured, comparison.path / "scores.png")
    page = comparison.path / "compare.html"
    html.write_page(
        page, f"comparison {comparison.name}", describe_protocol(comparison),
        [table_cells(line) for line in table], _PICTURES, header=HEADER,
    )  # fmt: skip
    return page


def describe_protocol(comparison: Comparison) -> str:
    """Return what all recipes had in common, in a sentence."""
    settings = comparison.settings
    limits = [f"{settings.budget:g} s of training"] if settings.budget else []
    limits += [f"{settings.epochs} epochs"] if settings.epochs else []
    beside = f", {settings.workers} networks at a time" if settings.workers > 1 else ""
    return (
        f"{' or '.join(limits) or 'its own epochs'} each, "
        f"{settings.held_out} of {settings.folds} folds held out, "
        f"{comparison.seeds} seed{'s' if comparison.seeds > 1 else ''}{beside}"
    )


def table_cells(line: ComparisonRow) -> tuple[str, ...]:
    """Return a line of the table as it is to be read."""
    mean = line.mean
    own = "–"
    if mean.own_value is not None and mean.own_metric != "rmse-px":
        own = f"{mean.own_metric} {mean.own_value:.3g} {METRICS[mean.own_metric].unit}"
    return (
        mean.recipe, _number(mean.rmse, 3), "–" if line.spread is None else f"±{line.spread:.3f}",
        _number(mean.rmse_complete, 3), _number(mean.rmse_partial, 3), _number(mean.mae, 3),
        f"{mean.keypoints} of 15", own, _number(mean.images_per_second, 0),
        f"{mean.parameters:,}" if mean.parameters else "–",
        f"{mean.flops / 1e6:,.0f}" if mean.flops else "–", mean.ended or "–",
    )  # fmt: skip


def draw_histories(comparison: Comparison, table: Sequence[ComparisonRow], target: Path) -> None:
    """Draw held-out RMSE over seconds and over images, a line a network, a colour a recipe."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    order = [line.mean.recipe for line in table]
    labelled: set[str] = set()
    runs = {run.name: run.plan.ensemble.name for run in comparison.runs}
    scored = [name for name, recipe in runs.items() if recipe in order]
    for name in sorted(scored, key=lambda one: order.index(runs[one])):
        recipe = runs[name]
        for path in sorted((comparison.path / name).glob("members/*/history.csv")):
            history = read_history(path)
            seen = np.isfinite(history["rmse"])
            for axes, what in zip(panels, ("seconds", "images"), strict=True):
                axes.plot(
                    history[what][seen], history["rmse"][seen], marker=".", markersize=4,
                    linewidth=1, color=f"C{order.index(recipe) % 10}",
                    label=None if recipe in labelled else recipe,
                )  # fmt: skip
            labelled.add(recipe)
    for axes, what in zip(panels, ("seconds of training", "training images seen"), strict=True):
        drawing.use_log_axis(axes)
        axes.set_xlabel(what)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("RMSE on held-out faces, pixels")
    if labelled:
        panels[1].legend(fontsize=8)
    drawing.save_figure(figure, target)


def draw_scores(table: Sequence[ComparisonRow], measured: Sequence[Result], target: Path) -> None:
    """Draw a bar a recipe, a dot a seed, and a line where the mean face is."""
    shown = [line for line in table if line.mean.recipe != REFERENCE]
    figure = Figure(figsize=(9, 1.6 + 0.45 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, line in enumerate(shown):
        mean = line.mean
        axes.barh(place, mean.rmse or 0.0, color=f"C{table.index(line) % 10}", alpha=0.6)
        seeds = [one.rmse for one in measured if one.recipe == mean.recipe and one.rmse is not None]
        axes.scatter(seeds, [place] * len(seeds), s=14, color="black", zorder=3)
        if mean.keypoints < 15:
            axes.annotate(f"{mean.keypoints} points only", (0, place), (4, 0),
                          textcoords="offset points", va="center", fontsize=8)  # fmt: skip
    for line in table:
        if line.mean.recipe == REFERENCE and line.mean.rmse is not None:
            axes.axvline(line.mean.rmse, color="0.4", linestyle="--", label=REFERENCE)
            axes.legend(fontsize=8)
    axes.set_yticks(range(len(shown)), [line.mean.recipe for line in shown])
    axes.invert_yaxis()
    axes.set_xlabel("RMSE on held-out faces, pixels")
    axes.grid(alpha=0.3, axis="x")
    drawing.save_figure(figure, target)


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:,.{decimals}f}"
