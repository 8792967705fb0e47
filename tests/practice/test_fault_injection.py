"""Fault injection, as the official client experiences it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from official_client import Connect, download, refusal

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.practice import fault_injection
from fkd_kaggle.practice.dataset import SLUG
from fkd_kaggle.practice.server import PracticeKaggle


@pytest.mark.parametrize("kind", list(fault_injection.STATUSES))
def test_an_error_response_reaches_the_client_with_kaggles_message(
    kind: str, practice: PracticeKaggle, connect: Connect
) -> None:
    api = connect(practice)
    practice.faults.add(f"{kind}:times=1,path=ListDataFiles,retry_after=7")
    status, message = fault_injection.STATUSES[kind]
    error = refusal(lambda: api.competition_list_files(SLUG))
    assert (error.response.status_code, str(error)) == (status, message)
    assert error.response.headers["Retry-After"] == "7"
    assert api.competition_list_files(SLUG).files


def test_a_fault_affects_only_its_path(practice: PracticeKaggle, connect: Connect) -> None:
    api = connect(practice)
    practice.faults.add("500:path=ListSubmissions,times=all")
    assert api.competition_list_files(SLUG).files
    assert refusal(lambda: api.competition_submissions(SLUG)).response.status_code == 500
    practice.faults.clear()
    assert api.competition_submissions(SLUG) == []


def test_control_routes_and_pages_lose_no_answer(practice: PracticeKaggle) -> None:
    practice.faults.add("lost-answer")
    for path in ("/", "/practice/faults", "/practice/kernels"):
        assert requests.get(practice.url + path, timeout=10).ok
    assert practice.faults.has("lost-answer")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{practice.url}/storage/{SLUG}/archive.zip", timeout=10)
    assert not practice.faults.has("lost-answer")


@pytest.mark.slow
def test_the_client_resumes_a_cut_download(
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
def test_a_damaged_file_has_the_content_length_of_its_bytes(
    fault: str, practice: PracticeKaggle
) -> None:
    practice.faults.add(fault)
    url = f"{practice.url}/storage/{SLUG}/archive.zip"
    answer = requests.get(url, timeout=10)
    assert len(answer.content) == int(answer.headers["Content-Length"])
    assert not is_valid_zip(answer.content)
    assert is_valid_zip(requests.get(url, timeout=10).content)


def is_valid_zip(content: bytes) -> bool:
    """Tell whether every file of a zip unpacks to its checksum."""
    try:
        return zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    except zipfile.BadZipFile:
        return False


def test_a_fault_uses_up_the_daily_limit(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path
) -> None:
    practice.faults.add("limit")
    api = connect(practice)
    assert api.competition_get_submission_limits(SLUG).num_allowed_now == 0
    error = refusal(lambda: api.competition_submit(str(solution_csv), "", SLUG, quiet=True))
    assert "daily Submission allowance" in str(error)


def test_a_slow_response_waits(
    practice: PracticeKaggle, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = connect(practice)
    waited: list[float] = []
    monkeypatch.setattr(fault_injection, "time", SimpleNamespace(sleep=waited.append))
    practice.faults.add("slow:seconds=0.3")
    assert api.competition_list_files(SLUG).files
    assert waited
    assert set(waited) == {0.3}


@pytest.mark.parametrize(
    "text", ["", "teapot", "429:when=now", "429:times=often", "new-image:times=1"]
)
def test_an_invalid_fault_is_named(text: str) -> None:
    with pytest.raises(CompetitionError, match="fault"):
        fault_injection.parse_fault(text)


@given(
    st.sampled_from(sorted(fault_injection.KINDS)),
    st.sampled_from(["", "ListDataFiles"]),
    st.integers(0, 10**6),
    st.one_of(st.none(), st.integers(1, 9)),
)
def test_a_fault_is_parsed_as_it_is_written(
    kind: str, path: str, after: int, times: int | None
) -> None:
    if kind in ("stuck-queue", "new-image", "old-mounts"):
        times = None
    fault = fault_injection.Fault(kind, path, times, after)
    text = str(fault) if times else f"{kind}:times=all,path={path},after={after}"
    assert fault_injection.parse_fault(text) == fault
