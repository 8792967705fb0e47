"""The tables of ``leaderboard.py`` in docs/results.md and README.md, and ``[reached]`` in recipes.

Everything is made from the saved results, so that a test can compare pages and results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.leaderboard_results import (
    MINUTES,
    TIMED,
    Result,
    Row,
    command_line,
    is_current,
    rank_correlation,
    rows_of,
    time_to_score,
)

from fkd_kaggle import files
from fkd_kaggle.data.metrics import METRICS
from fkd_kaggle.formatting import format_pixels
from fkd_kaggle.recipes import loading
from fkd_kaggle.recipes.schema import Recipe

ROOT: Final = Path(__file__).parents[2]

PAGE: Final = ROOT / "docs" / "results.md"

README: Final = ROOT / "README.md"

_BEGIN: Final = "<!-- leaderboard: made by python tests/benchmarks/leaderboard.py --table -->"

_END: Final = "<!-- end of leaderboard -->"

_FREE: Final = 0.8
"""Share of its cores that a training used on an idle machine, at least."""

_BUSY: Final = (
    f"† used less than {_FREE:.0%} of its cores: other programs ran, or there was less to train "
    "than cores."
)

_EARLIER: Final = "‡ trained before the recipe was changed."

_SCORES: Final = (1.30, 1.20, 1.15)
"""Expected scores, in pixels, whose time is shown."""

_HEADER: Final = (
    "recipe",
    "held out",
    "± seeds",
    "complete",
    "partial",
    "expected",
    "out of fold",
    "images/s",
    "epochs",
    "parameters",
    "MFLOP",
    "publication's metric",
    "CPU",
)


def render(results: Sequence[Result]) -> str:
    """Return all tables as Markdown.

    Parameters
    ----------
    results
        The saved results.
    """
    parts = [_main_section(results)]
    if any(one.name == TIMED for one in results):
        parts.append(render_times(results))
    if own := _own_section(results):
        parts.append(own)
    if others := _other_section(results):
        parts.append(others)
    return "\n\n".join(parts)


def render_best(results: Sequence[Result]) -> str:
    """Return the best shipped recipe of each architecture as Markdown; ensembles are one group.

    Parameters
    ----------
    results
        The saved results.
    """
    best: dict[str, tuple[str, ...]] = {}
    for row in rows_of(one for one in _shipped(results) if is_current(one)):
        if row.is_whole_face:  # rows are sorted: the first one of an architecture is its best
            first = row.first
            cells = (
                f"[`{first.name}`](docs/recipes.md)",
                f"{first.cores} × {MINUTES:g} min",
                format_pixels(row.mean("expected")),
                format_pixels(row.mean("held_out", "combined")),
                f"`{command_line(first.name, len(row.results), MINUTES)}`",
            )
            best.setdefault(_architecture(first.name), cells)
    header = ("architecture", "best recipe", "cores × time", "expected", "held out", "measured by")
    return _table(header, [(name, *cells) for name, cells in best.items()])


def render_times(results: Sequence[Result]) -> str:
    """Return the minutes that ``quick`` needs until its expected score is below some values.

    Parameters
    ----------
    results
        The saved results. Only measured time limits are shown, without interpolation.
    """
    lines = []
    for score in _SCORES:
        row = time_to_score(results, score)
        if row is None:
            lines.append((f"{score:.2f}", "not reached", "–", "–", "–"))
            continue
        lines.append(
            (
                f"{score:.2f}",
                f"{row.first.minutes:g}",
                format_pixels(row.mean("expected")),
                format_pixels(row.mean("held_out", "combined")),
                f"{len(row.results)}",
            )
        )
    header = (f"`{TIMED}`: expected score below", "minutes", "expected", "held out", "seeds")
    return _table(header, lines)


def _shipped(results: Sequence[Result]) -> list[Result]:
    """Return the results of shipped recipes with the benchmark's time limit."""
    names = loading.recipe_names()
    return [one for one in results if one.name in names and one.minutes == MINUTES]


def _architecture(name: str) -> str:
    loaded = loading.load_recipe(name)
    return f"`{loaded.architecture}`" if isinstance(loaded, Recipe) else "ensemble"


def page_section(page: str) -> str:
    """Return the part of a page that ``write_pages`` replaces.

    Raises
    ------
    ValueError
        The page has no such part.
    """
    return page[slice(*_section_bounds(page))].strip()


def write_pages(results: Sequence[Result]) -> None:
    """Replace the tables in docs/results.md and README.md."""
    for path, tables in ((PAGE, render(results)), (README, render_best(results))):
        page = path.read_text(encoding="utf-8")
        begin, end = _section_bounds(page)
        files.write_text(path, f"{page[:begin]}\n\n{tables}\n\n{page[end:]}")


def reached_section(results: Sequence[Result], name: str) -> str | None:
    """Return the table ``[reached]`` of a shipped recipe; None if it was not run.

    Parameters
    ----------
    results
        The saved results.
    name
        Name of the recipe.
    """
    own = [one for one in results if one.name == name and one.minutes == MINUTES]
    rows = [row for row in rows_of(own) if is_current(row.first)]
    rmse = rows[0].mean("held_out", "combined") if rows else None
    if not rows or rmse is None:
        return None
    first, seeds = rows[0].first, len(rows[0].results)
    cores = "one core" if first.cores == 1 else f"{first.cores} cores"
    mean = f", mean of {seeds} seeds" if seeds > 1 else ""
    command = command_line(name, seeds, MINUTES)
    keypoints = "" if rows[0].is_whole_face else f"keypoints = {first.keypoints}\n"
    return (
        "[reached]\n"
        f"rmse = {rmse:.3f}\n"
        f"{keypoints}"
        f"minutes = {MINUTES:g}\n"
        f'on = "the stand-in with a fifth held out, {cores}{mean}: {command}"\n'
    )


def with_reached(text: str, section: str | None) -> str:
    """Return the text of a recipe file with another ``[reached]``; None keeps the text.

    Parameters
    ----------
    text
        The file. ``[reached]`` is its last table.
    section
        The new table.
    """
    if section is None:
        return text
    before = re.sub(r"\n\[reached\]\n.*\Z", "", text, flags=re.DOTALL).rstrip("\n")
    return f"{before}\n\n{section}"


def write_recipes(results: Sequence[Result]) -> None:
    """Write what the shipped recipes reached into their files."""
    for name in loading.recipe_names():
        path = ROOT / "fkd_kaggle" / "recipes" / f"{name}.toml"
        before = path.read_text(encoding="utf-8")
        after = with_reached(before, reached_section(results, name))
        if after != before:
            files.write_text(path, after)


def _section_bounds(page: str) -> tuple[int, int]:
    """Return begin and end of the tables in a page."""
    return page.index(_BEGIN) + len(_BEGIN), page.index(_END)


def _main_section(results: Sequence[Result]) -> str:
    names, shipped = loading.recipe_names(), _shipped(results)
    rows = rows_of(shipped)
    faces = [row for row in rows if row.is_whole_face]
    regions = [row for row in rows if not row.is_whole_face]
    missing = [name for name in names if name not in {row.first.name for row in rows}]
    parts = [_table(_HEADER, [_cells(row) for row in faces])] if faces else []
    if regions:
        parts.append("Networks for a part of the face, on their own keypoints:")
        parts.append(_table(_HEADER, [_cells(row) for row in regions]))
    if missing:
        lines = [(f"`{name}`", f"`{command_line(name, 1, MINUTES)}`") for name in missing]
        parts.append(_table(("not yet run", "command"), lines))
    parts += [_BUSY] if any(map(_is_busy, rows)) else []
    parts += [line for line in (_correlations(faces), _outdated(shipped)) if line]
    return "\n\n".join(parts)


def _correlations(rows: Sequence[Row]) -> str:
    found = [
        f"{value:.2f} {words}"
        for what, words in (
            ("expected", "for the expected score"),
            ("out_of_fold", "for the out-of-fold RMSE"),
        )
        if (value := rank_correlation(rows, what)) is not None
    ]
    if not found:
        return ""
    return (
        "Kendall's τ between the ranking out of fold and the ranking on the held-out fifth: "
        f"{' and '.join(found)} ({len(rows)} rows)."
    )


def _outdated(results: Sequence[Result]) -> str:
    names = sorted({one.name for one in results if not is_current(one)})
    if not names:
        return ""
    listed = ", ".join(f"`{name}`" for name in names)
    return f"Trained before their recipe was changed, to be run again: {listed}."


def _own_section(results: Sequence[Result]) -> str:
    """Return the table of trainings with the publications' schedules; empty without any."""
    lines = []
    for row in rows_of(results, schedule="own"):
        first = row.first
        errors = (format_pixels(first.out_of_fold.combined), format_pixels(first.held_out.combined))
        metrics: Mapping[str, Mapping[str, float | None]] = first.published or {"": {}}
        for metric, values in metrics.items():
            shown = [values.get(key) for key in ("published", "ours", "copies", "unseen_copies")]
            cells = ["–" if value is None else f"{value:.4g}" for value in shown]
            name = f"{metric}, {METRICS[metric].unit}" if metric else "–"
            lines.append((f"`{first.name}`", _epochs(first), *errors, name, *cells))
    if not lines:
        return ""
    header = (
        "own schedule and split",
        "epochs",
        "own split",
        "held out",
        "publication's metric",
        "published",
        "ours",
        "copies of training faces",
        "copies of held-out faces",
    )
    return _table(header, lines)


def _other_section(results: Sequence[Result]) -> str:
    """Return the table of changed recipes and of other time limits; empty without any."""
    shipped = _shipped(results)
    others = [one for one in results if one not in shipped]
    rows = rows_of(others)
    if not rows:
        return ""
    lines = [
        (
            f"`{row.first.name}`{'' if is_current(row.first) else ' ‡'}",
            f"{row.first.minutes:g}",
            f"{row.first.cores}",
            format_pixels(row.mean("held_out", "combined")),
            format_pixels(row.spread),
            format_pixels(row.mean("expected")),
            format_pixels(row.mean("out_of_fold", "combined")),
            _epochs(row.first),
            _processor(row.first),
        )
        for row in rows
    ]
    header = ("changed recipes, other times", "minutes", "cores", "held out", "± seeds")
    table = _table((*header, "expected", "out of fold", "epochs", "CPU"), lines)
    return table if all(is_current(row.first) for row in rows) else f"{table}\n\n{_EARLIER}"


def _is_busy(row: Row) -> bool:
    """Return whether a training of a row did not have its cores for itself."""
    return any(one.cores_used < _FREE * one.cores for one in row.results)


def _cells(row: Row) -> tuple[str, ...]:
    first = row.first
    speed = row.mean("images_per_second")
    return (
        f"`{first.name}`{' †' if _is_busy(row) else ''}",
        format_pixels(row.mean("held_out", "combined")),
        "–" if row.spread is None else f"{row.spread:.3f} ({len(row.results)})",
        format_pixels(row.mean("held_out", "complete")),
        format_pixels(row.mean("held_out", "partial")),
        # The score of a submission, which also contains the mean face's other keypoints.
        format_pixels(row.mean("expected") if row.is_whole_face else None),
        format_pixels(row.mean("out_of_fold", "combined")),
        "–" if speed is None else f"{speed:.0f}",
        _epochs(first),
        f"{first.parameters:,}",
        f"{first.flops / 1e6:.0f}",
        _published_cell(first),
        _processor(first),
    )


def _epochs(result: Result) -> str:
    """Return the trained epochs of a result: the range over the members of each recipe."""
    groups: dict[int, list[int]] = {}
    for trained, largest in result.epochs.values():
        groups.setdefault(largest, []).append(trained)
    parts = []
    for largest, epochs in groups.items():
        low, high = min(epochs), max(epochs)
        parts.append(f"{low} of {largest}" if low == high else f"{low}–{high} of {largest}")
    return ", ".join(parts) or "–"


def _processor(result: Result) -> str:
    """Return the type of the processor: "AMD EPYC" or "Intel Xeon"."""
    name = result.machine.split(",")[0].replace("(R)", "").replace("Processor", "")
    return " ".join(name.split())


def _published_cell(result: Result) -> str:
    """Return the publication's main metric, ours and published."""
    loaded = loading.load_recipe(result.name)
    if not isinstance(loaded, Recipe) or loaded.published_metric not in result.published:
        return ""
    values = result.published[loaded.published_metric]
    ours, published = (values.get(key) for key in ("ours", "published"))
    if ours is None:
        return ""
    theirs = "" if published is None else f", published {published:.4g}"
    return f"{ours:.4g} {METRICS[loaded.published_metric].unit}{theirs}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
