"""The rules of the practice competition: daily limit, scoring of submissions, leaderboard.

Knows no wire format; ``competition_api`` answers the requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fkd_kaggle.practice import fault_injection
from fkd_kaggle.practice.dataset import ServedDataset
from fkd_kaggle.practice.kernels.host import KernelHost
from fkd_kaggle.practice.scoring import MalformedSubmissionError
from fkd_kaggle.practice.storage import DAY, Store, Submission

TITLE: Final = "Facial Keypoints Detection"

NOT_SCORED: Final = "not scored: no solution was given (--solution)"
"""Remark of submissions to a test set without a solution."""


class SubmissionRefusedError(Exception):
    """The daily limit is used up; ``str()`` is Kaggle's message."""


@dataclass(frozen=True)
class LeaderboardEntry:
    """A row of the leaderboard."""

    team: str
    public_score: float
    """RMSE in pixels."""
    private_score: float
    """RMSE in pixels."""
    date: float
    """UNIX time of the best submission."""
    entries: int
    """Number of scored submissions."""
    is_baseline: bool


@dataclass(frozen=True)
class PracticeCompetition:
    """The competition with its data, submissions and kernels."""

    dataset: ServedDataset
    store: Store
    kernels: KernelHost
    daily_limit: int
    """Submissions of a user from one midnight UTC to the next."""

    def left_today(self, user: str) -> int:
        """Return the number of submissions that ``user`` may still make today."""
        if fault_injection.take_fault("limit") is not None:
            return 0
        return max(0, self.daily_limit - self.store.count_today(user))

    def submit(self, user: str, file_name: str, message: str, content: Path) -> Submission:
        """Score a file and store it with the result.

        Parameters
        ----------
        user
            Name of the user.
        file_name, message
            The user's name and description of the file.
        content
            The file.

        Raises
        ------
        SubmissionRefusedError
            The daily limit is used up.
        """
        with self.store.lock:
            if self.left_today(user) == 0:
                hours = (DAY - self.store.now() % DAY) / 3600
                raise SubmissionRefusedError(
                    f"Submission not allowed: Your team has used its daily Submission allowance "
                    f"({self.daily_limit}) today, please try again tomorrow UTC ({hours:.0f} hours "
                    "from now)."
                )
            submission = self._score(user, file_name, message, content)
            self.store.add(submission, content)
            return submission

    def leaderboard(self) -> list[LeaderboardEntry]:
        """Return the baseline entries and each user's best submission, by public score."""
        prepared = self.dataset.archive.stat().st_mtime
        entries: list[LeaderboardEntry] = []
        for name, values in self.dataset.baselines.items():
            scores = self.dataset.scorer.score(values)
            if scores is not None:
                entries.append(
                    LeaderboardEntry(name, scores.public, scores.private, prepared, 1, True)
                )
        entries += _best_submissions(self.store.submissions())
        return sorted(entries, key=lambda entry: (entry.public_score, entry.date))

    def _score(self, user: str, file_name: str, message: str, content: Path) -> Submission:
        ref, size, now = self.store.next_ref(), content.stat().st_size, self.store.now()
        try:
            values = self.dataset.scorer.read(content)
        except MalformedSubmissionError as error:
            return Submission(ref, user, file_name, message, now, size, "error", str(error))
        scores = self.dataset.scorer.score(values)
        if scores is None:
            return Submission(ref, user, file_name, message, now, size, "complete", NOT_SCORED)
        return Submission(
            ref, user, file_name, message, now, size, "complete", "", scores.public, scores.private
        )


def _best_submissions(submissions: Sequence[Submission]) -> Iterator[LeaderboardEntry]:
    """Yield each user's submission with the best public score, the earliest of equal ones."""
    scored = [one for one in submissions if one.public_score is not None]
    for user in dict.fromkeys(one.user for one in scored):
        own = [one for one in scored if one.user == user]
        best = min(own, key=lambda one: (one.public_score, one.date))
        public, private = float(best.public_score or 0), float(best.private_score or 0)
        yield LeaderboardEntry(user, public, private, best.date, len(own), False)
