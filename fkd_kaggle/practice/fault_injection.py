"""Carrying out the faults that are set: refusals, cuts, damage, delays."""

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
from fkd_kaggle.practice.wire_format import KaggleRefusal

_RULES: Final = "You must accept this competition's rules before you'll be able to download files."

STATUSES: Final = {
    "401": (401, "Unauthenticated"),
    "403": (403, _RULES),
    "404": (404, "Not found"),
    "429": (429, "Too many requests"),
    "500": (500, "Internal server error"),
    "503": (503, "Service unavailable"),
}
"""Faults that are an answer: status and Kaggle's own words."""

KINDS: Final = {
    "401": "credentials are not accepted",
    "403": "the competition's rules are not accepted",
    "404": "the competition does not exist",
    "429": "asked too often; retry_after=SECONDS sets the header",
    "500": "internal server error",
    "503": "service unavailable",
    "cut-download": "the connection breaks after=BYTES of a file",
    "cut-upload": "the connection breaks after=BYTES of an upload",
    "lost-answer": "what was asked is done, then the connection breaks before the answer",
    "truncated": "files end after=BYTES, and their Content-Length says so",
    "corrupt": "bytes in the middle of files are wrong",
    "limit": "the day's submissions are used up",
    "phone": "pushing a kernel with GPU or internet needs a verified phone number",
    "gpu-quota": "the week's GPU hours are used up",
    "stuck-queue": "kernels that are not running yet stay in the queue",
    "old-mounts": "kernels find their input where Kaggle used to mount it: /kaggle/input/NAME",
    "cut-log": "the connection breaks after=EVENTS of a kernel's log stream",
    "slow": "each answer takes seconds=SECONDS",
}

_ALIASES: Final = {"rules": "403"}

_LASTING: Final = (
    "401", "403", "404", "limit", "phone", "gpu-quota", "stuck-queue", "old-mounts", "slow",
)  # fmt: skip
"""Kinds that last until cleared unless ``times`` is given; others happen once."""


@dataclass(frozen=True)
class Fault:
    """One way to misbehave."""

    kind: str
    path: str = ""
    """Only requests whose path contains this."""
    times: int | None = None
    """For so many requests; None for all."""
    after: int = 1000
    """Bytes before a cut or a truncation; of a log stream, events."""
    seconds: float = 1.0
    retry_after: float | None = None

    def __str__(self) -> str:
        options = [
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)[1:]
            if getattr(self, field.name) != field.default
        ]
        return self.kind + (":" + ",".join(options) if options else "")


def parse_fault(text: str) -> Fault:
    """Read a fault as a user writes it.

    Raises
    ------
    CompetitionError
        The kind or an option is unknown, or a value is no number.
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
        try:
            options[name] = None if (name, value) == ("times", "all") else readers[name](value)
        except ValueError:
            raise CompetitionError(f"fault {text!r}: {name} must be a number") from None
    return replace(Fault(kind), **options)  # type: ignore[arg-type]


class Faults:
    """The faults that are set at the moment. Safe to use from several threads."""

    def __init__(self, faults: Iterable[Fault | str] = ()) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault | str) -> None:
        """Set a fault in addition to those that are set."""
        fault = parse_fault(fault) if isinstance(fault, str) else fault
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Behave again."""
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
        """Return the first fault of ``kinds`` that meets a request for ``path``; count it."""
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


_OURS = ("/practice", "/code", "/favicon")


def install_faults(app: flask.Flask, faults: Faults) -> None:
    """Let every request but the page's own meet the faults."""
    app.extensions["practice_faults"] = faults

    def meet() -> None:
        path = flask.request.path
        if path == "/" or path.startswith(_OURS):
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
            raise KaggleRefusal(status, message, headers)

    def lose(answer: flask.Response) -> flask.Response:
        if faults.take(flask.request.path, ["lost-answer"]) is not None:
            hang_up(_connection())
        return answer

    app.before_request(meet)
    app.after_request(lose)


def take_fault(*kinds: str) -> Fault | None:
    """Return the fault of ``kinds`` that the present request meets, if any."""
    faults: Faults = flask.current_app.extensions["practice_faults"]
    return faults.take(flask.request.path, kinds)


def send_file(path: Path, download_name: str) -> flask.Response:
    """Send a file with ranges, length and date, as Kaggle's storage does, or as a fault says."""
    fault = take_fault("truncated", "corrupt")
    if fault is not None:
        return _damaged(path, fault)
    answer = flask.send_file(path, download_name=download_name, conditional=True, max_age=0)
    cut = take_fault("cut-download")
    if cut is not None:
        answer.response = _cut(answer.response, cut.after, _connection())
        answer.direct_passthrough = False
    return answer


def read_upload(size: int) -> Iterator[bytes]:
    """Yield the body of the present upload, up to where a fault cuts the connection."""
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
    """Return a stream of events, up to where a fault cuts the connection."""
    cut = take_fault("cut-log")
    return events if cut is None else _cut_events(events, cut.after, _connection())


def hang_up(connection: Any) -> NoReturn:
    """Break the connection without an answer."""
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError("cut on purpose")


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
