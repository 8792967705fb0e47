"""Tests of the tables that commands print."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from fkd_kaggle.data.submission import LocalSubmission
from fkd_kaggle.display import submission_tables, tables
from fkd_kaggle.display.plain_console import PlainConsole
from fkd_kaggle.display.wide_table import WideTable
from fkd_kaggle.kaggle_api.submissions import LeaderboardRow, SubmissionRecord

MONDAY, TUESDAY = (datetime(2026, 3, day, 14, 5, tzinfo=UTC) for day in (2, 3))


def lines(table: Table | WideTable, width: int = 160) -> list[str]:
    console = PlainConsole(width)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def local_submission(name: str, when: datetime | None, ref: int | None) -> LocalSubmission:
    return LocalSubmission(Path(f"{name}.csv"), "night", when, 1.25, None, None, ref)


def kaggle_submission(ref: int, name: str, public: float | None = 1.5) -> SubmissionRecord:
    return SubmissionRecord(
        ref, f"{name}.csv", "", TUESDAY, "complete", "", public, public and public + 0.25, "me"
    )


def test_uploaded_submission_is_one_row_with_scores_from_kaggle() -> None:
    header, row = lines(
        submission_tables.submissions_table(
            [local_submission("a", MONDAY, 7)], [kaggle_submission(7, "a")]
        )
    )
    assert header.split()[:2] == ["time", "(UTC)"]
    assert row.split()[:7] == ["2026-03-02", "14:05", "a.csv", "night", "1.250", "1.500", "1.750"]


def test_submissions_are_sorted_newest_first_and_undated_last() -> None:
    local = [local_submission("old", MONDAY, None), local_submission("undated", None, None)]
    _, *rows = lines(
        submission_tables.submissions_table(local, [kaggle_submission(9, "elsewhere")])
    )
    names = [name for row in rows for name in row.split() if name.endswith(".csv")]
    assert names == ["elsewhere.csv", "old.csv", "undated.csv"]
    assert "not on this disk" in rows[0]
    assert "not uploaded" in rows[1]


def test_long_names_are_wrapped_and_not_cut() -> None:
    name = "20260302-140509-" + "winning-" * 6 + "1"
    for width in (60, 80):
        text = "\n".join(
            lines(submission_tables.submissions_table([local_submission(name, None, 1)], []), width)
        )
        assert "…" not in text
        assert "1.250" in text  # numbers are not wrapped


def test_names_of_servers_and_files_are_only_text() -> None:
    row = LeaderboardRow(1, "[bold]the brackets[/] :smile: \x1b[2J\x9b", 1.0, None)
    line = lines(submission_tables.leaderboard_table([row]))[1]
    assert "[bold]the brackets[/] :smile: \\x1b[2J\\x9b" in line
    assert "\x1b" not in line


def test_evaluation_table_shows_the_summary_of_an_evaluation() -> None:
    summary = {
        "crop": "detect",
        "faces": 5,
        "photos_evaluated": 4,
        "missed_by_detector": 1,
        "rmse_96": 1.5,
        "mse_96": 2.25,
        "median_rmse_96": 1.25,
        "worst_rmse_96": 3.0,
        "rmse_photo": 6.0,
        "mse_photo": 36.0,
        "nme_percent": 4.5,
        "failures_percent": 16.7,
    }
    header, rmse, mse, *rest = lines(tables.evaluation_table(summary, failure_percent=10))
    assert " ".join(header.split()) == "5 faces in 4 photos, crop: detect 96×96 crop photo"
    assert rmse.split()[-2:] == ["1.500", "6.000"]
    assert mse.split()[-2:] == ["2.250", "36.000"]
    assert "above 10 %" in rest[3] and "16.7 %" in rest[3]
    assert rest[4].split()[-1] == "1"


def test_photo_run_table_compares_network_and_mean_points() -> None:
    info = {
        "photos": {"test": 3},
        "epochs": 12,
        "status": "finished",
        "test": {"mae": 0.0061, "mae_px_128": 0.78},
        "means_alone": {"mae": 0.031, "mae_px_128": 3.97},
    }
    header, shares, pixels = lines(tables.photo_run_table(info))
    assert header.startswith("3 test photos, after 12 epochs (finished)")
    assert shares.split()[-2:] == ["0.0061", "0.0310"]
    assert pixels.startswith("MAE, pixels at 128")
