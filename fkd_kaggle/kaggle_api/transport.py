"""How the official client's requests are sent: time-outs, proxies, and to whom credentials go.

The client sends requests through ``requests`` in several ways and sets time-outs for few of them,
so the rules are applied where ``requests`` sends: to requests of this thread within
:func:`connection_rules`. Requests of other code in this process are not changed.

The time-outs of ``requests`` restart with every byte, so that a server which sends a byte now and
then can hold a request for ever. Here, an answer must also make progress, see :class:`Progress`.
"""

from __future__ import annotations

import base64
import functools
import http.client
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
import urllib3.connection
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.endpoint import is_loopback

_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

LEAST_BYTES: Final = 1 << 14
"""Bytes that must arrive within ``ConnectionRules.timeout``, unless the answer ends before."""


@dataclass(frozen=True)
class ConnectionRules:
    """Rules for requests."""

    timeout: float
    """Seconds until a connection is made, and until ``LEAST_BYTES`` of an answer arrive."""
    practice_user: str | None = None
    """If set, requests go to this machine only, as this user with a key that is no secret."""
    longest: float = 300.0
    """Seconds until an answer must be complete. Downloads can take longer; their headers cannot."""
    has_pauses: bool = False
    """Whether answers are streams of events, of which a single byte within ``timeout`` is enough.
    They end after ``longest`` seconds, and callers connect again."""


class Progress:
    """How much of an answer has arrived, and how long the next part may take.

    Parameters
    ----------
    rules
        The rules for the answer.
    is_download
        Whether the answer may take longer than ``rules.longest`` after its headers.
    clock
        Returns the time in seconds.
    """

    def __init__(
        self,
        rules: ConnectionRules,
        *,
        is_download: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout, self._clock = rules.timeout, clock
        self._least = 1 if rules.has_pauses else LEAST_BYTES
        self._is_download = is_download
        self._arrived = 0
        now = clock()
        self._next, self._end = now + rules.timeout, now + rules.longest

    def seconds_left(self) -> float:
        """Return the seconds that the next bytes may take.

        Raises
        ------
        TimeoutError
            The time is up.
        """
        left = min(self._next, self._end) - self._clock()
        if left <= 0:
            raise TimeoutError("the answer makes no progress")
        return left

    def add(self, count: int) -> None:
        """Count bytes that have arrived."""
        self._arrived += count
        if self._arrived >= self._least:
            self._arrived, self._next = 0, self._clock() + self._timeout

    def end_headers(self) -> None:
        """Note that the headers are complete."""
        if self._is_download:
            self._end = float("inf")


class _State(threading.local):
    rules: ConnectionRules | None = None
    is_download: bool = False


_state = _State()


@contextmanager
def connection_rules(rules: ConnectionRules) -> Iterator[None]:
    """Apply rules to this thread's requests within the block."""
    _install()
    before, _state.rules = _state.rules, rules
    try:
        yield
    finally:
        _state.rules = before


def are_applied() -> bool:
    """Return whether this thread is within ``connection_rules``."""
    return _state.rules is not None


def check_certificates() -> None:
    """Check the certificates that the environment names for TLS.

    Raises
    ------
    CompetitionError
        A variable names a file that does not exist or contains no certificates.
    """
    for variable in _CA_VARIABLES:
        path = os.environ.get(variable)
        if not path:
            continue
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if Path(path).is_dir():
                context.load_verify_locations(capath=path)
            else:
                context.load_verify_locations(cafile=path)
        except (OSError, ValueError) as error:
            reason = "does not exist" if isinstance(error, FileNotFoundError) else "cannot be used"
            raise CompetitionError(
                f"{variable} names {path}, which {reason} as a file of certificates: correct or "
                "unset the variable"
            ) from error
        return


@functools.cache
def _install() -> None:
    """Make ``requests`` obey the rules; without rules it sends as before."""
    original = HTTPAdapter.send

    @functools.wraps(original)
    def send(
        adapter: HTTPAdapter,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        rules = _state.rules
        if rules is not None:
            if isinstance(timeout, int | float):
                timeout = min(timeout, rules.timeout)
            timeout = timeout or rules.timeout
            # The client's upload repeats a request ten times; ``RetryPolicy`` repeats it instead.
            adapter.max_retries = Retry(0, read=False)
            if is_loopback(request.url or ""):
                proxies = {}
            if rules.practice_user is not None:
                _make_harmless(request, rules.practice_user)
            _state.is_download = stream and not rules.has_pauses
        return original(adapter, request, stream, timeout, verify, cert, proxies)

    HTTPAdapter.send = send
    # Also read the answers of proxies, which a connection through a proxy starts with.
    urllib3.connection.HTTPConnection.response_class = _LimitedResponse


class _LimitedResponse(http.client.HTTPResponse):
    """An answer that must make progress; without rules, an ordinary one."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._progress: Progress | None = None
        if _state.rules is not None and isinstance(self.fp, io.BufferedReader):
            self._progress = Progress(_state.rules, is_download=_state.is_download)
            self.fp = io.BufferedReader(_LimitedReader(sock, self.fp, self._progress))

    def begin(self) -> None:
        """Read the headers."""
        super().begin()
        if self._progress is not None:
            self._progress.end_headers()


class _LimitedReader(io.RawIOBase):
    """The bytes of a socket, each read with the time that ``progress`` leaves.

    Parameters
    ----------
    sock
        The socket.
    plain
        The reader that ``http.client`` has made of it; it is closed with this one.
    progress
        The answer's progress.
    """

    def __init__(self, sock: socket.socket, plain: io.BufferedReader, progress: Progress) -> None:
        self._sock, self._plain, self._progress = sock, plain, progress

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._plain.fileno()

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._progress.seconds_left())
        count = self._plain.raw.readinto(buffer)
        self._progress.add(count or 0)
        return count

    def close(self) -> None:
        self._plain.close()
        super().close()


def _make_harmless(request: requests.PreparedRequest, user: str) -> None:
    """Refuse a request to another machine; replace the credentials of a request to this one."""
    if not is_loopback(request.url or ""):
        raise requests.exceptions.InvalidURL("the practice Kaggle names an address elsewhere")
    if "Authorization" in request.headers:
        pair = f"{user}:practice".encode("utf-8", "replace")
        request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
