"""Unexpected answers of Kaggle: each ends with one line, and unknown names are kept."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_kaggle import FakeKaggle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.retry import RetryPolicy

VALUES: tuple[Any, ...] = (
    None,
    0,
    -1.5,
    10**40,
    True,
    "text",
    "",
    "nul\0\x1b[31m",
    [],
    [None],
    [5, "x"],
    {},
    {"a": {"b": []}},
    [{}],
    {"code": "x"},
    {"code": 400},
    {"code": 10**30, "message": None},
    {"error": 5, "code": 401},
    b"",
    b"<html>login</html>",
    b"\xff\xfe",
    b"NaN",
    b"[" * 50_000,
    b'{"submissions": Infinity}',
)
"""JSON values and bytes instead of an answer."""

SUBMISSION = {
    "ref": 5,
    "fileName": "a.csv",
    "date": "2026-03-02T10:00:00.000Z",
    "description": "d",
    "status": "COMPLETE",
    "publicScore": "1.5",
    "privateScore": "",
    "teamName": "t",
}

ANSWERS: dict[str, Any] = {
    "ListSubmissions": {"submissions": [SUBMISSION], "nextPageToken": ""},
    "GetSubmissionLimits": {"numToday": 1, "numTotal": 3, "numAllowedNow": 4},
    "GetCompetition": {"maxDailySubmissions": 5},
    "GetLeaderboard": {
        "submissions": [{"teamName": "t", "score": "1.5", "submissionDate": "2026-03-02T10:00:00Z"}]
    },
    "ListDataFiles": {"files": [{"name": "a", "totalBytes": 5}]},
    "StartSubmissionUpload": {"token": "t", "createUrl": "http://127.0.0.1:9/x"},
    "CreateSubmission": {"message": "ok", "ref": 6},
    "GetKernelSessionStatus": {"status": "RUNNING", "failureMessage": ""},
    "ListKernelSessionOutput": {"files": [], "log": '[{"data": "x"}]'},
    "GetKernel": {"metadata": {"currentVersionNumber": 3}, "blob": {"source": "print()"}},
    "ListKernels": {"kernels": [{"ref": "ada/x", "title": "x"}]},
    "SaveKernel": {"ref": "/code/ada/x", "url": "u", "versionNumber": 1},
    "CancelKernelSession": {"errorMessage": ""},
    "GetAcceleratorQuotaStatistics": {
        "gpuQuota": {"timeUsed": "3600s", "totalTimeAllowed": "7200s", "timeReserved": "0s"}
    },
    "logs/stream": [{"data": "x\n"}],
}
"""Valid answers by method."""


def calls(session: Competition, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return a call of each method of the session."""
    csv = folder / "a.csv"
    csv.write_text("RowId,Location\n1,2\n")
    kernel = folder / "kernel"
    kernel.mkdir(exist_ok=True)
    metadata = {
        "id": "ada/fkd-test",
        "title": "fkd-test",
        "code_file": "k.py",
        "language": "python",
        "kernel_type": "script",
    }
    (kernel / "kernel-metadata.json").write_text(json.dumps(metadata))
    (kernel / "k.py").write_text("print()")
    return {
        "submissions": session.submissions,
        "left": session.submissions_left,
        "leaderboard": session.leaderboard,
        "wait": lambda: session.wait_for_score(5, timeout=0),
        "submit": lambda: session.submit(csv, "m"),
        "submit kernel": lambda: session.submit_kernel("ada/x", 1, "a.csv", "m"),
        "download": lambda: session.download(folder / "data"),
        "status": lambda: session.kernel_status("ada/x"),
        "stored": lambda: session.kernel_stored("ada/x"),
        "titles": lambda: session.kernels_with_title("x"),
        "push": lambda: session.kernel_push(kernel),
        "log": lambda: list(session.kernel_logs("ada/x")),
        "follow": lambda: list(itertools.islice(session.kernel_logs("ada/x", follow=True), 9)),
        "output": lambda: session.kernel_output("ada/x", folder / "out"),
        "stop": lambda: session.kernel_stop("ada/x", 7),
        "hours": session.gpu_hours_left,
    }


@pytest.fixture
def session(fake_kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> Competition:
    """A session that does not sleep and tries twice."""
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "0f1e2d3c4b5a69788796")
    fake_kaggle.answers.update(ANSWERS)
    policy = RetryPolicy(attempts=2, timeout=5, sleep=lambda seconds: None)
    return Competition.open(retry_policy=policy)


def one_line_or_success(call: Callable[[], Any]) -> CompetitionError | None:
    """Call a method; return its error, which must be one line for users."""
    try:
        call()
    except CompetitionError as error:
        assert "\n" not in str(error)
        assert "\x1b" not in str(error)
        return error
    return None


def test_valid_answers_are_read(session: Competition, tmp_path: Path) -> None:
    call = calls(session, tmp_path)
    assert session.submissions()[0].public_score == 1.5
    assert session.submissions_left() == 4
    assert session.leaderboard(1)[0].team == "t"
    assert session.kernel_status("ada/x").state == "running"
    assert session.gpu_hours_left() == 1.0
    assert [line.text for line in call["log"]()] == ["x"]


@pytest.mark.slow
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_any_json_value_instead_of_an_answer_is_one_line(
    session: Competition, fake_kaggle: FakeKaggle, tmp_path: Path, value: Any
) -> None:
    for call in calls(session, tmp_path).values():
        fake_kaggle.answers = {"": value}
        one_line_or_success(call)


@pytest.mark.slow
@pytest.mark.parametrize("method", ANSWERS)
def test_any_value_in_a_field_is_one_line(
    session: Competition, fake_kaggle: FakeKaggle, tmp_path: Path, method: str
) -> None:
    wrong: tuple[Any, ...] = (
        None,
        5,
        -1.5,
        10**400,
        True,
        "text",
        "nul\0",
        [],
        [None],
        [5],
        {},
        [{}],
        {"a": 1},
    )
    for place, value in itertools.product(_places(ANSWERS[method]), wrong):
        changed = json.loads(json.dumps(ANSWERS[method]))
        _set(changed, place, value)
        fake_kaggle.answers = {**ANSWERS, method: changed}
        for name, call in calls(session, tmp_path).items():
            if name in _USED_BY[method]:
                one_line_or_success(call)


_USED_BY = {
    "ListSubmissions": ("submissions", "wait", "submit"),
    "GetSubmissionLimits": ("left",),
    "GetCompetition": ("left",),
    "GetLeaderboard": ("leaderboard",),
    "ListDataFiles": ("download",),
    "StartSubmissionUpload": ("submit",),
    "CreateSubmission": ("submit kernel",),
    "GetKernelSessionStatus": ("status",),
    "ListKernelSessionOutput": ("log", "output"),
    "GetKernel": ("stored",),
    "ListKernels": ("titles",),
    "SaveKernel": ("push",),
    "CancelKernelSession": ("stop",),
    "GetAcceleratorQuotaStatistics": ("hours",),
    "logs/stream": ("follow",),
}


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*place, key)
        if isinstance(item, dict | list):
            yield from _places(item, (*place, key))


def _set(value: Any, place: tuple[Any, ...], new: Any) -> None:
    for key in place[:-1]:
        value = value[key]
    value[place[-1]] = new


def test_unknown_status_is_kept_and_means_pending(
    session: Competition, fake_kaggle: FakeKaggle
) -> None:
    changed = {**SUBMISSION, "status": "BEING_REVIEWED"}
    fake_kaggle.answers["ListSubmissions"] = {"submissions": [changed, SUBMISSION]}
    assert session.submissions()[0].status == "being_reviewed"
    with pytest.raises(CompetitionError, match="has not scored submission 5"):
        session.wait_for_score(5, timeout=0)
    fake_kaggle.answers["GetKernelSessionStatus"] = {"status": "PAUSED"}
    status = session.kernel_status("ada/x")
    assert (status.state, status.finished) == ("paused", False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text()
            | st.sampled_from(["submissions", "ref", "status", "code", "message", "date"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(answer=JSON)
def test_fuzzed_answers_are_one_line(
    session: Competition, fake_kaggle: FakeKaggle, answer: Any
) -> None:
    fake_kaggle.answers = {"": answer}
    for call in (session.submissions, session.submissions_left, session.leaderboard):
        one_line_or_success(call)


@pytest.fixture
def silent_url() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for connection in accepted:
            connection.close()


@pytest.mark.slow
def test_server_that_never_answers_is_given_up(
    session: Competition, silent_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kagglesdk import kaggle_env

    call = calls(session, tmp_path)
    policy = RetryPolicy(attempts=6, timeout=0.2, sleep=lambda seconds: None)
    monkeypatch.setattr(
        session, "_client", session._client.__class__(session._client.api, None, policy)
    )
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, silent_url)
    for name in ("submissions", "leaderboard", "download", "status", "push", "hours", "output"):
        start = time.monotonic()
        error = one_line_or_success(call[name])
        assert error is not None
        assert "timed out" in str(error), name
        assert time.monotonic() - start < 5


def test_storage_that_never_answers_is_given_up(
    session: Competition, fake_kaggle: FakeKaggle, silent_url: str, tmp_path: Path
) -> None:
    policy = RetryPolicy(attempts=6, timeout=0.2, sleep=lambda seconds: None)
    silent = Competition.open(retry_policy=policy)
    upload = {"token": "t", "createUrl": f"{silent_url}/x?X-Goog-Signature=5ecret5ecret"}
    fake_kaggle.answers["StartSubmissionUpload"] = upload
    fake_kaggle.answers["ListSubmissions"] = {"submissions": []}
    start = time.monotonic()
    error = one_line_or_success(calls(silent, tmp_path)["submit"])
    assert error is not None
    assert "timed out" in str(error)
    assert "5ecret" not in str(error)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("score", ["nan", "inf", "1e999", "-5", "1,5", "１", "", None, "n/a"])
def test_text_that_is_no_error_in_pixels_is_no_score(
    session: Competition, fake_kaggle: FakeKaggle, score: str | None
) -> None:
    answer = {"submissions": [{**SUBMISSION, "publicScore": score}], "nextPageToken": ""}
    fake_kaggle.answers["ListSubmissions"] = answer
    (record,) = session.submissions()
    assert record.public_score is None


@pytest.mark.parametrize(
    "date", ["yesterday", "", "9999-99-99T00:00:00Z", "2026-03-02T10:00:00+99:00"]
)
def test_text_that_is_no_date_is_an_answer_that_kaggle_does_not_give(
    session: Competition, fake_kaggle: FakeKaggle, date: str
) -> None:
    answer = {"submissions": [{**SUBMISSION, "date": date}], "nextPageToken": ""}
    fake_kaggle.answers["ListSubmissions"] = answer
    error = one_line_or_success(session.submissions)
    assert "an answer that Kaggle does not give" in str(error)
    quota = {"timeUsed": "NaNs", "totalTimeAllowed": "7200s", "timeReserved": "0s"}
    fake_kaggle.answers["GetAcceleratorQuotaStatistics"] = {"gpuQuota": quota}
    assert "an answer that Kaggle does not give" in str(one_line_or_success(session.gpu_hours_left))


@pytest.mark.parametrize(
    "log", ["[" * 100_000 + "x", "5", "9" * 5000, '[{"data": 5, "time": null}]', "x"]
)
def test_stored_log_of_any_form_is_read_as_lines(
    session: Competition, fake_kaggle: FakeKaggle, log: str
) -> None:
    fake_kaggle.answers["ListKernelSessionOutput"] = {"files": [], "log": log}
    (line,) = session.kernel_logs("ada/x")
    assert line.text.strip()
