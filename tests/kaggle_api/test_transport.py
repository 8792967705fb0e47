"""Servers that answer slowly: answers must make progress, downloads may be long."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from fake_kaggle import FakeKaggle

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api import transport
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.retry import RetryPolicy
from fkd_kaggle.kaggle_api.transport import LEAST_BYTES, ConnectionRules, Progress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400000\r\n"


@contextmanager
def slow_server(pieces: Callable[[], Iterator[bytes]], seconds: float) -> Iterator[str]:
    """Serve the pieces of an answer to every connection, with a pause after each piece."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def answer(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                connection.recv(1 << 16)
                for piece in pieces():
                    connection.sendall(piece)
                    if stop.wait(seconds):
                        return

        def accept() -> None:
            with suppress(OSError):
                while True:
                    arguments = (listener.accept()[0],)
                    threading.Thread(target=answer, args=arguments, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stop.set()


def dripping_headers() -> Iterator[bytes]:
    """An answer whose headers never end."""
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    yield from itertools.repeat(b"x")


def dripping_body() -> Iterator[bytes]:
    """An answer whose body never ends."""
    yield HEAD + b'\r\n{"submissions": ['
    yield from itertools.repeat(b" ")


def endless_greetings() -> Iterator[bytes]:
    """An answer that never starts, with many bytes."""
    yield from itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000)


def steady_body() -> Iterator[bytes]:
    """A whole answer in 20 pieces."""
    yield HEAD + b"\r\n"
    yield from (b"x" * 20_000 for _ in range(20))


@pytest.mark.parametrize("pieces", [dripping_headers, dripping_body])
@pytest.mark.parametrize("stream", [False, True])
def test_byte_now_and_then_is_no_progress(
    pieces: Callable[[], Iterator[bytes]], stream: bool
) -> None:
    start = time.monotonic()
    with (
        slow_server(pieces, 0.02) as url,
        transport.connection_rules(ConnectionRules(timeout=0.3)),
        pytest.raises((requests.Timeout, requests.ConnectionError), match=r"(?i)timed out"),
    ):
        # The longer time-out of the client does not count.
        _ = requests.get(url, stream=stream, timeout=300).content
    assert 0.25 < time.monotonic() - start < 3


@pytest.mark.slow
def test_download_may_be_long_but_an_answer_may_not() -> None:
    rules = ConnectionRules(timeout=0.5, longest=0.6)
    with slow_server(steady_body, 0.06) as url, transport.connection_rules(rules):
        start = time.monotonic()
        assert len(requests.get(url, stream=True, timeout=300).content) == 400_000
        assert time.monotonic() - start > 1
        with pytest.raises((requests.Timeout, requests.ConnectionError)):
            requests.get(url, timeout=300)


def test_headers_of_a_download_have_an_end() -> None:
    rules = ConnectionRules(timeout=0.5, longest=0.6)
    with (
        slow_server(endless_greetings, 0.01) as url,
        transport.connection_rules(rules),
        pytest.raises((requests.Timeout, requests.ConnectionError)),
    ):
        requests.get(url, stream=True, timeout=300)


def test_requests_of_other_code_have_their_own_limits() -> None:
    with transport.connection_rules(ConnectionRules(timeout=0.1)):
        pass
    with slow_server(steady_body, 0.02) as url:
        assert len(requests.get(url, timeout=5).content) == 400_000


def test_progress_counts_bytes_in_each_interval() -> None:
    now = [0.0]
    progress = Progress(ConnectionRules(10.0), is_download=False, clock=lambda: now[0])
    assert progress.seconds_left() == 10
    now[0] = 9
    progress.add(LEAST_BYTES - 1)
    assert progress.seconds_left() == 1
    progress.add(1)
    assert progress.seconds_left() == 10
    now[0] = 299
    progress.add(LEAST_BYTES)
    assert progress.seconds_left() == 1
    now[0] = 300
    with pytest.raises(TimeoutError):
        progress.seconds_left()


def test_stream_of_events_may_pause_but_ends() -> None:
    now = [0.0]
    rules = ConnectionRules(100.0, longest=1000.0, has_pauses=True)
    progress = Progress(rules, is_download=False, clock=lambda: now[0])
    for second in range(0, 1000, 90):
        now[0] = float(second)
        assert progress.seconds_left() > 0
        progress.add(1)
    now[0] = 1001
    with pytest.raises(TimeoutError):
        progress.seconds_left()


@pytest.fixture
def impatient(fake_kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> Competition:
    """A session that waits 0.3 s and does not sleep."""
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "0f1e2d3c4b5a69788796")
    policy = RetryPolicy(attempts=6, timeout=0.3, sleep=lambda seconds: None)
    return Competition.open(retry_policy=policy)


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [dripping_headers, dripping_body])
def test_every_request_to_a_dripping_server_is_given_up(
    impatient: Competition,
    pieces: Callable[[], Iterator[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kagglesdk import kaggle_env

    csv = tmp_path / "a.csv"
    csv.write_text("RowId,Location\n1,2\n")
    with slow_server(pieces, 0.02) as url:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, url)
        for call in (
            impatient.submissions,
            impatient.leaderboard,
            impatient.gpu_hours_left,
            lambda: impatient.submit(csv, "message"),
            lambda: impatient.kernel_status("ada/x"),
            lambda: impatient.kernel_output("ada/x", tmp_path / "out"),
            lambda: impatient.download(tmp_path / "data"),
        ):
            start = time.monotonic()
            with pytest.raises(CompetitionError, match="timed out") as caught:
                call()
            assert "\n" not in str(caught.value)
            assert time.monotonic() - start < 6


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [dripping_headers, dripping_body])
def test_download_from_a_dripping_storage_is_given_up_and_kept(
    impatient: Competition,
    fake_kaggle: FakeKaggle,
    pieces: Callable[[], Iterator[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The client itself waits between its five attempts.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with slow_server(pieces, 0.02) as url:
        listed = {"files": [{"url": f"{url}/a.csv", "fileName": "a.csv"}], "log": ""}
        fake_kaggle.answers["ListKernelSessionOutput"] = listed
        start = time.monotonic()
        with pytest.raises(CompetitionError, match="timed out"):
            impatient.kernel_output("ada/x", tmp_path / "out")
        assert time.monotonic() - start < 8
    assert not (tmp_path / "out" / "a.csv").exists()
