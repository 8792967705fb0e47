"""The competition as its host runs it: who may submit, what it scores, who leads.

Knows the rules and no wire format; competitions.py puts them on the wire.
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
from fkd_kaggle.practice.wire_format import refuse

TITLE: Final = "Facial Keypoints Detection"

NOT_SCORED: Final = "not scored: no answers were given (--solution)"


@dataclass(frozen=True)
class LeaderboardEntry:
    """A place on the leaderboard."""

    team: str
    public_score: float
    private_score: float
    date: float
    """UNIX time."""
    entries: int
    house: bool


@dataclass(frozen=True)
class PracticeCompetition:
    """The competition as its host sees it."""

    dataset: ServedDataset
    store: Store
    kernels: KernelHost
    daily_limit: int

    def left_today(self, user: str) -> int:
        """Return how many submissions ``user`` may still make today."""
        if fault_injection.take_fault("limit") is not None:
            return 0
        return max(0, self.daily_limit - self.store.today(user))

    def submit(self, user: str, file_name: str, message: str, content: Path) -> Submission:
        """Score a file and keep it with what came of it."""
        with self.store.lock:
            if self.left_today(user) == 0:
                hours = (DAY - self.store.now() % DAY) / 3600
                refuse(
                    400,
                    f"Submission not allowed: Your team has used its daily Submission allowance "
                    f"({self.daily_limit}) today, please try again tomorrow UTC ({hours:.0f} hours "
                    "from now).",
                )
            submission = self._score(user, file_name, message, content)
            self.store.add(submission, content)
            return submission

    def leaderboard(self) -> list[LeaderboardEntry]:
        """Return the house's entries and each user's best, the best public score first."""
        opened = self.dataset.archive.stat().st_mtime
        board: list[LeaderboardEntry] = []
        for name, values in self.dataset.house.items():
            scores = self.dataset.scorer.score(values)
            if scores is not None:
                board.append(LeaderboardEntry(name, scores.public, scores.private, opened, 1, True))
        board += _bests(self.store.submissions())
        return sorted(board, key=lambda one: (one.public_score, one.date))

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


def _bests(submissions: Sequence[Submission]) -> Iterator[LeaderboardEntry]:
    scored = [one for one in submissions if one.public_score is not None]
    for user in dict.fromkeys(one.user for one in scored):
        mine = [one for one in scored if one.user == user]
        best = min(mine, key=lambda one: (one.public_score, one.date))
        public, private = float(best.public_score or 0), float(best.private_score or 0)
        yield LeaderboardEntry(user, public, private, best.date, len(mine), False)
