"""The server: addresses, ports, credentials, its end, and the command ``kaggle``."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import requests
from conftest import SECRET, PracticeFactory, run, run_kaggle
from official_client import Connect, refusal

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.practice.dataset import SLUG
from fkd_kaggle.practice.server import PracticeKaggle


def test_only_loopback_requests_are_served(practice: PracticeKaggle) -> None:
    assert practice.address == "127.0.0.1"
    rebound = requests.get(practice.url, headers={"Host": "evil.example"}, timeout=10)
    assert rebound.status_code == 403


def test_a_taken_port_is_named(start_practice: PracticeFactory) -> None:
    first = start_practice()
    with pytest.raises(CompetitionError, match=rf"port {first.port} is taken.*--port") as caught:
        start_practice(port=first.port)
    assert "\n" not in str(caught.value)


def test_a_port_that_another_program_uses_on_ipv6_is_taken(
    start_practice: PracticeFactory,
) -> None:
    """The client connects to localhost, and tries IPv6 first."""
    try:
        other = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this system has no IPv6")
    with other:
        port = other.getsockname()[1]
        with pytest.raises(CompetitionError, match=f"port {port} is taken"):
            start_practice(port=port)
    assert start_practice(port=port).port == port


def test_a_port_that_does_not_exist_is_refused(start_practice: PracticeFactory) -> None:
    with pytest.raises(CompetitionError, match=r"^port 70000 may not be used: .* --port$"):
        start_practice(port=70000)


def test_a_stopped_practice_kaggle_frees_its_port(start_practice: PracticeFactory) -> None:
    first = start_practice()
    first.stop()
    second = start_practice(port=first.port)
    assert requests.get(second.url, timeout=10).ok


def test_a_request_without_credentials_is_refused(practice: PracticeKaggle) -> None:
    url = f"{practice.url}/api/v1/competitions.CompetitionApiService/ListDataFiles"
    answer = requests.post(url, json={"competitionName": SLUG}, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (401, 401)


def test_a_token_authenticates_the_practice_user(
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


@pytest.mark.slow
def test_sigterm_ends_the_server(competition_dir: Path, tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_the_kaggle_command_downloads_submits_and_lists(
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


def test_the_installed_kaggle_command_uses_port_80(
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


def test_this_package_uses_the_port_of_kagglesdks_test_environment(
    start_practice: PracticeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        start_practice(port=7777)
    except CompetitionError as error:
        pytest.skip(str(error))
    monkeypatch.delenv("FKD_PRACTICE_URL")
    assert len(Competition.open().leaderboard()) == 3
