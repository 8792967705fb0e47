"""The practice Kaggle, asked by the official client: KaggleApi in-process and the kaggle command."""

from __future__ import annotations

from pathlib import Path

from fkd_kaggle.competition import Competition
from fkd_kaggle.practice.server import PracticeKaggle


def test_the_answers_themselves_score_nothing_wrong(
    practice: PracticeKaggle, solution_csv: Path
) -> None:
    competition = Competition.open()
    record = competition.wait_for_score(competition.submit(solution_csv, "the answers"))
    assert (record.public_score, record.private_score) == (0.0, 0.0)
    assert record.message == "the answers"
    assert competition.leaderboard()[0].team == "practice"
