"""Fault injection: the failures that a practice Kaggle can simulate.

``Faults`` holds the faults that are set. ``install_faults`` injects error responses and delays into
a Flask application. Other modules call ``take_fault``, ``send_file``, ``read_upload`` and
``cut_events`` where the remaining kinds apply.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import flask

from fkd_kaggle.errors import CompetitionError, unknown_name
from fkd_kaggle.practice.wire_format import ErrorResponse

_RULES: Final = "You must accept this competition's rules before you'll be able to download files."

STATUSES: Final = {
    "401": (401, "Unauthenticated"),
    "403": (403, _RULES),
    "404": (404, "Not found"),
    "429": (429, "Too many requests"),
    "500": (500, "Internal server error"),
    "503": (503, "Service unavailable"),
}
"""Kinds that are error responses: HTTP status and Kaggle's message."""

KINDS: Final = {
    "401": "credentials are not accepted",
    "403": "the competition's rules are not accepted",
    "404": "the competition does not exist",
    "429": "too many requests; retry_after=SECONDS sets the header",
    "500": "internal server error",
    "503": "service unavailable",
    "cut-download": "the connection breaks after=BYTES of a file",
    "cut-upload": "the connection breaks after=BYTES of an upload",
    "lost-answer": "the request is carried out, then the connection breaks before the response",
    "truncated": "files end after=BYTES, and their Content-Length says so",
    "corrupt": "64 bytes in the middle of a file are wrong",
    "limit": "the daily limit of submissions is used up",
    "phone": "pushing a kernel with GPU or internet needs a verified phone number",
    "gpu-quota": "the weekly GPU hours are used up",
    "stuck-queue": "kernels that are not running yet stay in the queue",
    "new-image": "kernels that name no image get another one than before",
    "old-mounts": "the input of kernels is mounted at Kaggle's old path, /kaggle/input/NAME",
    "cut-log": "the connection breaks after=EVENTS of a kernel's log stream",
    "slow": "each response takes seconds=SECONDS longer",
}
"""Kinds of faults and their descriptions for people."""

_ALIASES: Final = {"rules": "403"}

_LASTING: Final = (
    "401",
    "403",
    "404",
    "limit",
    "phone",
    "gpu-quota",
    "stuck-queue",
    "new-image",
    "old-mounts",
    "slow",
)
"""Kinds that last until cleared unless ``times`` is given; the others happen once."""

_STATES: Final = ("stuck-queue", "new-image", "old-mounts")
"""Kinds that affect no single request, so that nothing counts them."""

CLOSE_DOWNLOAD: Final = "fkd_kaggle.close_download"
"""Key of a request's environment: a function that closes the file that is sent."""

_UNAFFECTED: Final = ("/practice", "/code", "/favicon")
"""Beginnings of paths that faults do not affect; so is the path /."""


@dataclass(frozen=True)
class Fault:
    """A simulated failure."""

    kind: str
    """One of ``KINDS``."""
    path: str = ""
    """Affects requests whose path contains this text."""
    times: int | None = None
    """Number of requests that it still affects; None for all."""
    after: int = 1000
    """Bytes before a cut or a truncation; for log streams, events."""
    seconds: float = 1.0
    """Delay of a slow response."""
    retry_after: float | None = None
    """Seconds of the header Retry-After; None leaves the header out."""

    def __str__(self) -> str:
        options = [
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)[1:]
            if getattr(self, field.name) != field.default
        ]
        return self.kind + (":" + ",".join(options) if options else "")


def parse_fault(text: str) -> Fault:
    """Parse a fault as users write it: ``KIND`` or ``KIND:OPTION=VALUE,OPTION=VALUE``.

    Parameters
    ----------
    text
        For example ``429:times=2,retry_after=5``; the options are the fields of ``Fault``.

    Raises
    ------
    CompetitionError
        The kind or an option is unknown, or a value is not a number.
    """
    kind, _, rest = text.strip().partition(":")
    kind = _ALIASES.get(kind, kind)
    if kind not in KINDS:
        raise CompetitionError(unknown_name("fault", kind, KINDS))
    readers = {"path": str, "times": int, "after": int, "seconds": float, "retry_after": float}
    options: dict[str, str | int | float | None] = {"times": None if kind in _LASTING else 1}
    for part in filter(None, rest.split(",")):
        name, _, value = part.partition("=")
        if name not in readers:
            raise CompetitionError(f"fault {text!r}: " + unknown_name("option", name, readers))
        if name == "times" and kind in _STATES and value != "all":
            raise CompetitionError(f"fault {text!r}: {kind} lasts until it is cleared: omit times")
        try:
            options[name] = None if (name, value) == ("times", "all") else readers[name](value)
        except ValueError:
            raise CompetitionError(f"fault {text!r}: {name} must be a number") from None
    return replace(Fault(kind), **options)  # type: ignore[arg-type]


class Faults:
    """The faults that are set. Safe to use from several threads.

    Parameters
    ----------
    faults
        Faults to set, as objects or as users write them.

    Raises
    ------
    CompetitionError
        A fault cannot be parsed.
    """

    def __init__(self, faults: Iterable[Fault | str] = ()) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault | str) -> None:
        """Set another fault; CompetitionError if it cannot be parsed."""
        fault = parse_fault(fault) if isinstance(fault, str) else fault
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def all(self) -> list[Fault]:
        """List the faults that are set."""
        with self._lock:
            return list(self._faults)

    def has(self, kind: str) -> bool:
        """Tell whether a fault of ``kind`` is set, without counting it."""
        return any(fault.kind == kind for fault in self.all())

    def take(self, path: str, kinds: Iterable[str]) -> Fault | None:
        """Return the first fault that affects a request, and count the request.

        Parameters
        ----------
        path
            Path of the request's URL.
        kinds
            Kinds of faults to consider.
        """
        with self._lock:
            for position, fault in enumerate(self._faults):
                if fault.kind not in kinds or fault.path not in path or fault.times == 0:
                    continue
                if fault.times is not None:
                    left = replace(fault, times=fault.times - 1)
                    self._faults[position] = left
                    if not left.times:
                        del self._faults[position]
                return fault
        return None


def install_faults(app: flask.Flask, faults: Faults) -> None:
    """Inject the faults into every request of Kaggle's API and storage.

    Pages and the routes that control the practice Kaggle are not affected.

    Parameters
    ----------
    app
        The application.
    faults
        The faults that are set; later changes take effect.
    """
    app.extensions["practice_faults"] = faults

    def inject_before() -> None:
        path = flask.request.path
        if not _is_affected(path):
            return
        slow = faults.take(path, ["slow"])
        if slow is not None:
            time.sleep(slow.seconds)
        fault = faults.take(path, STATUSES)
        if fault is not None:
            status, message = STATUSES[fault.kind]
            headers = {"Connection": "close"}
            if fault.retry_after is not None:
                headers["Retry-After"] = f"{fault.retry_after:g}"
            raise ErrorResponse(status, message, headers)

    def lose_response(answer: flask.Response) -> flask.Response:
        path = flask.request.path
        if _is_affected(path) and faults.take(path, ["lost-answer"]) is not None:
            hang_up(_connection())
        return answer

    app.before_request(inject_before)
    app.after_request(lose_response)


def take_fault(*kinds: str) -> Fault | None:
    """Return the first fault of these kinds that affects the current request, and count it."""
    faults: Faults = flask.current_app.extensions["practice_faults"]
    return faults.take(flask.request.path, kinds)


def send_file(path: Path, download_name: str) -> flask.Response:
    """Return a file with ranges, length and date as Kaggle's storage does, unless a fault is set.

    Parameters
    ----------
    path
        The file.
    download_name
        Name for the client.
    """
    fault = take_fault("truncated", "corrupt")
    if fault is not None:
        return _damaged(path, fault)
    answer = flask.send_file(path, download_name=download_name, conditional=True, max_age=0)
    flask.request.environ[CLOSE_DOWNLOAD] = answer.close
    cut = take_fault("cut-download")
    if cut is not None:
        file: Any = answer.response
        answer.call_on_close(file.close)
        answer.response = _cut(file, cut.after, _connection())
        answer.direct_passthrough = False
    return answer


def read_upload(size: int) -> Iterator[bytes]:
    """Yield the ``size`` bytes of the request's body, up to where a fault cuts the connection."""
    cut = take_fault("cut-upload")
    left = size if cut is None else min(size, cut.after)
    stream = flask.request.stream
    while left > 0:
        chunk = stream.read(min(left, 1 << 16))
        if not chunk:
            break
        left -= len(chunk)
        yield chunk
    if cut is not None:
        hang_up(_connection())


def cut_events(events: Iterator[str]) -> Iterator[str]:
    """Return a stream of events that ends where a fault cuts the connection."""
    cut = take_fault("cut-log")
    return events if cut is None else _cut_events(events, cut.after, _connection())


def hang_up(connection: Any) -> NoReturn:
    """Close the connection without a response.

    Raises
    ------
    ConnectionAbortedError
        Always, to end the request.
    """
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError("connection cut by fault injection")


def _is_affected(path: str) -> bool:
    """Tell whether faults affect a path of Kaggle's API or storage."""
    return path != "/" and not path.startswith(_UNAFFECTED)


def _damaged(path: Path, fault: Fault) -> flask.Response:
    content = bytearray(path.read_bytes())
    if fault.kind == "truncated":
        del content[fault.after :]
    else:
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    answer = flask.Response(bytes(content), mimetype="application/zip")
    answer.set_etag(f"damaged-{fault.kind}-{fault.after}")
    answer.last_modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    answer.headers["Accept-Ranges"] = "bytes"
    return answer


def _cut(chunks: Any, after: int, connection: Any) -> Iterator[bytes]:
    for chunk in chunks:
        if len(chunk) >= after:
            yield chunk[:after]
            hang_up(connection)
        yield chunk
        after -= len(chunk)


def _cut_events(events: Iterator[str], after: int, connection: Any) -> Iterator[str]:
    yield from itertools.islice(events, after)
    hang_up(connection)


def _connection() -> Any:
    return flask.request.environ["werkzeug.socket"]
