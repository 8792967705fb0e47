"""Requests that no client sends: too large, malformed, with tokens of others; isolation of HTML."""

from __future__ import annotations

import json
import resource
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import SECRET, PracticeFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.practice.app import MAX_JSON_SIZE
from fkd_kaggle.practice.competition import PracticeCompetition
from fkd_kaggle.practice.dataset import SLUG
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.practice.uploads import MAX_SIZE

COMPETITIONS = "/api/v1/competitions.CompetitionApiService"

KERNELS = "/api/v1/kernels.KernelsApiService"

METHODS = [
    f"{COMPETITIONS}/{name}"
    for name in (
        "ListCompetitions", "GetCompetition", "ListDataFiles", "DownloadDataFiles",
        "DownloadDataFile", "StartSubmissionUpload", "CreateSubmission", "CreateCodeSubmission",
        "ListSubmissions", "GetSubmission", "DownloadSubmission", "GetSubmissionLimits",
        "GetLeaderboard", "DownloadLeaderboard",
    )
] + [
    f"{KERNELS}/{name}"
    for name in (
        "SaveKernel", "GetKernelSessionStatus", "ListKernelSessionOutput", "ListKernelFiles",
        "DownloadKernelOutput", "GetKernelSessionLogsStream", "CancelKernelSession",
        "DeleteKernel", "GetKernel", "ListKernels", "GetAcceleratorQuotaStatistics",
    )
] + ["/practice/faults", "/practice/kernels/cancel"]  # fmt: skip


def post(practice: PracticeKaggle, path: str, body: Any, user: str = "ada") -> requests.Response:
    """Post JSON, or bytes as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(
        practice.url + path,
        data=data,
        headers={"Content-Type": "application/json"},
        auth=(user, SECRET),
        timeout=30,
        allow_redirects=False,
    )


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"5", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000,
        b'{"competitionName": "\\ud800"}', b"NaN", b'"text"',
        b'{"competitionName": 1' + b"0" * 5000 + b"}",
    ],
    ids=lambda body: repr(body)[:20],
)  # fmt: skip
def test_malformed_json_is_a_bad_request(practice: PracticeKaggle, body: bytes) -> None:
    for path in METHODS:
        answer = post(practice, path, body)
        assert answer.status_code == 400, path
        assert "code" in answer.text


FIELDS = st.sampled_from(
    [
        "competitionName", "fileName", "contentLength", "blobFileTokens", "page", "pageSize",
        "pageToken", "ref", "slug", "text", "newTitle", "language", "kernelType", "userName",
        "kernelSlug", "versionLabel", "kernelSessionId", "group", "sortBy", "search", "id",
        "sessionTimeoutSeconds", "kernelDataSources", "fault", "session", "machineShape",
    ]
)  # fmt: skip

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(
        [SLUG, "python", "script", "x" * 400, "../../x", "ada/" + "y" * 300, "9" * 5000]
    ),
    st.lists(st.text(max_size=5), max_size=3),
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.sampled_from(METHODS), body=st.dictionaries(FIELDS, VALUES, max_size=6))
def test_no_request_makes_the_server_fail(
    practice: PracticeKaggle, path: str, body: dict[str, Any]
) -> None:
    answer = post(practice, path, body)
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    practice.faults.clear()


def test_large_body_is_refused_without_being_read(practice: PracticeKaggle) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = 400 << 20

    def chunks() -> Any:
        for _ in range(size >> 20):
            yield b" " * (1 << 20)

    try:
        answer = requests.post(
            practice.url + METHODS[0],
            data=chunks(),
            headers={"Content-Type": "application/json", "Content-Length": str(size)},
            auth=("ada", SECRET),
            timeout=30,
        )
    except requests.ConnectionError:
        pass  # the server answers and closes while the client still sends
    else:
        assert answer.status_code in (400, 413)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
    exact = post(practice, METHODS[0], b" " * (MAX_JSON_SIZE + 1))
    assert (exact.status_code, exact.json()["code"]) == (413, 413)


def start(practice: PracticeKaggle, size: int, user: str = "ada", name: str = "a.csv") -> Any:
    body = {"competitionName": SLUG, "fileName": name, "contentLength": size}
    return post(practice, f"{COMPETITIONS}/StartSubmissionUpload", body, user)


def create(practice: PracticeKaggle, token: str, user: str) -> requests.Response:
    body = {"competitionName": SLUG, "blobFileTokens": token}
    return post(practice, f"{COMPETITIONS}/CreateSubmission", body, user)


def test_token_of_an_upload_is_valid_once_and_for_its_owner(
    start_practice: PracticeFactory, solution_csv: Path
) -> None:
    practice = start_practice(daily_limit=5)
    content = solution_csv.read_bytes()
    upload = start(practice, len(content)).json()
    assert requests.put(upload["createUrl"], data=content, timeout=10).ok
    assert create(practice, upload["token"], "eve").status_code == 400
    assert create(practice, upload["token"], "ada").ok
    assert create(practice, upload["token"], "ada").status_code == 400
    assert requests.put(upload["createUrl"], data=content, timeout=10).status_code == 404
    assert len(practice.store.submissions()) == 1
    assert list((practice.dataset.folder / "uploads").iterdir()) == []


def test_token_stays_valid_after_a_refused_submission(
    start_practice: PracticeFactory, solution_csv: Path
) -> None:
    practice = start_practice(daily_limit=0)
    content = solution_csv.read_bytes()
    upload = start(practice, len(content)).json()
    requests.put(upload["createUrl"], data=content, timeout=10)
    assert create(practice, upload["token"], "ada").status_code == 400
    assert practice.store.submissions() == []
    assert requests.put(upload["createUrl"], data=content, timeout=10).ok


def test_token_stays_valid_after_an_unforeseen_error(
    practice: PracticeKaggle, solution_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space")

    content = solution_csv.read_bytes()
    upload = start(practice, len(content)).json()
    requests.put(upload["createUrl"], data=content, timeout=10)
    with monkeypatch.context() as patch:
        patch.setattr(PracticeCompetition, "submit", fail)
        assert create(practice, upload["token"], "ada").status_code == 500
    assert create(practice, upload["token"], "ada").ok


def test_one_of_two_simultaneous_submissions_of_a_token_is_accepted(
    practice: PracticeKaggle, solution_csv: Path
) -> None:
    content = solution_csv.read_bytes()
    upload = start(practice, len(content)).json()
    requests.put(upload["createUrl"], data=content, timeout=10)
    codes: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: codes.append(create(practice, upload["token"], "ada").status_code)
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 400, 400, 400, 400, 400]


@pytest.mark.parametrize(("size", "name"), [(-1, "a"), (MAX_SIZE + 1, "a"), (5, "n" * 5000)])
def test_impossible_upload_is_a_bad_request(practice: PracticeKaggle, size: int, name: str) -> None:
    assert start(practice, size, name=name).status_code == 400


@pytest.mark.parametrize(
    ("slug", "title"),
    [("ada/" + "x" * 300, ""), ("ada/short", "t" * 300), ("ada/" + "x" * 5000, "good title")],
)
def test_long_slug_is_a_bad_request(practice: PracticeKaggle, slug: str, title: str) -> None:
    body = {"slug": slug, "newTitle": title, "text": "print()", "language": "python"}
    body["kernelType"] = "script"
    answer = post(practice, f"{KERNELS}/SaveKernel", body)
    assert answer.status_code == 400
    assert "too long" in answer.text or "at most" in answer.text


def test_stored_files_cannot_act_in_the_origin_of_the_server(practice: PracticeKaggle) -> None:
    stored = requests.get(f"{practice.url}/storage/{SLUG}/files/test.zip", timeout=10)
    page = requests.get(practice.url, timeout=10)
    policy = stored.headers["Content-Security-Policy"]
    assert "sandbox" in policy
    assert "allow-same-origin" not in policy
    for answer in (stored, page):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "null", "{}", "[" * 100_000, '{"version": 1, "submissions": [5]}',
        '{"version": 1, "submissions": [{"ref": "x"}]}',
    ],
    ids=lambda content: content[:30],
)  # fmt: skip
def test_damaged_state_is_named(start_practice: PracticeFactory, content: str) -> None:
    practice = start_practice()
    state = practice.dataset.folder / "state.json"
    practice.stop()
    state.write_text(content)
    with pytest.raises(CompetitionError, match=r"state\.json is damaged .*: move it away"):
        start_practice()
