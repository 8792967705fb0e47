"""How the official client's requests are sent: time-outs, proxies, and to whom credentials go.

The client sends requests through ``requests`` in several ways and sets time-outs for few of them,
so the rules are applied where ``requests`` sends: to requests of this thread within
:func:`connection_rules`. Requests of other code in this process are not changed.
"""

from __future__ import annotations

import base64
import functools
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.endpoint import is_loopback

_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class ConnectionRules:
    """Rules for requests."""

    timeout: float
    """Seconds until a connection is made, and between two answers of the server."""
    practice_user: str | None = None
    """If set, requests go to this machine only, as this user with a key that is no secret."""


class _State(threading.local):
    rules: ConnectionRules | None = None


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
        return original(adapter, request, stream, timeout, verify, cert, proxies)

    HTTPAdapter.send = send


def _make_harmless(request: requests.PreparedRequest, user: str) -> None:
    """Refuse a request to another machine; replace the credentials of a request to this one."""
    if not is_loopback(request.url or ""):
        raise requests.exceptions.InvalidURL("the practice Kaggle names an address elsewhere")
    if "Authorization" in request.headers:
        pair = f"{user}:practice".encode("utf-8", "replace")
        request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
