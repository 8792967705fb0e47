"""The practice Kaggle's storage: takes the bytes of an upload, resumes one that was cut.

Speaks Google's resumable uploads as far as the official client does (``_resume_upload``).
"""

from __future__ import annotations

import re

import flask

from fkd_kaggle.practice import misbehaviour
from fkd_kaggle.practice.store import Store, Upload
from fkd_kaggle.practice.wire import refuse


def blueprint(store: Store) -> flask.Blueprint:
    """Return the routes of the storage."""
    routes = flask.Blueprint("uploads", __name__)

    @routes.put("/storage/uploads/<token>")
    def put(token: str) -> flask.Response:
        upload = store.upload(token)
        if upload is None:
            refuse(404, "Not found")
        start = _start(flask.request.headers.get("Content-Range"), upload)
        if start is not None:
            _receive(upload, start)
        return _answer(upload)

    return routes


def url(token: str) -> str:
    """Return where the client is to put the bytes."""
    return f"{flask.request.host_url}storage/uploads/{token}"


def is_whole(upload: Upload) -> bool:
    """Tell whether all bytes are here."""
    return upload.path.exists() and upload.path.stat().st_size == upload.size


def _start(content_range: str | None, upload: Upload) -> int | None:
    """Return the position of the body's first byte; None where only the state is asked for."""
    if content_range is None:
        return 0
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:\d+|\*)", content_range)
    if match is None:
        refuse(400, "Bad Content-Range")
    if match[1] is None:
        return None
    start = int(match[1])
    here = upload.path.stat().st_size if upload.path.exists() else 0
    if start > here:
        refuse(416, f"{here} bytes are here, the next cannot be byte {start}")
    return start


def _receive(upload: Upload, start: int) -> None:
    # An empty file comes without a length (requests sends it in chunks).
    length = flask.request.content_length or 0
    if start + length > upload.size:
        refuse(400, f"{start + length} bytes where {upload.size} were announced")
    with upload.path.open("r+b" if start else "wb") as sink:
        sink.seek(start)
        sink.truncate()
        for chunk in misbehaviour.read_upload(length):
            sink.write(chunk)
            sink.flush()


def _answer(upload: Upload) -> flask.Response:
    if is_whole(upload):
        return flask.jsonify({})
    answer = flask.Response(status=308)
    here = upload.path.stat().st_size if upload.path.exists() else 0
    if here:
        answer.headers["Range"] = f"bytes=0-{here - 1}"
    return answer
