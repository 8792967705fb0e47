"""The competition through the official client: submissions, limits, leaderboard."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from conftest import TRAIN, PracticeFactory
from official_client import Connect, download, read_solution, refusal, write_submission

from fkd_kaggle.data import dataset
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.practice.dataset import SLUG
from fkd_kaggle.practice.scoring import public_rows
from fkd_kaggle.practice.server import PracticeKaggle


def test_the_solution_has_the_score_zero(practice: PracticeKaggle, solution_csv: Path) -> None:
    competition = Competition.open()
    record = competition.wait_for_score(competition.submit(solution_csv, "the answers"))
    assert (record.public_score, record.private_score) == (0.0, 0.0)
    assert record.message == "the answers"
    assert competition.leaderboard()[0].team == "practice"


def test_scores_are_rmse_on_two_disjoint_shares(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path, tmp_path: Path
) -> None:
    api, answers = connect(practice), read_solution(solution_csv)
    off = {row: value + row % 7 for row, value in answers.items()}
    # Kaggle does not care about the order of rows.
    backwards = write_submission(tmp_path / "off.csv", dict(reversed(off.items())))
    api.competition_submit(str(backwards), "off", SLUG, quiet=True)
    (record,) = api.competition_submissions(SLUG)
    rows = np.array(sorted(answers))
    public = public_rows(rows)
    for score, share in ((record.public_score, public), (record.private_score, ~public)):
        expected = np.sqrt(np.mean((rows[share] % 7.0) ** 2))
        assert float(score) == pytest.approx(expected, abs=1e-4)


def test_a_malformed_submission_is_an_error_and_does_not_count(
    practice: PracticeKaggle, connect: Connect, tmp_path: Path
) -> None:
    api = connect(practice)
    short = write_submission(tmp_path / "short.csv", {1: 1.0})
    api.competition_submit(str(short), "short", SLUG, quiet=True)
    (record,) = api.competition_submissions(SLUG)
    assert record.status.name == "ERROR"
    assert "required key values" in record.error_description
    assert api.competition_get_submission_limits(SLUG).num_allowed_now == limit_of_new_user(
        practice
    )
    with pytest.raises(CompetitionError, match="required key values"):
        competition = Competition.open()
        competition.wait_for_score(record.ref)


def limit_of_new_user(kaggle: PracticeKaggle) -> int:
    """Return the daily limit as a newcomer sees it."""
    user = ("grace", "x")
    url = f"{kaggle.url}/api/v1/competitions.CompetitionApiService/GetSubmissionLimits"
    answer = requests.post(url, json={"competitionName": SLUG}, auth=user, timeout=10)
    return int(answer.json()["numAllowedNow"])


def test_a_zipped_submission_is_scored_and_an_empty_one_is_an_error(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path, tmp_path: Path
) -> None:
    api = connect(practice)
    (tmp_path / "empty.csv").touch()
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        archive.write(solution_csv, "submission.csv")
    for name in ("empty.csv", "zipped.zip"):
        api.competition_submit(str(tmp_path / name), name, SLUG, quiet=True)
    zipped, empty = api.competition_submissions(SLUG)
    assert (zipped.status.name, float(zipped.public_score)) == ("COMPLETE", 0.0)
    assert (empty.status.name, empty.error_description) == (
        "ERROR",
        "ERROR: The submission is empty",
    )


def test_without_a_solution_a_submission_is_checked_and_not_scored(
    start_practice: PracticeFactory, connect: Connect, solution_csv: Path, tmp_path: Path
) -> None:
    api = connect(start_practice(solution=None))
    answer = api.competition_submit(str(solution_csv), "blind", SLUG, quiet=True)
    assert "not scored: no solution was given (--solution)" in answer.message
    api.competition_submit(str(write_submission(tmp_path / "x.csv", {1: 1})), "", SLUG, quiet=True)
    short, blind = api.competition_submissions(SLUG)
    assert (blind.status.name, blind.public_score, blind.private_score) == ("COMPLETE", "", "")
    assert blind.error_description == "not scored: no solution was given (--solution)"
    assert short.status.name == "ERROR"
    assert not api.competition_leaderboard_view(SLUG)


def test_the_daily_limit_applies_until_midnight(
    start_practice: PracticeFactory, connect: Connect, solution_csv: Path
) -> None:
    clock = [1_800_000_000.0]
    kaggle = start_practice(daily_limit=2, now=lambda: clock[0])
    api = connect(kaggle)

    def submit() -> Any:
        return api.competition_submit(str(solution_csv), "again", SLUG, quiet=True)

    assert submit().message == "Successfully submitted to Facial Keypoints Detection"
    assert api.competition_get_submission_limits(SLUG).num_allowed_now == 1
    submit()
    error = refusal(submit)
    assert error.response.status_code == 400
    assert "Your team has used its daily Submission allowance (2) today" in str(error)
    clock[0] += 86_400
    submit()
    assert len(api.competition_submissions(SLUG)) == 3
    other = connect(kaggle, "grace")
    assert other.competition_get_submission_limits(SLUG).num_allowed_now == 2


def test_a_restart_keeps_submissions_limit_and_leaderboard(
    start_practice: PracticeFactory, connect: Connect, solution_csv: Path
) -> None:
    first = start_practice()
    connect(first).competition_submit(str(solution_csv), "kept", SLUG, quiet=True)
    first.stop()
    api = connect(start_practice())
    (record,) = api.competition_submissions(SLUG)
    assert (record.description, record.file_name) == ("kept", "solution.csv")
    assert api.competition_get_submission_limits(SLUG).num_today == 1
    assert api.competition_leaderboard_view(SLUG)[0].team_name == "ada"
    api.competition_submit(str(solution_csv), "next", SLUG, quiet=True)
    assert [one.description for one in api.competition_submissions(SLUG)] == ["next", "kept"]


def test_the_leaderboard_shows_the_best_of_each_user_and_the_baselines(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path, tmp_path: Path
) -> None:
    answers = read_solution(solution_csv)
    worse = write_submission(tmp_path / "w.csv", {row: x + 0.5 for row, x in answers.items()})
    better = write_submission(tmp_path / "b.csv", {row: x + 0.25 for row, x in answers.items()})
    api = connect(practice)
    for path in (worse, better, worse):
        api.competition_submit(str(path), "", SLUG, quiet=True)
    board = api.competition_leaderboard_view(SLUG)
    assert (board[0].team_name, board[0].score) == ("ada", "0.25000")
    house = {row.team_name: float(row.score) for row in board[1:]}
    assert "column means (house)" in house
    assert sorted(house.values()) == list(house.values())
    api.competition_leaderboard_download(SLUG, str(tmp_path))
    with zipfile.ZipFile(tmp_path / f"{SLUG}.zip") as archive:
        table = archive.read(archive.namelist()[0]).decode()
    assert table.splitlines()[1].startswith("1,1,ada,")


def test_column_means_are_scored_like_any_submission(
    practice: PracticeKaggle, connect: Connect, competition_dir: Path, tmp_path: Path
) -> None:
    training, lookup = dataset.read_training(competition_dir), dataset.read_lookup(competition_dir)
    means = np.nanmean(training.keypoints.reshape(TRAIN, -1).astype(np.float64), 0)
    values = dict(zip(lookup.row_ids.tolist(), means[lookup.features].tolist(), strict=True))
    api = connect(practice)
    path = write_submission(tmp_path / "means.csv", values)
    api.competition_submit(str(path), "", SLUG, quiet=True)
    board = {row.team_name: row.score for row in api.competition_leaderboard_view(SLUG)}
    assert board["ada"] == board["column means (house)"]


def test_long_lists_have_pages(
    start_practice: PracticeFactory, connect: Connect, solution_csv: Path
) -> None:
    api = connect(start_practice(daily_limit=10))
    for number in range(5):
        api.competition_submit(str(solution_csv), str(number), SLUG, quiet=True)
    second = api.competition_submissions(SLUG, page_number=2, page_size=2)
    assert [one.description for one in second] == ["2", "1"]
    assert len(Competition.open().leaderboard(3)) == 3


def test_a_second_download_does_nothing(
    practice: PracticeKaggle, connect: Connect, tmp_path: Path
) -> None:
    api = connect(practice)
    download(api, tmp_path)
    target = tmp_path / f"{SLUG}.zip"
    before = target.stat().st_ino, target.stat().st_mtime_ns
    practice.faults.add("cut-download:after=0,times=all")
    api.competition_download_files(SLUG, path=str(tmp_path), quiet=True)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == before


def test_another_competition_does_not_exist(practice: PracticeKaggle, connect: Connect) -> None:
    api = connect(practice)
    error = refusal(lambda: api.competition_list_files("titanic"))
    assert error.response.status_code == 404
    (listed,) = api.competitions_list(search="facial").competitions
    assert listed.ref.endswith(SLUG)
    assert not api.competitions_list(search="titanic").competitions
