"""Carrying out the faults that are set: refusals, cuts, damage, delays."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import flask

from fkd_kaggle.practice.faults import STATUSES, Fault, Faults
from fkd_kaggle.practice.wire import KaggleRefusal

_OURS = ("/practice", "/code", "/favicon")


def install(app: flask.Flask, faults: Faults) -> None:
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


def take(*kinds: str) -> Fault | None:
    """Return the fault of ``kinds`` that the present request meets, if any."""
    faults: Faults = flask.current_app.extensions["practice_faults"]
    return faults.take(flask.request.path, kinds)


def send_file(path: Path, download_name: str) -> flask.Response:
    """Send a file with ranges, length and date, as Kaggle's storage does, or as a fault says."""
    fault = take("truncated", "corrupt")
    if fault is not None:
        return _damaged(path, fault)
    answer = flask.send_file(path, download_name=download_name, conditional=True, max_age=0)
    cut = take("cut-download")
    if cut is not None:
        answer.response = _cut(answer.response, cut.after, _connection())
        answer.direct_passthrough = False
    return answer


def read_upload(size: int) -> Iterator[bytes]:
    """Yield the body of the present upload, up to where a fault cuts the connection."""
    cut = take("cut-upload")
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
    cut = take("cut-log")
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
