"""What commands print as tables: faces, a data set's quirks, scores, submissions, runs and more.

Lays out values it is given; asks and computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from fkd_kaggle.data.metrics import METRICS
from fkd_kaggle.formatting import format_pixels, format_short

if TYPE_CHECKING:
    from fkd_kaggle.data.dataset import DataSummary
    from fkd_kaggle.data.statistics import DatasetStatistics
    from fkd_kaggle.data.submission import LocalSubmission
    from fkd_kaggle.kaggle_api.competition import LeaderboardRow, SubmissionRecord
    from fkd_kaggle.recipes.schema import Ensemble, Recipe
    from fkd_kaggle.runs.folder import Run
    from fkd_kaggle.runs.scores import Scores


def dataset_table(summary: DataSummary) -> Table:
    """Return how many faces a data set has, by the source that annotated them."""
    table = _empty_table("", ">complete source", ">partial source", ">together")
    for name, complete, partial in (
        ("training faces", summary.complete, summary.partial),
        ("test faces", summary.test_complete, summary.test_partial),
    ):
        table.add_row(name, f"{complete:,}", f"{partial:,}", f"{complete + partial:,}")
    table.add_row("keypoints each", "15", "4", "")
    table.add_row("values asked for", "", "", f"{summary.asked:,}")
    return table


def statistics_table(found: DatasetStatistics) -> Table:
    """Return a data set's counts and its most suspicious labels."""
    table = _empty_table("", ">", "")
    for name, value in found.counts:
        table.add_row(name, value, "")
    for number, one in enumerate(found.suspicions[:5]):
        table.add_row(
            "" if number else "most suspicious labels", f"row {one.row}",
            f"{one.keypoint}: {one.distance:.1f} px off where the others expect it",
        )  # fmt: skip
    return table


def scores_table(values: Scores) -> Table:
    """Return a run's cross-validated scores."""
    table = _empty_table("cross-validated RMSE", ">pixels")
    table.add_row("complete source (15 keypoints)", format_pixels(values.complete))
    table.add_row("partial source (4 keypoints)", format_pixels(values.partial))
    table.add_row("both, as the lookup table asks", format_pixels(values.combined))
    for name, value in sorted(values.by_member.items(), key=lambda item: item[1]):
        table.add_row(f"[dim]  {escape(name)} alone[/]", f"[dim]{format_pixels(value)}[/]")
    table.add_row(
        "[bold]expected on the leaderboard[/]", f"[bold]{format_pixels(values.expected)}[/]"
    )
    return table


def published_metrics_table(values: Scores) -> Table:
    """Return what the recipes' sources measure, beside what they report."""
    places = {
        "held_out": ">faces never seen", "unseen_copies": ">their copies",
        "copies": ">copies of training faces", "published": ">published",
    }  # fmt: skip
    found = [one for measured in values.own.values() for one in measured.values()]
    shown = [place for place in places if any(one.get(place) is not None for one in found)]
    table = _empty_table(
        "as its source measures", "metric", "unit", *(places[one] for one in shown)
    )
    for recipe, measured in values.own.items():
        for name, one in measured.items():
            cells = (format_short(one.get(place)) for place in shown)
            table.add_row(escape(recipe), name, METRICS[name].unit, *cells)
    return table


def leaderboard_table(rows: Iterable[LeaderboardRow], ours: str = "") -> Table:
    """Return the leaderboard, the team named ``ours`` in bold."""
    table = _empty_table(">#", "team", ">score")
    for row in rows:
        style = "bold" if row.team == ours else ""
        table.add_row(str(row.rank), escape(row.team), format_pixels(row.score), style=style)
    return table


def submissions_table(
    local: Sequence[LocalSubmission], remote: Sequence[SubmissionRecord] | None
) -> Table:
    """Return the submissions on this disk and those Kaggle knows, newest first.

    Parameters
    ----------
    remote
        None where Kaggle was not asked.
    """
    table = _empty_table("time (UTC)", "file", "run", ">expected", ">public", ">private", "state")
    theirs = {record.ref: record for record in remote or ()}
    rows = [_local_row(mine, theirs.pop(mine.ref or 0, None)) for mine in local]
    for record in theirs.values():
        rows.append(
            (record.submitted, record.file_name, "", None, record.public_score,
             record.private_score, f"{_submission_state(record)}, not on this disk")
        )  # fmt: skip
    rows.sort(key=lambda row: row[0] or datetime.min.replace(tzinfo=UTC), reverse=True)
    for when, file_name, run, expected, public, private, state in rows:
        table.add_row(
            _format_time(when), escape(file_name), escape(run) or "–", format_pixels(expected), format_pixels(public),
            format_pixels(private), state,
        )  # fmt: skip
    return table


def runs_table(items: Iterable[Run]) -> Table:
    """Return runs with their scores, oldest first."""
    table = _empty_table("run", "made (UTC)", "status", "recipes", ">cross-validated", ">expected")
    for run in items:
        values = run.scores
        table.add_row(
            escape(run.name), str(run.info["created"])[:16].replace("T", " "), run.status,
            ", ".join(run.info["recipes"]), format_pixels(values.combined if values else None),
            format_pixels(values.expected if values else None),
        )  # fmt: skip
    return table


def comparison_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return recipes side by side, the best first; all but names and words to the right."""
    table = _empty_table(
        *(name if name in ("recipe", "ended by") else f">{name}" for name in header)
    )
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def recipes_table(items: Iterable[Recipe | Ensemble]) -> Table:
    """Return recipes and ensembles with what they are and what they reached where measured."""
    table = _empty_table(
        "name", "what it is, and its source", ">parameters", "cost", ">RMSE", "its source reports"
    )  # fmt: skip
    for item in items:
        members = getattr(item, "members", ())
        recipes = [line.recipe for line in members] or [item]
        count = sum(recipe.parameters for recipe in recipes)
        published = getattr(item, "published", {})
        about = (f"ensemble of {len(members)}: " if members else "") + escape(item.description)
        table.add_row(
            f"[bold]{escape(item.name)}[/]",
            about + (f" [dim]({escape(item.source)})[/]" if item.source else ""),
            f"{count:,}" if all(recipe.parameters for recipe in recipes) else "–",
            _cost(item), format_pixels(item.reached.get("rmse")),
            ", ".join(f"{value:g} {METRICS[name].unit}" for name, value in published.items()),
        )  # fmt: skip
    return table


def _cost(item: Recipe | Ensemble) -> str:
    """Return the time a recipe takes: as measured, or as it is limited."""
    if seconds := item.reached.get("seconds_per_epoch"):
        return f"{seconds:g} s an epoch"
    if minutes := item.reached.get("minutes") or getattr(item, "minutes", 0):
        return f"{minutes:g} min"
    return "–"


_SubmissionRow = tuple[
    datetime | None, str, str, float | None, float | None, float | None, str
]  # fmt: skip


def _local_row(mine: LocalSubmission, theirs: SubmissionRecord | None) -> _SubmissionRow:
    """Return a submission of this disk, with Kaggle's word on it where it has one."""
    known = theirs or mine
    state = _submission_state(theirs) if theirs else ("uploaded" if mine.ref else "not uploaded")
    when = mine.created or (theirs.submitted if theirs else None)
    return (
        when, mine.path.name, mine.run, mine.expected, known.public_score,
        known.private_score, state,
    )  # fmt: skip


def _submission_state(record: SubmissionRecord) -> str:
    """Return what became of a submission, in a word or two."""
    scored = record.public_score is not None or record.private_score is not None
    return "not scored" if record.status == "complete" and not scored else record.status


def _empty_table(*columns: str) -> Table:
    """Return an empty table; a column that begins with > is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        right = name.startswith(">")
        # Text is folded where a terminal is narrow, never cut: names are there to be copied.
        table.add_column(
            name.lstrip(">"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    return table


def _format_time(when: datetime | None) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if when else "–"
