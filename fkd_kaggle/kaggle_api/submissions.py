"""What Kaggle reports about submissions and teams, as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class SubmissionRecord:
    """A submission in Kaggle's list."""

    ref: int
    file_name: str
    message: str
    submitted: datetime | None
    """Time zone UTC."""
    status: str
    """Kaggle's name in lower case: "complete", "error", or another one, which means pending."""
    error: str
    """Why Kaggle could not score the submission; empty otherwise."""
    public_score: float | None
    private_score: float | None
    team: str


@dataclass(frozen=True)
class LeaderboardRow:
    """One row of the leaderboard."""

    rank: int
    """From 1."""
    team: str
    score: float | None
    submitted: datetime | None


def submission_record(submission: Any) -> SubmissionRecord:
    """Return the record of a submission in the client's answer."""
    return SubmissionRecord(
        ref=submission.ref or 0,
        file_name=submission.file_name or "",
        message=submission.description or "",
        submitted=to_utc(submission.date),
        status=str(getattr(submission.status, "name", None) or "pending").lower(),
        error=submission.error_description or "",
        public_score=parse_score(submission.public_score),
        private_score=parse_score(submission.private_score),
        team=submission.team_name or "",
    )


def parse_score(text: str | None) -> float | None:
    """Return a score in pixels, finite and not negative; None if Kaggle gives none."""
    try:
        score = float(text) if text and text.isascii() else math.nan
    except ValueError:
        return None
    return score if math.isfinite(score) and score >= 0 else None


def to_utc(naive: datetime | None) -> datetime | None:
    """Return a time with its time zone: Kaggle's times are UTC, and kagglesdk drops the Z."""
    return naive.replace(tzinfo=UTC) if naive is not None else None
