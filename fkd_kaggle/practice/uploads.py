"""Uploads of submission files, which the client can resume; the routes that receive their bytes.

An upload ends with the server's process: its token is not stored.
"""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import flask

from fkd_kaggle.practice import fault_injection
from fkd_kaggle.practice.wire_format import refuse

MAX_SIZE: Final = 200 << 20
"""Maximum size of a submission in bytes."""

_MAX_UPLOADS: Final = 100
"""Unfinished uploads that are kept; older ones are abandoned."""


@dataclass(frozen=True)
class Upload:
    """An announced file."""

    user: str
    """Name of the user who may submit it."""
    file_name: str
    size: int
    """Bytes announced."""
    path: Path
    """File of the bytes received so far."""

    @property
    def received(self) -> int:
        """Number of bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are received; an empty file must be sent, too."""
        return self.path.exists() and self.received == self.size


class Uploads:
    """The uploads of a practice Kaggle. Safe to use from several threads.

    Parameters
    ----------
    folder
        Folder for the bytes; emptied, because an earlier server's uploads have no tokens.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._uploads: dict[str, Upload] = {}
        shutil.rmtree(folder, ignore_errors=True)

    def start(self, user: str, file_name: str, size: int) -> str:
        """Announce a file and return its token.

        Parameters
        ----------
        user
            Name of the user.
        file_name
            The user's name of the file.
        size
            Bytes.
        """
        token = secrets.token_hex(16)
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._uploads[token] = Upload(user, file_name, size, self._folder / token)
            abandoned = list(self._uploads)[:-_MAX_UPLOADS]
        for old in abandoned:
            self.discard(old)
        return token

    def take(self, token: str, user: str) -> Upload | None:
        """Return a user's complete upload and make its token invalid; None if there is none.

        The file stays until ``discard``; after a refused submission, ``restore`` makes the token
        valid again.
        """
        with self._lock:
            upload = self._uploads.get(token)
            if upload is None or upload.user != user or not upload.is_complete:
                return None
            return self._uploads.pop(token)

    def restore(self, token: str, upload: Upload) -> None:
        """Make the token of a taken upload valid again."""
        with self._lock:
            self._uploads[token] = upload

    def discard(self, token: str) -> None:
        """Delete an upload."""
        with self._lock:
            self._uploads.pop(token, None)
        (self._folder / token).unlink(missing_ok=True)

    def find(self, token: str) -> Upload | None:
        """Return the upload of a token; None if it does not exist."""
        with self._lock:
            return self._uploads.get(token)


def blueprint(uploads: Uploads) -> flask.Blueprint:
    """Return the route that receives the bytes of uploads."""
    routes = flask.Blueprint("uploads", __name__)

    @routes.put("/storage/uploads/<token>")
    def put(token: str) -> flask.Response:
        flask.request.max_content_length = None  # streamed, and limited by the announced size
        upload = uploads.find(token)
        if upload is None:
            refuse(404, "Not found")
        start = _start(flask.request.headers.get("Content-Range"), upload)
        if start is not None:
            _receive(upload, start)
        return _respond(upload)

    return routes


def upload_url(token: str) -> str:
    """Return the URL to which the client sends the bytes of an upload."""
    return f"{flask.request.host_url}storage/uploads/{token}"


def _start(content_range: str | None, upload: Upload) -> int | None:
    """Return the position of the body's first byte; None if the request only asks for the state."""
    if content_range is None:
        return 0
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:\d+|\*)", content_range)
    if match is None:
        refuse(400, "Bad Content-Range")
    if match[1] is None:
        return None
    start = int(match[1][:18])
    if start > upload.received:
        refuse(416, f"{upload.received} bytes are here, the next cannot be byte {start}")
    return start


def _receive(upload: Upload, start: int) -> None:
    """Write the request's body to the upload from byte ``start`` on."""
    # requests sends an empty file in chunks, without Content-Length.
    length = flask.request.content_length or 0
    if length < 0 or start + length > upload.size:
        refuse(400, f"{start + length} bytes where {upload.size} were announced")
    with upload.path.open("r+b" if start else "wb") as sink:
        sink.seek(start)
        sink.truncate()
        for chunk in fault_injection.read_upload(length):
            sink.write(chunk)
            sink.flush()


def _respond(upload: Upload) -> flask.Response:
    """Return the state of an upload as Google's resumable uploads do."""
    if upload.is_complete:
        return flask.jsonify({})
    answer = flask.Response(status=308)
    if upload.received:
        answer.headers["Range"] = f"bytes=0-{upload.received - 1}"
    return answer
