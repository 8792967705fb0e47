"""The tables of submissions and of the leaderboard.

Formats values; sends no requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table

from fkd_kaggle.display.wide_table import Column, WideTable, plain_table
from fkd_kaggle.formatting import format_pixels, format_time

if TYPE_CHECKING:
    from fkd_kaggle.data.submission import LocalSubmission
    from fkd_kaggle.kaggle_api.submissions import LeaderboardRow, SubmissionRecord


def leaderboard_table(rows: Iterable[LeaderboardRow], team: str = "") -> Table:
    """Return the leaderboard, with the row of ``team`` in bold."""
    table = plain_table(">#", "team", ">public score")
    for row in rows:
        style = "bold" if row.team == team else ""
        table.add_row(str(row.rank), row.team, format_pixels(row.score), style=style)
    return table


def submissions_table(
    local: Sequence[LocalSubmission], remote: Sequence[SubmissionRecord] | None
) -> WideTable:
    """Return local submissions and those on Kaggle, newest first.

    Parameters
    ----------
    local
        Submission files of the submissions folder.
    remote
        Submissions on Kaggle; None if they were not requested. A submission in both lists is one
        row.
    """
    table = WideTable(
        [
            Column("time (UTC)", 3),
            Column("file"),
            Column("run", 4),
            Column("expected", right=True),
            Column("public", right=True),
            Column("private", 1, right=True),
            Column("state", 2),
        ]
    )
    uploaded = {record.ref: record for record in remote or ()}
    rows = [_local_row(submission, uploaded.pop(submission.ref or 0, None)) for submission in local]
    rows += [_remote_row(record) for record in uploaded.values()]
    rows.sort(key=lambda row: row.time or datetime.min.replace(tzinfo=UTC), reverse=True)
    for row in rows:
        table.add_row(
            format_time(row.time),
            row.file_name,
            row.run or "–",
            *map(format_pixels, (row.expected, row.public_score, row.private_score)),
            row.state,
        )
    return table


class _SubmissionRow(NamedTuple):
    """The values of a row in the table of submissions."""

    time: datetime | None
    file_name: str
    run: str
    expected: float | None
    public_score: float | None
    private_score: float | None
    state: str


def _local_row(submission: LocalSubmission, record: SubmissionRecord | None) -> _SubmissionRow:
    """Return the row of a local submission, with Kaggle's scores and state if they are known."""
    scored = record or submission
    if record:
        state = _submission_state(record)
    else:
        state = "uploaded" if submission.ref else "not uploaded"
    return _SubmissionRow(
        submission.created or (record.submitted if record else None),
        submission.path.name,
        submission.run,
        submission.expected,
        scored.public_score,
        scored.private_score,
        state,
    )


def _remote_row(record: SubmissionRecord) -> _SubmissionRow:
    """Return the row of a submission without a local file."""
    state = f"{_submission_state(record)}, not on this disk"
    scores = record.public_score, record.private_score
    return _SubmissionRow(record.submitted, record.file_name, "", None, *scores, state)


def _submission_state(record: SubmissionRecord) -> str:
    """Return Kaggle's state of a submission, or "not scored"."""
    scored = record.public_score is not None or record.private_score is not None
    return "not scored" if record.status == "complete" and not scored else record.status
