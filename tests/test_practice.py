"""The practice Kaggle, asked by the official client: KaggleApi here, ``kaggle`` as a command."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from conftest import SECRET, TRAIN, PracticeFactory, make_faces, run, run_kaggle, write_competition
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle import keypoints
from fkd_kaggle.data import csv_format, dataset, faces
from fkd_kaggle.errors import CompetitionError, DataError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.practice import fault_injection
from fkd_kaggle.practice.dataset import SERVED, SLUG, PracticeData, prepare_dataset
from fkd_kaggle.practice.scoring import MalformedSubmissionError, Scorer, public_rows
from fkd_kaggle.practice.server import PracticeKaggle

Connect = Callable[..., Any]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return a function that gives the official client, unchanged, talking to a practice Kaggle."""

    def connect(kaggle: PracticeKaggle, user: str = "ada") -> Any:
        monkeypatch.setenv("KAGGLE_USERNAME", user)
        monkeypatch.setenv("KAGGLE_KEY", SECRET)
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        from kagglesdk import kaggle_env

        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, kaggle.url)
        from kaggle.api.kaggle_api_extended import KaggleApi

        api = KaggleApi()
        api.args = ["--local"]
        api.authenticate()
        return api

    return connect


def refusal(call: Callable[[], Any]) -> requests.HTTPError:
    """Return the HTTP error that a call of the client ends in."""
    with pytest.raises(requests.HTTPError) as caught:
        call()
    return caught.value


def write_submission(path: Path, rows: dict[int, float]) -> Path:
    """Write a submission file."""
    path.write_text("RowId,Location\n" + "".join(f"{row},{x}\n" for row, x in rows.items()))
    return path


def read_answers(solution: Path) -> dict[int, float]:
    """Read a solution file without the code under test."""
    lines = solution.read_text().split()[1:]
    return {int(row): float(value) for row, value in (line.split(",") for line in lines)}


def test_the_answers_themselves_score_nothing_wrong(
    practice: PracticeKaggle, solution_csv: Path
) -> None:
    competition = Competition.open()
    record = competition.wait_for_score(competition.submit(solution_csv, "the answers"))
    assert (record.public_score, record.private_score) == (0.0, 0.0)
    assert record.message == "the answers"
    assert competition.leaderboard()[0].team == "practice"


def test_scores_are_the_root_mean_squares_of_two_disjoint_shares(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path, tmp_path: Path
) -> None:
    api, answers = connect(practice), read_answers(solution_csv)
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


@given(st.integers(1, 3000), st.integers(0, 10**6))
def test_a_row_is_public_or_private_wherever_it_stands(count: int, start: int) -> None:
    rows = np.arange(start, start + count)
    shuffled = np.random.default_rng(count).permutation(rows)
    assert np.array_equal(public_rows(shuffled), public_rows(rows)[shuffled - start])


def test_about_half_of_the_rows_are_public() -> None:
    assert 0.48 < public_rows(np.arange(1, 27125)).mean() < 0.52


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("Row,Location\n1,2\n", "Required column 'RowId' could not be found"),
        ("RowId,Location\n1,2\n2,3\n", "Unable to find 1 required key values"),
        ("RowId,Location\n1,2\n2,3\n2,3\n3,4\n", "has already been defined (Line 4, Column 1)"),
        ("RowId,Location\n1,2\n2,3\n3,4\n9,4\n", "'9' in the key column 'RowId' was not expected"),
        ("RowId,Location\n1,2\n2,nan\n3,4\n", "'nan' in the column 'Location' must be a finite"),
        ("RowId,Location\n1,2\n2,\n3,4\n", "(Line 3, Column 2)"),
        ("RowId,Location\n1,2\n2,x\n3,4\n", "'x' in the column 'Location'"),
        ("RowId,Location,Face\n1,2,3\n2,3,3\n3,4,3\n", "'Face' was not expected"),
        ("RowId,Location\n1,2\n2,3,5,6\n3,4\n", "not a CSV file"),
        ("\x00\x01\x02", "Required column"),
    ],
)
def test_a_malformed_submission_is_told_what_is_wrong(
    content: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "submission.csv"
    path.write_text(content)
    scorer = Scorer(np.arange(1, 4), np.zeros(3))
    with pytest.raises(MalformedSubmissionError) as caught:
        scorer.read(path)
    assert reason in str(caught.value)


def test_a_malformed_submission_is_listed_as_an_error_and_costs_nothing(
    practice: PracticeKaggle, connect: Connect, tmp_path: Path
) -> None:
    api = connect(practice)
    short = write_submission(tmp_path / "short.csv", {1: 1.0})
    api.competition_submit(str(short), "short", SLUG, quiet=True)
    (record,) = api.competition_submissions(SLUG)
    assert record.status.name == "ERROR"
    assert "required key values" in record.error_description
    assert api.competition_get_submission_limits(SLUG).num_allowed_now == practice_limit(practice)
    with pytest.raises(CompetitionError, match="required key values"):
        competition = Competition.open()
        competition.wait_for_score(record.ref)


def practice_limit(kaggle: PracticeKaggle) -> int:
    """Return the daily limit as a newcomer sees it."""
    user = ("grace", "x")
    url = f"{kaggle.url}/api/v1/competitions.CompetitionApiService/GetSubmissionLimits"
    answer = requests.post(url, json={"competitionName": SLUG}, auth=user, timeout=10)
    return int(answer.json()["numAllowedNow"])


def test_an_empty_and_a_zipped_submission_are_taken_as_kaggle_takes_them(
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


def test_without_answers_a_submission_is_checked_and_not_scored(
    start_practice: PracticeFactory, connect: Connect, solution_csv: Path, tmp_path: Path
) -> None:
    api = connect(start_practice(solution=None))
    answer = api.competition_submit(str(solution_csv), "blind", SLUG, quiet=True)
    assert "not scored: no answers were given (--solution)" in answer.message
    api.competition_submit(str(write_submission(tmp_path / "x.csv", {1: 1})), "", SLUG, quiet=True)
    short, blind = api.competition_submissions(SLUG)
    assert (blind.status.name, blind.public_score, blind.private_score) == ("COMPLETE", "", "")
    assert blind.error_description == "not scored: no answers were given (--solution)"
    assert short.status.name == "ERROR"
    assert not api.competition_leaderboard_view(SLUG)


def test_answers_of_other_data_are_refused(start_practice: PracticeFactory, tmp_path: Path) -> None:
    wrong = write_submission(tmp_path / "wrong.csv", {1: 1.0})
    with pytest.raises(DataError, match=r"wrong\.csv does not fit the data: Unable to find"):
        start_practice(solution=wrong)
    with pytest.raises(DataError, match="there is no solution file"):
        start_practice(solution=tmp_path / "none.csv")


def test_the_daily_limit_refuses_in_kaggles_words_until_midnight(
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


def test_the_leaderboard_shows_each_users_best_among_the_house_entries(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path, tmp_path: Path
) -> None:
    answers = read_answers(solution_csv)
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


def test_long_lists_come_in_pages(
    start_practice: PracticeFactory, connect: Connect, solution_csv: Path
) -> None:
    api = connect(start_practice(daily_limit=10))
    for number in range(5):
        api.competition_submit(str(solution_csv), str(number), SLUG, quiet=True)
    second = api.competition_submissions(SLUG, page_number=2, page_size=2)
    assert [one.description for one in second] == ["2", "1"]
    assert len(Competition.open().leaderboard(3)) == 3


def download(api: Any, folder: Path) -> dict[str, bytes]:
    """Download everything as one zip; return the plain CSVs in it."""
    api.competition_download_files(SLUG, path=str(folder))
    content = {}
    with zipfile.ZipFile(folder / f"{SLUG}.zip") as archive:
        for name in archive.namelist():
            data = archive.read(name)
            if name.endswith(".zip"):
                with zipfile.ZipFile(io.BytesIO(data)) as inner:
                    (name,) = inner.namelist()
                    data = inner.read(name)
            content[name] = data
    return content


@pytest.mark.parametrize("packing", ["plain", "zips", "kaggle zip", "zip of plain", "zip in a zip"])
def test_data_is_served_as_kaggle_packs_it_however_it_comes(
    packing: str,
    competition_dir: Path,
    start_practice: PracticeFactory,
    connect: Connect,
    tmp_path: Path,
    solution_csv: Path,
) -> None:
    originals = {path.name: path.read_bytes() for path in competition_dir.glob("*.csv")}
    data = pack(packing, originals, tmp_path / "packed")
    before = data.read_bytes() if packing == "kaggle zip" else None
    api = connect(start_practice(data, solution=solution_csv))
    assert download(api, tmp_path / "all") == originals
    if before is not None:
        assert (tmp_path / "all" / f"{SLUG}.zip").read_bytes() == before
    listed = {file.name: file.total_bytes for file in api.competition_list_files(SLUG).files}
    assert set(listed) == set(SERVED)
    for name, size in listed.items():
        api.competition_download_file(SLUG, name, path=str(tmp_path / "single"), quiet=True)
        assert (tmp_path / "single" / name).stat().st_size == size


def pack(packing: str, originals: dict[str, bytes], folder: Path) -> Path:
    """Lay the competition's CSVs out in one of the ways they are found; return where."""
    folder.mkdir()
    zipped = {
        name.replace(".csv", ".zip") if name in ("training.csv", "test.csv") else name: (
            as_zip({name: data}) if name in ("training.csv", "test.csv") else data
        )
        for name, data in originals.items()
    }
    if packing in ("plain", "zips"):
        for name, data in (originals if packing == "plain" else zipped).items():
            (folder / name).write_bytes(data)
        (folder / ".cache").mkdir()
        (folder / ".cache" / "training.csv").write_text("not this one")
        return folder
    inside = {f"data/{name}": data for name, data in originals.items()}
    whole = as_zip(zipped if packing == "kaggle zip" else inside)
    if packing == "zip in a zip":
        whole = as_zip({"download.zip": whole})
    (folder / "data.zip").write_bytes(whole)
    return folder / "data.zip"


def as_zip(content: dict[str, bytes]) -> bytes:
    """Return a zip of ``content``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return stream.getvalue()


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


@pytest.mark.parametrize("hold_out", [None, 0.25])
def test_held_out_faces_become_a_test_set_without_their_near_duplicates(
    hold_out: float | None, start_practice: PracticeFactory, connect: Connect, tmp_path: Path
) -> None:
    # Every face stands three times, each with a little noise of its own.
    once = make_faces(20, seed=3)
    order = np.repeat(np.arange(20), 3)
    noise = np.random.default_rng(4).integers(0, 3, (60, 96, 96))
    images = np.clip(once.images[order].astype(int) + noise, 0, 255).astype(np.uint8)
    (tmp_path / "data").mkdir()
    csv_format.write_training_csv(
        tmp_path / "data" / "training.csv",
        faces.Faces(images, once.keypoints[order], np.arange(1, 61)),
    )
    kaggle = start_practice(tmp_path / "data", hold_out=hold_out)
    into = tmp_path / "fetched"
    into.mkdir()
    for name, content in download(connect(kaggle), tmp_path / "zip").items():
        (into / name).write_bytes(content)
    training, test, lookup = (
        dataset.read_training(into), dataset.read_test(into), dataset.read_lookup(into)
    )  # fmt: skip
    share = len(test.images) / 60
    assert abs(share - (hold_out or 0.2)) <= 0.1
    assert len(training.images) + len(test.images) == 60
    person = {image.tobytes(): number for image, number in zip(images, order, strict=True)}
    learned = {person[image.tobytes()] for image in training.images}
    asked = [person[image.tobytes()] for image in test.images]
    assert not learned & set(asked)
    annotators = lookup.annotators(test.ids)
    assert set(annotators.tolist()) == {keypoints.COMPLETE, keypoints.PARTIAL}
    answers = kaggle.dataset.scorer.solution
    assert answers is not None
    rows = {image_id: np.flatnonzero(lookup.image_ids == image_id) for image_id in test.ids}
    for image_id, number, source in zip(test.ids, asked, annotators, strict=True):
        truth = once.keypoints[number].ravel()
        due = 30 if source == keypoints.COMPLETE else 8
        assert len(rows[image_id]) == due
        assert np.allclose(answers[rows[image_id]], truth[lookup.features[rows[image_id]]])


def test_another_seed_holds_other_faces_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    csv_format.write_training_csv(data / "training.csv", make_faces(40, seed=3))
    first, other, again = (
        prepare_dataset(tmp_path / state, PracticeData(data, hold_out=0.3, seed=seed))
        for state, seed in (("state", 0), ("state", 1), ("elsewhere", 0))
    )
    assert first.folder.name == again.folder.name != other.folder.name
    answers = [one.scorer.solution for one in (first, other, again)]
    np.testing.assert_array_equal(answers[0], answers[2])
    assert answers[0] is not None
    assert answers[1] is not None
    assert not np.array_equal(answers[0], answers[1])


def test_answers_are_not_among_what_is_served(
    competition_dir: Path, start_practice: PracticeFactory, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    solution = write_competition(data)
    solution = solution.rename(data / "solution.csv")
    kaggle = start_practice(data, solution=solution)
    for name in ("solution.csv", "..%2Fanswers.npy", "../answers.npy", "%2e%2e/answers.npy"):
        answer = requests.get(f"{kaggle.url}/storage/{SLUG}/files/{name}", timeout=10)
        assert answer.status_code == 404
    with zipfile.ZipFile(kaggle.dataset.archive) as archive:
        assert sorted(archive.namelist()) == sorted(SERVED)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"data": Path("/nowhere")}, "there is no practice data at /nowhere"),
        ({"hold_out": 1.5}, "hold-out 1.5 is not between"),
        ({"hold_out": 0.2, "solution": Path("a.csv")}, "not both"),
    ],
)
def test_impossible_arguments_are_named(
    arguments: dict[str, Any], line: str, start_practice: PracticeFactory
) -> None:
    with pytest.raises(CompetitionError, match=line):
        start_practice(**arguments)


def test_data_that_is_none_is_named(start_practice: PracticeFactory, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no training\.csv"):
        start_practice(tmp_path)
    (tmp_path / "broken.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"broken\.zip cannot be read as a zip"):
        start_practice(tmp_path / "broken.zip")


@pytest.mark.parametrize("kind", list(fault_injection.STATUSES))
def test_a_refusal_fault_reaches_the_client_in_kaggles_words(
    kind: str, practice: PracticeKaggle, connect: Connect
) -> None:
    api = connect(practice)
    practice.faults.add(f"{kind}:times=1,path=ListDataFiles,retry_after=7")
    status, message = fault_injection.STATUSES[kind]
    error = refusal(lambda: api.competition_list_files(SLUG))
    assert (error.response.status_code, str(error)) == (status, message)
    assert error.response.headers["Retry-After"] == "7"
    assert api.competition_list_files(SLUG).files


def test_faults_meet_only_the_paths_they_name(practice: PracticeKaggle, connect: Connect) -> None:
    api = connect(practice)
    practice.faults.add("500:path=ListSubmissions,times=all")
    assert api.competition_list_files(SLUG).files
    assert refusal(lambda: api.competition_submissions(SLUG)).response.status_code == 500
    practice.faults.clear()
    assert api.competition_submissions(SLUG) == []


def test_a_cut_download_is_resumed_where_it_broke(
    practice: PracticeKaggle, connect: Connect, competition_dir: Path, tmp_path: Path
) -> None:
    practice.faults.add("cut-download:after=50000")
    content = download(connect(practice), tmp_path)  # the client itself asks for the rest
    assert content["training.csv"] == (competition_dir / "training.csv").read_bytes()


def test_storage_serves_ranges_of_the_same_file_only(practice: PracticeKaggle) -> None:
    url = f"{practice.url}/storage/{SLUG}/archive.zip"
    whole = requests.get(url, timeout=10)
    assert int(whole.headers["Content-Length"]) == len(whole.content)
    assert whole.headers["Accept-Ranges"] == "bytes"
    same = {"Range": "bytes=1000-", "If-Range": whole.headers["ETag"]}
    rest = requests.get(url, headers=same, timeout=10)
    assert (rest.status_code, rest.content) == (206, whole.content[1000:])
    other = requests.get(url, headers={**same, "If-Range": '"another"'}, timeout=10)
    assert (other.status_code, other.content) == (200, whole.content)


@pytest.mark.parametrize("fault", ["truncated:after=5000", "corrupt"])
def test_a_damaged_file_claims_to_be_whole(fault: str, practice: PracticeKaggle) -> None:
    practice.faults.add(fault)
    url = f"{practice.url}/storage/{SLUG}/archive.zip"
    answer = requests.get(url, timeout=10)
    assert len(answer.content) == int(answer.headers["Content-Length"])
    assert not is_whole_zip(answer.content)
    assert is_whole_zip(requests.get(url, timeout=10).content)


def is_whole_zip(content: bytes) -> bool:
    """Tell whether every file of a zip unpacks to its checksum."""
    try:
        return zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    except zipfile.BadZipFile:
        return False


def test_a_cut_upload_submits_nothing_until_it_is_whole(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path
) -> None:
    practice.faults.add("cut-upload:after=300")
    competition = Competition.open()
    record = competition.wait_for_score(competition.submit(solution_csv, "after a cut"))
    assert record.public_score == 0.0
    assert len(competition.submissions()) == 1


def test_an_upload_goes_on_after_the_bytes_that_are_here(practice: PracticeKaggle) -> None:
    url = f"{practice.url}/api/v1/competitions.CompetitionApiService"
    user = ("ada", SECRET)
    start = {"competitionName": SLUG, "fileName": "a.csv", "contentLength": 10}
    upload = requests.post(f"{url}/StartSubmissionUpload", json=start, auth=user, timeout=10).json()
    headers = {"Content-Range": "bytes 0-3/10"}
    part = requests.put(upload["createUrl"], data=b"RowI", headers=headers, timeout=10)
    assert (part.status_code, part.headers["Range"]) == (308, "bytes=0-3")
    create = {"competitionName": SLUG, "blobFileTokens": upload["token"]}
    early = requests.post(f"{url}/CreateSubmission", json=create, auth=user, timeout=10)
    assert early.status_code == 400
    headers = {"Content-Range": "bytes 4-9/10"}
    assert requests.put(upload["createUrl"], data=b"d,Loca", headers=headers, timeout=10).ok
    assert requests.post(f"{url}/CreateSubmission", json=create, auth=user, timeout=10).ok


def test_the_limit_can_be_used_up_by_a_fault(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path
) -> None:
    practice.faults.add("limit")
    api = connect(practice)
    assert api.competition_get_submission_limits(SLUG).num_allowed_now == 0
    error = refusal(lambda: api.competition_submit(str(solution_csv), "", SLUG, quiet=True))
    assert "daily Submission allowance" in str(error)


def test_slow_is_slow(practice: PracticeKaggle, connect: Connect) -> None:
    api = connect(practice)
    practice.faults.add("slow:seconds=0.3")
    start = time.monotonic()
    api.competition_list_files(SLUG)
    assert time.monotonic() - start >= 0.3


def test_faults_are_set_from_outside_as_json_only(
    practice: PracticeKaggle, connect: Connect
) -> None:
    door, api = f"{practice.url}/practice/faults", connect(practice)
    assert requests.post(door, json={"fault": "rules"}, timeout=10).json() == ["403"]
    assert "accept this competition's rules" in str(
        refusal(lambda: api.competition_list_files(SLUG))
    )
    assert requests.delete(door, timeout=10).json() == []
    assert api.competition_list_files(SLUG).files
    assert requests.post(door, data='{"fault": "500"}', timeout=10).status_code == 400
    unknown = requests.post(door, json={"fault": "truncate"}, timeout=10)
    assert "did you mean 'truncated'?" in unknown.json()["message"]


@pytest.mark.parametrize("text", ["", "teapot", "429:when=now", "429:times=often"])
def test_a_fault_that_makes_no_sense_is_named(text: str) -> None:
    with pytest.raises(CompetitionError, match="fault"):
        fault_injection.parse_fault(text)


@given(
    st.sampled_from(sorted(fault_injection.KINDS)),
    st.sampled_from(["", "ListDataFiles"]),
    st.integers(0, 10**6),
    st.one_of(st.none(), st.integers(1, 9)),
)
def test_a_fault_reads_as_it_is_written(
    kind: str, path: str, after: int, times: int | None
) -> None:
    fault = fault_injection.Fault(kind, path, times, after)
    text = str(fault) if times else f"{kind}:times=all,path={path},after={after}"
    assert fault_injection.parse_fault(text) == fault


def test_only_this_machine_is_talked_to(practice: PracticeKaggle) -> None:
    assert practice.address == "127.0.0.1"
    rebound = requests.get(practice.url, headers={"Host": "evil.example"}, timeout=10)
    assert rebound.status_code == 403


def test_a_taken_port_is_named(start_practice: PracticeFactory) -> None:
    first = start_practice()
    with pytest.raises(CompetitionError, match=rf"port {first.port} is taken.*--port") as caught:
        start_practice(port=first.port)
    assert "\n" not in str(caught.value)


def test_a_state_folder_may_be_given_relatively(
    start_practice: PracticeFactory,
    connect: Connect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    api = connect(start_practice(state_dir=Path("state")))
    assert "training.csv" in download(api, tmp_path / "all")


def test_a_state_folder_that_cannot_be_written_is_named(
    start_practice: PracticeFactory, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CompetitionError, match=r"file/state cannot be written .*--state-dir"):
        start_practice(state_dir=tmp_path / "file" / "state")


def test_a_damaged_memory_is_named_and_left_alone(
    start_practice: PracticeFactory, connect: Connect, solution_csv: Path
) -> None:
    first = start_practice()
    connect(first).competition_submit(str(solution_csv), "", SLUG, quiet=True)
    first.stop()
    memory = first.store.folder / "state.json"
    memory.write_text(memory.read_text()[:-20])
    with pytest.raises(CompetitionError, match=r"state\.json is damaged"):
        start_practice()
    assert memory.exists()


def test_a_full_disk_is_said_in_plain_words(
    competition_dir: Path, solution_csv: Path, tmp_path: Path
) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux, to mount a small disk")
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        with pytest.raises(CompetitionError, match="disk full while preparing"):
            PracticeKaggle(
                PracticeData(competition_dir, solution_csv), state_dir=small / "state", port=0
            )
        assert not list(small.rglob("*.csv"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_two_do_not_share_a_state_folder(start_practice: PracticeFactory, tmp_path: Path) -> None:
    first = start_practice()
    with pytest.raises(CompetitionError, match=r"in use by another .*--state-dir"):
        start_practice()
    start_practice(state_dir=tmp_path / "another")
    first.stop()
    start_practice()


def test_a_stopped_practice_kaggle_frees_its_port(start_practice: PracticeFactory) -> None:
    first = start_practice()
    first.stop()
    second = start_practice(port=first.port)
    assert requests.get(second.url, timeout=10).ok


def test_whoever_gives_no_credentials_is_refused(practice: PracticeKaggle) -> None:
    url = f"{practice.url}/api/v1/competitions.CompetitionApiService/ListDataFiles"
    answer = requests.post(url, json={"competitionName": SLUG}, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (401, 401)


def test_a_token_is_the_practice_user(
    practice: PracticeKaggle, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    api = connect(practice)
    assert api.get_config_value("username") == "practice"
    assert api.competition_list_files(SLUG).files


def test_credentials_are_neither_stored_nor_logged(
    practice: PracticeKaggle,
    connect: Connect,
    solution_csv: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    api = connect(practice)
    practice.faults.add("500:path=ListSubmissions")
    refusal(lambda: api.competition_submissions(SLUG))
    api.competition_submit(str(solution_csv), "secret?", SLUG, quiet=True)
    api.competition_submissions(SLUG)
    state = practice.dataset.folder.parent
    kept = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    assert kept
    assert not any(SECRET.encode() in content for content in kept)
    assert capfd.readouterr() == ("", "")


def test_another_competition_does_not_exist(practice: PracticeKaggle, connect: Connect) -> None:
    api = connect(practice)
    error = refusal(lambda: api.competition_list_files("titanic"))
    assert error.response.status_code == 404
    (listed,) = api.competitions_list(search="facial").competitions
    assert listed.ref.endswith(SLUG)
    assert not api.competitions_list(search="titanic").competitions


def test_the_page_shows_everything_escaped_and_loads_nothing(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path
) -> None:
    api = connect(practice, "<b>ada</b>")
    api.competition_submit(str(solution_csv), "<script>alert(1)</script>", SLUG, quiet=True)
    practice.faults.add("404:path=<i>")
    page = requests.get(practice.url, timeout=10).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for raw in ("<script", "<b>ada", "<i>", "src=", "http://", "https://"):
        assert raw not in page
    assert "column means (house)" in page
    assert "0.00000" in page


def test_serving_ends_cleanly_on_sigterm(competition_dir: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from fkd_kaggle.practice.server import serve\n"
        "from fkd_kaggle.practice.dataset import PracticeData\n"
        "serve(PracticeData(Path(sys.argv[1])), state_dir=Path(sys.argv[2]), port=0,"
        " on_ready=lambda kaggle: print(kaggle.url, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(competition_dir), str(tmp_path / "state")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert requests.get(url, timeout=10).ok
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def test_the_kaggle_command_does_the_whole_way(
    practice: PracticeKaggle, solution_csv: Path, tmp_path: Path
) -> None:
    def kaggle(*arguments: str) -> str:
        return run_kaggle(practice.url, tmp_path, "competitions", *arguments)

    assert "training.zip" in kaggle("files", SLUG)
    kaggle("download", SLUG, "-p", str(tmp_path / "all"))
    assert zipfile.ZipFile(tmp_path / "all" / f"{SLUG}.zip").testzip() is None
    sent = kaggle("submit", SLUG, "-f", str(solution_csv), "-m", "by hand")
    assert "Successfully submitted to Facial Keypoints Detection" in sent
    assert "4 submissions remaining today" in sent
    listed = kaggle("submissions", SLUG)
    assert "by hand" in listed
    assert "0.00000" in listed
    assert "column means (house)" in kaggle("leaderboard", SLUG, "--show")


def test_the_kaggle_command_as_installed_finds_it_on_port_80(
    start_practice: PracticeFactory, tmp_path: Path
) -> None:
    command = Path(sys.executable).with_name("kaggle")
    if not command.exists():
        pytest.skip("the kaggle command is not beside this Python")
    try:
        socket.create_server(("127.0.0.1", 80)).close()
        start_practice(port=80)
    except (OSError, CompetitionError) as error:
        pytest.skip(f"port 80 cannot be used here: {error}")
    more = {"KAGGLE_API_ENVIRONMENT": "LOCALHOST"}
    printed = run([str(command), "competitions", "files", SLUG], tmp_path, more)
    assert "training.zip" in printed


def test_this_package_finds_it_where_kagglesdk_looks_for_its_test_environment(
    start_practice: PracticeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        start_practice(port=7777)
    except CompetitionError as error:
        pytest.skip(str(error))
    monkeypatch.delenv("FKD_PRACTICE_URL")
    assert len(Competition.open().leaderboard()) == 3
