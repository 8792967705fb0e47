"""Tables: what this disk and Kaggle know of the same submission is one row."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fkd_kaggle import formatting
from fkd_kaggle.data.submission import LocalSubmission
from fkd_kaggle.display import tables
from fkd_kaggle.kaggle_api.competition import LeaderboardRow, SubmissionRecord

MONDAY, TUESDAY = (datetime(2026, 3, day, 14, 5, tzinfo=UTC) for day in (2, 3))


def lines(table: Table, width: int = 160) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def mine(name: str, when: datetime | None, ref: int | None) -> LocalSubmission:
    return LocalSubmission(Path(f"{name}.csv"), "night", when, 1.25, None, None, ref)


def theirs(ref: int, name: str, public: float | None = 1.5) -> SubmissionRecord:
    return SubmissionRecord(
        ref, f"{name}.csv", "", TUESDAY, "complete", "", public, public and public + 0.25, "me"
    )


def test_a_submission_known_to_both_is_one_row_with_kaggles_score() -> None:
    header, row = lines(tables.submissions_table([mine("a", MONDAY, 7)], [theirs(7, "a")]))
    assert header.split()[:2] == ["time", "(UTC)"]
    assert row.split()[:7] == ["2026-03-02", "14:05", "a.csv", "night", "1.250", "1.500", "1.750"]


def test_the_newest_comes_first_and_the_undated_last() -> None:
    local = [mine("old", MONDAY, None), mine("undated", None, None)]
    _, *rows = lines(tables.submissions_table(local, [theirs(9, "elsewhere")]))
    assert [name for row in rows for name in row.split() if name.endswith(".csv")] == [
        "elsewhere.csv", "old.csv", "undated.csv",
    ]  # fmt: skip
    assert "not on this disk" in rows[0]
    assert "not uploaded" in rows[1]


def test_names_are_folded_and_never_cut() -> None:
    name = "20260302-140509-" + "winning-" * 6 + "1"
    for width in (60, 80):
        text = "\n".join(lines(tables.submissions_table([mine(name, None, 1)], []), width))
        assert "…" not in text
        assert "1.250" in text  # numbers are in one piece


def test_names_are_not_taken_for_markup() -> None:
    row = LeaderboardRow(1, "[bold]the brackets[/]", 1.0, None)
    assert "[bold]the brackets[/]" in lines(tables.leaderboard_table([row]))[1]


def test_an_error_that_is_not_there_is_a_dash() -> None:
    assert formatting.format_pixels(None) == formatting.format_pixels(float("nan")) == "–"
    assert formatting.format_pixels(1.28236) == "1.282"
