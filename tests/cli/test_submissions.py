"""The commands for submissions and lists: options that exclude each other, the own team."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, assert_one_line_error

from fkd_kaggle.display import submission_tables
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.submissions import LeaderboardRow, SubmissionRecord
from fkd_kaggle.practice.server import PracticeKaggle


@pytest.mark.parametrize("command", [("runs",), ("submissions", "--local")], ids=" ".join)
def test_a_document_and_a_table_exclude_each_other(fkd: Command, command: tuple[str, ...]) -> None:
    result = fkd(*command, "--json", "--csv", "out.csv")
    assert_one_line_error(result, "--json", "omit --csv")
    assert result.out == ""
    assert not Path("out.csv").exists()


@pytest.mark.parametrize("more", [(), ("quick-1",), ("--via", "kernel")], ids=" ".join)
def test_implausible_locations_are_accepted_of_files_only(
    fkd: Command, more: tuple[str, ...]
) -> None:
    result = fkd("submit", *more, "--accept-implausible")
    assert_one_line_error(result, "--accept-implausible: only with --file")


def record(team: str) -> SubmissionRecord:
    """Return a submission of a team."""
    return SubmissionRecord(1, "a.csv", "", None, "complete", "", 1.2, 1.3, team)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[LeaderboardRow]:
    """The leaderboard that Kaggle answers."""
    names = ("Deep Thought", "practice", "Eddie")
    found = [LeaderboardRow(rank, name, 1.0 + rank, None) for rank, name in enumerate(names, 1)]
    monkeypatch.setattr(Competition, "leaderboard", lambda self, limit: found)
    return found


@pytest.mark.parametrize(
    ("teams", "own"),
    [
        (["Deep Thought", "Deep Thought"], "Deep Thought"),
        (["Eddie", "Deep Thought"], "Eddie"),  # the newest first
        (["", "Eddie"], "Eddie"),
        ([], "practice"),
        (None, "practice"),  # Kaggle lists no submissions
    ],
)
def test_the_own_team_is_that_of_the_newest_submission(
    fkd: Command,
    practice: PracticeKaggle,
    rows: list[LeaderboardRow],
    monkeypatch: pytest.MonkeyPatch,
    teams: list[str] | None,
    own: str,
) -> None:
    def submissions(self: Competition) -> list[SubmissionRecord]:
        if teams is None:
            raise CompetitionError("Kaggle refused")
        return [record(team) for team in teams]

    bold: list[str] = []
    table = submission_tables.leaderboard_table

    def note(listed: Any, team: str = "") -> Any:
        bold.append(team)
        return table(listed, team)

    monkeypatch.setattr(Competition, "submissions", submissions)
    monkeypatch.setattr(submission_tables, "leaderboard_table", note)
    result = fkd("leaderboard", "--json")
    assert result.code == 0, result.all
    listed = json.loads(result.out)["leaderboard"]
    assert [row["team"] for row in listed if row["own"]] == [own]
    assert fkd("leaderboard").code == 0
    assert bold == [own]
