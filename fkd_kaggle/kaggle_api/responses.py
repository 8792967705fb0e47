"""Classify exceptions of the official client: HTTP status, Kaggle's message, transient or not.

The messages for users are in ``errors``. Sends no requests.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import requests
import urllib3

CLIENT_ERRORS: Final = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    ssl.SSLError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""Exceptions of the official client: network errors, Kaggle's errors, invalid arguments.

kagglesdk reads answers without checks, so an unexpected answer raises an exception of any of the
other types.
"""

CONNECTION_ERRORS: Final = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)
"""Failures of the connection. ``requests`` does not wrap all exceptions of ``urllib3``."""

TRANSIENT_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses after which a later attempt may succeed."""


class UploadFailedError(requests.ConnectionError):
    """An upload failed before a submission was created; it is safe to repeat the upload.

    Parameters
    ----------
    printed
        Output of the client, which prints the reason instead of returning it.
    """

    def __init__(self, printed: str) -> None:
        super().__init__("upload failed")
        self.disconnected = bool(printed.strip())
        """Whether the connection broke; otherwise the storage refused the upload."""
        self.timed_out = "timed out" in printed
        """Whether the storage did not answer."""


def is_transient(error: Exception) -> bool:
    """Return whether a later attempt may succeed."""
    status = http_status(error)
    if status is not None:
        return status in TRANSIENT_STATUSES
    return isinstance(error, CONNECTION_ERRORS) and not is_untrusted(error)


def is_untrusted(error: Exception) -> bool:
    """Return whether the encrypted connection failed, which another attempt does not change."""
    return any(
        isinstance(cause, requests.exceptions.SSLError | urllib3.exceptions.SSLError | ssl.SSLError)
        for cause in causes_of(error)
    )


def is_timeout(error: Exception) -> bool:
    """Return whether the server did not answer in time."""
    if isinstance(error, UploadFailedError):
        return error.timed_out
    kinds = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    return any(isinstance(cause, kinds) for cause in causes_of(error))


def is_unreadable_answer(error: Exception) -> bool:
    """Return whether the answer does not come from Kaggle: empty, a proxy's page or a redirect."""
    if http_status(error) is not None or isinstance(error, CONNECTION_ERRORS):
        return False
    return type(error) is not ValueError  # The client raises ValueError for invalid arguments.


def is_connection_refused(error: Exception) -> bool:
    """Return whether no server listens at the address, as opposed to a broken connection."""
    return any(isinstance(cause, ConnectionRefusedError) for cause in causes_of(error))


def http_status(error: Exception) -> int | None:
    """Return the HTTP status that caused an error; None if there was no answer."""
    for cause in causes_of(error):
        response = getattr(cause, "response", None)
        if isinstance(cause, requests.HTTPError) and response is not None:
            # Kaggle also sends errors with status 200 and the error's code in the JSON body.
            return response.status_code if response.status_code >= 400 else _read_body(response)[0]
    return None


def retry_after(error: Exception) -> float | None:
    """Return the seconds to wait from the header Retry-After; None without a valid header."""
    value = _header(error, "Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def kaggle_message(error: Exception) -> str:
    """Return Kaggle's own message about an error; empty if there is no message."""
    for cause in causes_of(error):
        response = getattr(cause, "response", None)
        if response is not None:
            return _read_body(response)[1]
    return ""


def close_answer(error: Exception) -> None:
    """Close the connection of the answer that caused an error; its body is not read any more."""
    for cause in causes_of(error):
        response = getattr(cause, "response", None)
        if isinstance(response, requests.Response):
            response.close()


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and all exceptions that it was raised from or wraps."""
    seen: set[int] = set()
    waiting = [error] if error is not None else []
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        # ``reason`` is an exception in urllib3, but a text in UnicodeError and ssl.SSLError.
        linked = [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
        waiting += [one for one in linked if isinstance(one, BaseException)]


def _header(error: Exception, name: str) -> str | None:
    """Return a header of the answer that caused an error."""
    response = getattr(error, "response", None)
    return response.headers.get(name) if response is not None else None


def _read_body(response: requests.Response) -> tuple[int, str]:
    """Return code and message of Kaggle's JSON error; (status, "") for another answer."""
    try:
        body = response.json()
        body = body.get("error", body)  # Kaggle sends the error with or without this key.
        return int(body.get("code", response.status_code)), str(body.get("message", ""))
    except (requests.RequestException, ValueError, TypeError, AttributeError, RuntimeError):
        return response.status_code, ""
