"""The session with Kaggle: the official client against a practice Kaggle with injected faults."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import PracticeFactory, write_competition

from fkd_kaggle.data import archive as archive_files
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api import download, errors, kernel_output, responses
from fkd_kaggle.kaggle_api.client import Client, connect
from fkd_kaggle.kaggle_api.competition import COMPETITION, Competition
from fkd_kaggle.kaggle_api.errors import Action
from fkd_kaggle.kaggle_api.kernels import KernelStatus
from fkd_kaggle.kaggle_api.retry import RetryPolicy
from fkd_kaggle.practice.dataset import SERVED
from fkd_kaggle.practice.server import PracticeKaggle

ATTEMPTS = 3

SECRET = "s3cr3t-k3y"


class Waits(list[float]):
    """Records how long we would have slept."""

    def retry_policy(self) -> RetryPolicy:
        return RetryPolicy(attempts=ATTEMPTS, first_wait=1.0, sleep=self.append)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def competition(practice: PracticeKaggle, waits: Waits) -> Competition:
    """A session with the practice Kaggle that does not really sleep."""
    return Competition.open(retry_policy=waits.retry_policy())


@pytest.fixture
def csv(tmp_path: Path, solution_csv: Path) -> Path:
    """A submission that scores 0."""
    path = tmp_path / "20260301-140509-run.csv"
    path.write_bytes(solution_csv.read_bytes())
    return path


def refused(call: Callable[[], object]) -> CompetitionError:
    """Return the error that ``call`` ends with; it must be one line."""
    with pytest.raises(CompetitionError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_practice_kaggle_needs_no_credentials(
    practice: PracticeKaggle, capfd: pytest.CaptureFixture[str]
) -> None:
    competition = Competition.open()
    assert competition.user == "practice"
    assert competition.practice_url == practice.url
    assert competition.submissions() == []
    assert capfd.readouterr() == ("", "")


def test_kaggle_itself_without_credentials_says_where_to_get_some(
    practice: PracticeKaggle, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KAGGLE_API_ENVIRONMENT")
    message = str(refused(Competition.open))
    assert "no Kaggle credentials found" in message
    assert "https://www.kaggle.com/settings/api" in message
    assert "fkd-kaggle rehearse" in message
    assert capfd.readouterr() == ("", "")


SOURCES: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "nothing": ({}, {}, "practice"),
    "name and key": ({"KAGGLE_USERNAME": "ada", "KAGGLE_KEY": SECRET}, {}, "ada"),
    "kaggle.json": ({}, {"kaggle.json": json.dumps({"username": "ada", "key": SECRET})}, "ada"),
    "token variable": ({"KAGGLE_API_TOKEN": SECRET}, {}, "practice"),
    "token file": ({}, {"access_token": SECRET}, "practice"),
    "empty variables": ({"KAGGLE_USERNAME": "", "KAGGLE_KEY": ""}, {}, "practice"),
    # Asks the client to be as talkative as it can, which includes the Authorization header.
    "verbose": ({"KAGGLE_USERNAME": "ada", "KAGGLE_KEY": SECRET, "VERBOSE": "1"}, {}, "ada"),
}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_of_credentials_works_and_none_is_shown(
    practice: PracticeKaggle, tmp_path: Path, source: str
) -> None:
    variables, home_files, user = SOURCES[source]
    folder = tmp_path / "home" / ".kaggle"
    folder.mkdir()
    for name, content in home_files.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o600)
    done = run_python(
        "from fkd_kaggle.kaggle_api.competition import Competition\n"
        "competition = Competition.open()\n"
        "print(competition.user, competition.submissions())\n",
        **variables,
    )
    assert done.stdout == f"{user} []\n"
    assert SECRET not in done.stderr
    assert done.stderr == "" or source == "verbose"


def test_a_practice_kaggle_does_not_change_a_login(
    practice: PracticeKaggle, tmp_path: Path
) -> None:
    """The client would renew an expired login with the practice Kaggle, or delete it."""
    login = tmp_path / "home" / ".kaggle" / "credentials.json"
    login.parent.mkdir()
    login.write_text(json.dumps({"refresh_token": SECRET, "username": "ada"}))
    before = login.read_text()
    done = run_python(
        "from fkd_kaggle.kaggle_api.competition import Competition\n"
        "print(Competition.open().submissions())\n"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert login.read_text() == before


def test_a_misspelt_environment_is_not_taken_for_kaggle_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "Tset")
    assert "use TEST for a practice Kaggle" in str(refused(Competition.open))


def test_credentials_do_not_leave_the_machine_for_a_practice_kaggle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("FKD_PRACTICE_URL", "http://example.com:7777")
    assert "is not on this machine" in str(refused(Competition.open))


def test_a_practice_kaggle_that_does_not_run_is_said_at_once(
    practice: PracticeKaggle, competition: Competition, waits: Waits
) -> None:
    url = practice.url
    practice.stop()
    message = str(refused(competition.submissions))
    assert f"no practice Kaggle answers at {url}" in message
    assert "fkd-kaggle practice" in message
    assert waits == []


def test_only_output_of_the_own_thread_is_captured(
    practice: PracticeKaggle, capsys: pytest.CaptureFixture[str]
) -> None:
    client = connect(RetryPolicy())
    with client.quietly() as heard:
        print("noise of the client")
        display = threading.Thread(target=print, args=("display",))
        display.start()
        display.join()
    assert capsys.readouterr().out == "display\n"
    assert heard.getvalue() == "noise of the client\n"


def test_wrong_credentials_are_said_without_showing_them(
    practice: PracticeKaggle, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    practice.faults.add("401")
    error = refused(Competition.open(retry_policy=waits.retry_policy()).submissions)
    assert error.status == 401
    assert "user name and key of ada" in str(error)
    assert "create a new token" in str(error)
    assert SECRET not in str(error)
    assert waits == []


def test_rules_that_are_not_accepted_name_the_page_to_open(
    practice: PracticeKaggle, competition: Competition, tmp_path: Path
) -> None:
    practice.faults.add("403")
    error = refused(lambda: competition.download(tmp_path / "data"))
    assert error.status == 403
    assert f"https://www.kaggle.com/c/{COMPETITION}/rules" in str(error)
    assert list((tmp_path / "data").iterdir()) == []


def test_an_unknown_competition_is_named(practice: PracticeKaggle) -> None:
    error = refused(Competition.open("facial-keypoint").leaderboard)
    assert error.status == 404
    assert "no competition named 'facial-keypoint'" in str(error)


def test_requested_waits_are_respected(
    practice: PracticeKaggle, competition: Competition, waits: Waits
) -> None:
    practice.faults.add("429:times=2,retry_after=7")
    assert competition.submissions() == []
    assert waits == [7.0, 7.0]


def test_waits_grow_when_kaggle_names_no_time(
    practice: PracticeKaggle, competition: Competition, waits: Waits
) -> None:
    practice.faults.add("503:times=2")
    assert competition.submissions() == []
    assert 0.75 <= waits[0] <= 1.25
    assert 1.5 <= waits[1] <= 2.5


def test_waits_are_reported(practice: PracticeKaggle) -> None:
    told: list[tuple[str, float]] = []
    policy = RetryPolicy(
        sleep=lambda seconds: None, on_wait=lambda what, seconds: told.append((what, seconds))
    )
    competition = Competition.open(retry_policy=policy)
    practice.faults.add("429:retry_after=5")
    competition.leaderboard()
    assert told == [("reading the leaderboard", 5.0)]


def test_repeated_failures_end_with_the_reason(
    practice: PracticeKaggle, competition: Competition, waits: Waits
) -> None:
    practice.faults.add("500:times=all")
    error = refused(competition.submissions)
    assert error.status == 500
    assert f"gave up after {ATTEMPTS} attempts" in str(error)
    assert "internal server error" in str(error)
    assert len(waits) == ATTEMPTS - 1


def test_a_requested_wait_of_an_hour_is_an_error(
    practice: PracticeKaggle, competition: Competition, waits: Waits
) -> None:
    practice.faults.add("429:times=all,retry_after=3600")
    assert "it asks to wait 3600 s" in str(refused(competition.submissions))
    assert waits == []


def http_error(status: int, message: str = "", **headers: str) -> requests.HTTPError:
    """What the client raises for an answer that the practice Kaggle does not give."""
    response = requests.Response()
    response.status_code = status
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    response._content = json.dumps({"code": status, "message": message}).encode()
    return requests.HTTPError(message, response=response)


def test_the_time_to_wait_may_be_given_as_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    seconds = responses.retry_after(http_error(429, Retry_After=date))
    assert seconds is not None
    assert 85 < seconds <= 90
    past = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    assert responses.retry_after(http_error(429, Retry_After=past)) == 0.0
    assert responses.retry_after(http_error(429, Retry_After="soon")) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (http_error(403, "Phone verification is required"), "phone number verified"),
        (http_error(403, "Permission 'competitions.get' was denied"), "rules are not accepted"),
        (http_error(400, "Bad\nthing"), "(400): Bad thing"),
        (http_error(418), "(418): i'm a teapot"),
        (requests.exceptions.JSONDecodeError("x", "<html>", 0), "a proxy or a login page"),
        (requests.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED"), "certificate is not trusted"),
        (requests.exceptions.SSLError("EOF occurred"), "no encrypted connection"),
        (requests.exceptions.InvalidProxyURL("http://["), "check HTTPS_PROXY"),
        (UnicodeEncodeError("latin-1", "Łukasz", 0, 1, "ordinal not in range"), "Kaggle"),
        (ssl.SSLError(1, "wrong version number"), "no encrypted connection"),
        (requests.exceptions.ReadTimeout("x"), "timed out"),
        (ValueError("Title must be at least five characters"), "Title must be at least five"),
    ],
)
def test_other_refusals_are_put_in_plain_words(error: Exception, words: str) -> None:
    message = str(errors.explain_error(error, Action("trying", COMPETITION)))
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Maximum batch GPU session count of 2 reached.", "no more GPU sessions at once"),
        ("Maximum batch CPU session count of 5 reached.", "no more CPU sessions at once"),
        ("Too many concurrent sessions.", "no more sessions at once"),
        ("Maximum weekly GPU quota of 30.00 hours reached.", "week's GPU quota is used up"),
        ("Phone verification is required\nfor GPUs", "phone number verified first"),
        ("The title must be at least 5 characters long.", "--title"),
        ("Invalid machine shape: Abacus", "refuses the kernel: Invalid machine shape: Abacus"),
    ],
)
def test_why_a_push_was_not_run_is_put_in_plain_words(said: str, words: str) -> None:
    error = errors.push_refused_error(said)
    assert words in str(error) and "\n" not in str(error)
    waits = isinstance(error, errors.GpuSessionsTakenError)
    assert waits == ("session" in said)


@pytest.mark.parametrize(
    ("status", "words"),
    [(409, "its title must give its name"), (413, "refuses the kernel"), (429, "429")],
)
def test_a_refused_push_is_explained_as_the_kernels_error(status: int, words: str) -> None:
    doing = Action("pushing", COMPETITION, pushing=True)
    message = str(errors.explain_error(http_error(status, "Conflict"), doing))
    assert words in message
    assert "no competition" not in message


def test_kaggles_other_form_of_an_error_is_read_too() -> None:
    error = http_error(400)
    assert error.response is not None
    error.response._content = json.dumps({"error": {"code": 400, "message": "too big"}}).encode()
    message = str(errors.explain_error(error, Action("pushing", COMPETITION, pushing=True)))
    assert "(400: too big)" in message


def test_a_refused_kernel_is_named_and_not_the_competition() -> None:
    doing = Action("reading its status", COMPETITION, kernel="ada/train-ensemble")
    message = str(errors.explain_error(http_error(403, "Permission denied"), doing))
    assert "ada/train-ensemble" in message
    assert "rules" not in message


@pytest.fixture
def large(start_practice: PracticeFactory, tmp_path: Path) -> PracticeKaggle:
    """A practice Kaggle whose zip takes several of the client's chunks of 1 MiB."""
    write_competition(tmp_path / "large" / "data", train=150)
    return start_practice(tmp_path / "large" / "data", solution=tmp_path / "large/solution.csv")


@pytest.fixture
def answers(caplog: pytest.LogCaptureFixture) -> Callable[[], list[int]]:
    """The statuses with which the practice Kaggle answered GET requests, as urllib3 logs them."""
    caplog.set_level(logging.DEBUG, logger="urllib3.connectionpool")

    def statuses() -> list[int]:
        rows = [record.args for record in caplog.records if record.name.startswith("urllib3")]
        return [int(str(row[6])) for row in rows if isinstance(row, tuple) and "GET" in row]

    return statuses


def test_all_files_come_as_one_whole_zip(
    competition: Competition, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    progress: list[tuple[int, int | None]] = []
    path = competition.download(tmp_path, lambda done, total: progress.append((done, total)))
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    assert {"training.zip", "test.zip", "IdLookupTable.csv", "SampleSubmission.csv"} <= names
    assert progress[-1] == (path.stat().st_size, path.stat().st_size)
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / ".fetch").exists()


def test_what_is_there_is_not_fetched_again_unless_forced(
    competition: Competition, tmp_path: Path, answers: Callable[[], list[int]]
) -> None:
    path = competition.download(tmp_path)
    competition.download(tmp_path)
    assert answers() == [200]
    path.write_bytes(b"old")
    competition.download(tmp_path, force=True)
    assert answers() == [200, 200]
    assert zipfile.is_zipfile(path)


def test_a_download_that_is_cut_goes_on_where_it_stopped(
    large: PracticeKaggle, tmp_path: Path, answers: Callable[[], list[int]]
) -> None:
    progress: list[tuple[int, int | None]] = []
    large.faults.add("cut-download:after=1500000")
    path = Competition.open().download(tmp_path, lambda *now: progress.append(now))
    download.check_zip(path)
    assert answers() == [200, 206]
    size = path.stat().st_size
    assert (1 << 20, size) in progress


@pytest.mark.slow
def test_a_download_that_was_killed_is_resumed_by_the_next(
    large: PracticeKaggle, tmp_path: Path, answers: Callable[[], list[int]]
) -> None:
    large.faults.add("cut-download:after=1500000")
    code = (
        "import sys, pathlib\nfrom fkd_kaggle.kaggle_api.competition import Competition\n"
        "Competition.open().download(pathlib.Path(sys.argv[1]))\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    partial = tmp_path / ".fetch" / f"{COMPETITION}.zip"
    deadline = time.monotonic() + 30
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.kill()  # While the client sleeps before it tries again.
    killed.wait()
    assert not (tmp_path / f"{COMPETITION}.zip").exists()
    download.check_zip(Competition.open().download(tmp_path))
    assert 206 in answers()


def test_a_damaged_zip_is_fetched_once_more(
    practice: PracticeKaggle, competition: Competition, tmp_path: Path
) -> None:
    practice.faults.add("corrupt")
    download.check_zip(competition.download(tmp_path))


@pytest.mark.parametrize("fault", ["truncated:after=5000,times=all", "corrupt:times=all"])
def test_a_zip_that_stays_damaged_is_refused_and_not_left_behind(
    practice: PracticeKaggle, competition: Competition, tmp_path: Path, fault: str
) -> None:
    practice.faults.add(fault)
    message = str(refused(lambda: competition.download(tmp_path / "data")))
    assert "is not a whole zip" in message or "has a damaged file in it" in message
    assert list((tmp_path / "data").iterdir()) == []


def test_single_files_are_tried_where_kaggle_limits_the_download_of_all(
    competition: Competition, practice: PracticeKaggle, tmp_path: Path, waits: Waits
) -> None:
    """github.com/Kaggle/kaggle-cli/issues/931: 429 for half an hour."""
    practice.faults.add("429:path=DownloadDataFiles,times=all")
    downloaded = competition.download(tmp_path)
    with zipfile.ZipFile(downloaded) as archive:
        assert archive.testzip() is None
    found = archive_files.unpack(downloaded, tmp_path / "data")
    assert {path.name for path in found} >= {"training.csv", "test.csv", "IdLookupTable.csv"}
    assert len(waits) == ATTEMPTS - 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("stale", ["file", "link to nothing", "folder", "folder of the size"])
def test_what_lies_in_place_of_unfinished_downloads_is_named(
    competition: Competition, tmp_path: Path, stale: str
) -> None:
    folder = tmp_path / ".fetch"
    if stale == "file":
        folder.write_text("")
    elif stale == "link to nothing":
        folder.symlink_to(tmp_path / "moved")
    else:
        suffix = ".kaggle-partial" if stale == "folder of the size" else ""
        (folder / f"{competition.slug}.zip{suffix}").mkdir(parents=True)
    message = str(refused(lambda: competition.download(tmp_path)))
    assert f"delete {folder} and run the command again" in message
    assert not (tmp_path / f"{competition.slug}.zip").exists()
    if stale in ("file", "link to nothing"):
        folder.unlink()
        assert competition.download(tmp_path).is_file()


def test_unfinished_downloads_can_be_kept_on_another_disk(
    competition: Competition, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".fetch").symlink_to(tmp_path / "elsewhere")
    assert competition.download(tmp_path).is_file()
    assert (tmp_path / ".fetch").is_symlink()


@pytest.mark.parametrize("name", ["../../out.csv", "/tmp/out.csv", "a/../../b", "c:x", "nul\0", ""])
def test_file_names_of_the_server_do_not_leave_the_folder(
    competition: Competition,
    practice: PracticeKaggle,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    practice.faults.add("429:path=DownloadDataFiles,times=all")
    monkeypatch.setattr(competition, "_file_names", lambda: ["training.csv", name])
    message = str(refused(lambda: competition.download(tmp_path / "data")))
    assert "outside the folder of the download" in message
    assert list((tmp_path / "data").iterdir()) == []


def test_limited_downloads_are_kept_and_the_advice_is_to_come_back(
    competition: Competition, practice: PracticeKaggle, tmp_path: Path
) -> None:
    practice.faults.add("429:path=DownloadDataFiles,times=all")
    later = SERVED[-1]
    practice.faults.add(f"429:path=files/{later},times=all")
    message = str(refused(lambda: competition.download(tmp_path)))
    for words in ("429", "half an hour", "is kept", "same command again later"):
        assert words in message
    kept = {path.name for path in (tmp_path / ".single-files").iterdir()}
    assert kept and later not in kept
    practice.faults.clear()
    practice.faults.add("429:path=DownloadDataFiles,times=all")
    practice.faults.add("404:path=files/" + sorted(kept)[0])  # is not requested again
    assert competition.download(tmp_path).is_file()


def test_too_little_disk_space_is_found_before_the_download(
    competition: Competition,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: Callable[[], list[int]],
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = str(refused(lambda: competition.download(tmp_path)))
    assert message.startswith("disk full")
    assert answers() == []


@pytest.mark.parametrize("started", [999_500, 1_000_500])
def test_disk_space_is_needed_only_for_the_part_that_is_missing(
    competition: Competition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000 - min(started, 1_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(competition, "_data_size", lambda: 1_000_000)
    # Single files are packed into a zip beside them, which needs the space of all files.
    (tmp_path / ".single-files").mkdir()
    (tmp_path / ".single-files" / "training.csv").write_bytes(b"x" * started)
    assert "disk full" in str(refused(lambda: competition.download(tmp_path)))
    (tmp_path / ".fetch").mkdir()
    (tmp_path / ".fetch" / f"{competition.slug}.zip").write_bytes(b"x" * started)
    assert competition.download(tmp_path).is_file()


def download_with(failures: list[Exception], client: Client, target: Path) -> None:
    """Download to ``target``, raising the failures before any byte arrives."""

    def open_and_save(api: object, staged: Path) -> None:
        if failures:
            raise failures.pop(0)
        staged.write_bytes(b"x")

    action = Action("downloading", COMPETITION)
    download.download_file(client, action, open_and_save, target, lambda path: None)


def test_download_that_cannot_be_opened_waits_before_the_next_attempt(
    practice: PracticeKaggle, tmp_path: Path, waits: Waits
) -> None:
    failures: list[Exception] = [requests.ConnectionError("no name server")] * (ATTEMPTS - 1)
    download_with(failures, connect(waits.retry_policy()), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").is_file()
    assert len(waits) == ATTEMPTS - 1
    assert 0.75 <= waits[0] <= 1.25
    assert 1.5 <= waits[1] <= 2.5


def test_download_that_is_never_opened_fails_after_all_attempts(
    practice: PracticeKaggle, tmp_path: Path, waits: Waits
) -> None:
    failures: list[Exception] = [requests.ConnectionError("no name server")] * 9
    client = connect(waits.retry_policy())
    message = str(refused(lambda: download_with(failures, client, tmp_path / "a.csv")))
    assert f"{ATTEMPTS} attempts" in message
    assert len(waits) == ATTEMPTS - 1


def test_download_over_an_untrusted_connection_is_not_repeated(
    practice: PracticeKaggle, tmp_path: Path, waits: Waits
) -> None:
    failures: list[Exception] = [requests.exceptions.SSLError("self-signed certificate"), OSError()]
    client = connect(waits.retry_policy())
    refused(lambda: download_with(failures, client, tmp_path / "a.csv"))
    assert len(failures) == 1
    assert waits == []


def test_following_a_log_waits_as_kaggle_asks(
    practice: PracticeKaggle, competition: Competition, waits: Waits
) -> None:
    practice.faults.add("429:path=kernels/logs/stream,times=2,retry_after=7")
    follow = competition.kernel_logs("practice/unknown", follow=True)
    assert refused(lambda: list(follow)).status == 403
    assert waits == [7.0, 7.0]


def test_following_a_log_waits_longer_until_a_new_line(
    competition: Competition, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = requests.ConnectionError("broken")
    streams = [[broken]] * 10 + [[{"data": "a"}, broken], [{"data": "a"}, {"data": "b"}]]
    states: list[str] = []

    def stream(client: Client, call: Any) -> Iterator[Any]:
        for event in streams.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event

    def get_status(*_: Any) -> KernelStatus:
        states.append("running")
        return KernelStatus("running", "")

    monkeypatch.setattr(Client, "stream", stream)
    monkeypatch.setattr(kernel_output, "get_status", get_status)
    lines = [line.text for line in competition.kernel_logs("practice/x", follow=True)]
    assert lines == ["a", "b"]
    expected = [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0, 1.0]
    assert list(waits) == pytest.approx(expected, rel=0.26)
    assert len(states) == 3


def test_following_a_log_ends_when_it_is_stopped(
    competition: Competition, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stream(client: Client, call: Any) -> Iterator[Any]:
        raise requests.ConnectionError("broken")

    monkeypatch.setattr(Client, "stream", stream)
    log = competition.kernel_logs("practice/x", follow=True, is_stopped=lambda: len(waits) == 2)
    assert list(log) == []


def test_waits_without_end_have_limits() -> None:
    policy = RetryPolicy()
    assert policy.wait_without_end(5000, http_error(503)) <= 1.25 * policy.longest_wait
    for asked, wait in (("0", 1.0), ("7", 7.0), ("3600", 300.0)):
        assert policy.wait_without_end(1, http_error(429, **{"Retry-After": asked})) == wait


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_meanwhile_leaves_no_half_file(
    practice: PracticeKaggle, tmp_path: Path
) -> None:
    def fill(api: object, staged: Path) -> None:
        staged.symlink_to("/dev/full")
        staged.write_bytes(b"x" * 100_000)

    client, target = connect(RetryPolicy()), tmp_path / "c.zip"
    error = refused(
        lambda: download.download_file(
            client, Action("downloading", COMPETITION), fill, target, lambda path: None
        )
    )
    assert str(error).startswith("disk full while downloading")
    assert isinstance(error.__cause__, OSError)
    assert error.__cause__.errno == errno.ENOSPC
    assert not target.exists()


def test_a_submission_is_scored_and_listed(
    competition: Competition, csv: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ref = competition.submit(csv, "first try")
    record = competition.wait_for_score(ref)
    assert (record.status, record.public_score, record.private_score) == ("complete", 0.0, 0.0)
    assert (record.file_name, record.message) == (csv.name, "first try")
    assert record.submitted is not None
    assert abs(record.submitted - datetime.now(UTC)) < timedelta(minutes=1)
    assert competition.submissions() == [record]
    assert capfd.readouterr() == ("", "")


def test_the_leaderboard_ranks_teams_by_score(competition: Competition, csv: Path) -> None:
    competition.wait_for_score(competition.submit(csv, ""))
    rows = competition.leaderboard()
    assert (rows[0].rank, rows[0].team, rows[0].score) == (1, "practice", 0.0)
    assert competition.leaderboard(limit=1) == rows[:1]


def test_more_submissions_than_a_page_are_all_listed(
    start_practice: PracticeFactory, csv: Path
) -> None:
    start_practice(daily_limit=200)
    competition = Competition.open()
    refs = [competition.submit(csv, str(number)) for number in range(23)]
    # The client's own default is a page of 20; ours asks for more, so list them by the default too.
    assert [record.ref for record in competition.submissions()] == refs[::-1]


def test_submissions_left_today_count_down(competition: Competition, csv: Path) -> None:
    before = competition.submissions_left()
    competition.submit(csv, "")
    assert before is not None
    assert competition.submissions_left() == before - 1


def test_the_daily_limit_is_said_before_anything_is_uploaded(
    start_practice: PracticeFactory, csv: Path
) -> None:
    start_practice(daily_limit=1)
    competition = Competition.open()
    competition.submit(csv, "")
    message = str(refused(lambda: competition.submit(csv, "")))
    assert "today's submissions" in message
    assert "midnight UTC, in" in message


def test_the_daily_limit_is_understood_when_it_is_met_while_submitting(
    practice: PracticeKaggle, competition: Competition, csv: Path
) -> None:
    practice.faults.add("limit:path=CreateSubmission")
    error = refused(lambda: competition.submit(csv, ""))
    assert error.status == 400
    assert "today's submissions" in str(error)


@pytest.mark.parametrize(
    "fault",
    [
        "cut-upload:after=500",
        "503:path=/storage/uploads",
        "503:path=StartSubmissionUpload",
        "429:path=CreateSubmission,retry_after=2",
        "lost-answer:path=CreateSubmission",
        "lost-answer:path=StartSubmissionUpload",
    ],
)
def test_a_failure_while_submitting_does_not_repeat_the_submission(
    practice: PracticeKaggle, competition: Competition, csv: Path, fault: str
) -> None:
    practice.faults.add(fault)
    ref = competition.submit(csv, "once")
    assert [record.ref for record in competition.submissions()] == [ref]
    assert competition.wait_for_score(ref).public_score == 0.0


def test_an_upload_that_is_always_refused_is_given_up(
    practice: PracticeKaggle, competition: Competition, csv: Path
) -> None:
    practice.faults.add("500:path=/storage/uploads,times=all")
    message = str(refused(lambda: competition.submit(csv, "")))
    assert "storage refuses the upload" in message
    assert competition.submissions() == []


def test_a_file_that_kaggle_cannot_score_ends_with_its_reason(
    competition: Competition, csv: Path
) -> None:
    csv.write_text("RowId,Location\n1,2\n")
    ref = competition.submit(csv, "")
    assert f"could not score {csv.name}: " in str(refused(lambda: competition.wait_for_score(ref)))


def test_a_score_is_asked_for_by_number(
    competition: Competition, practice: PracticeKaggle, csv: Path
) -> None:
    """The list of submissions can have many pages."""
    ref = competition.submit(csv, "")
    practice.faults.add("500:path=ListSubmissions,times=all")
    assert competition.wait_for_score(ref).public_score == 0.0


def test_waiting_for_a_score_ends(competition: Competition, waits: Waits) -> None:
    told: list[float] = []
    message = str(refused(lambda: competition.wait_for_score(99, timeout=60, on_wait=told.append)))
    assert "has not scored submission 99" in message
    assert 60 <= sum(waits) < 80
    assert told == sorted(told)


def test_a_missing_file_is_said_before_kaggle_is_asked(
    competition: Competition, tmp_path: Path
) -> None:
    message = str(refused(lambda: competition.submit(tmp_path / "none.csv", "")))
    assert "there is no submission file" in message


def test_a_kernel_that_the_client_refuses_says_why(
    competition: Competition, tmp_path: Path
) -> None:
    metadata = {"id": "ada/abc", "title": "abc", "code_file": "k.py", "language": "python"}
    (tmp_path / "kernel-metadata.json").write_text(json.dumps(metadata))
    message = str(refused(lambda: competition.kernel_push(tmp_path)))
    assert "Title must be at least five characters" in message


def test_stopping_a_kernel_says_where_it_can_be_done(
    competition: Competition, practice: PracticeKaggle
) -> None:
    message = str(refused(lambda: competition.kernel_stop("ada/train-ensemble")))
    assert f"{practice.url}/code/ada/train-ensemble" in message


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process: the client looks for credentials when it is imported."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
