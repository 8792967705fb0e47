"""What a practice Kaggle remembers: uploads, submissions and their scores, in a folder.

One JSON file beside the submitted files; a server that starts on the same folder goes on where the
last one stopped. Credentials are never stored: a submission keeps its user's name and no more.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import flask

from fkd_kaggle import files
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.practice import fault_injection
from fkd_kaggle.practice.wire_format import refuse

DAY: Final = 86_400.0

_FIRST_REF: Final = 50_000_001


@dataclass(frozen=True)
class Submission:
    """A submission with what came of it."""

    ref: int
    user: str
    file_name: str
    message: str
    date: float
    """UNIX time."""
    size: int
    """Bytes."""
    status: Literal["complete", "error"]
    remark: str = ""
    """Why it could not be scored, or was not."""
    public_score: float | None = None
    private_score: float | None = None


@dataclass(frozen=True)
class Upload:
    """A file on its way here."""

    file_name: str
    size: int
    path: Path
    """Where its bytes are gathered."""


def lock_state_folder(state_dir: Path) -> TextIO:
    """Take a state folder for this process alone, until the returned file is closed.

    Raises
    ------
    CompetitionError
        Another practice Kaggle has it: both would write what they remember over the other's.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / ".lock").open("a")
    except OSError as error:
        raise CompetitionError(
            f"the state folder {state_dir} cannot be written ({error.strerror}): choose another "
            "with --state-dir"
        ) from error
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # Windows has no flock; there, two at once are the user's to avoid
    except OSError as error:
        lock.close()
        raise CompetitionError(
            f"{state_dir} is in use by another practice Kaggle: stop that, or choose another "
            "folder with --state-dir"
        ) from error
    return lock


class Store:
    """The state of a practice Kaggle. Safe to use from several threads."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.now = now
        self.lock = threading.RLock()
        self._uploads: dict[str, Upload] = {}
        self._submissions = [Submission(**record) for record in self._read()["submissions"]]
        # Uploads live as long as the process that gave out their tokens.
        shutil.rmtree(folder / "uploads", ignore_errors=True)

    # --- uploads ------------------------------------------------------------------------------

    def start_upload(self, file_name: str, size: int) -> str:
        """Expect a file; return its token."""
        token = secrets.token_hex(16)
        folder = self.folder / "uploads"
        folder.mkdir(parents=True, exist_ok=True)
        with self.lock:
            self._uploads[token] = Upload(file_name, size, folder / token)
        return token

    def upload(self, token: str) -> Upload | None:
        """Return the upload of a token, if there is one."""
        with self.lock:
            return self._uploads.get(token)

    # --- submissions --------------------------------------------------------------------------

    def submissions(self, user: str | None = None) -> list[Submission]:
        """List submissions, newest first; those of ``user`` only, where given."""
        with self.lock:
            wanted = [one for one in self._submissions if user is None or one.user == user]
        return wanted[::-1]

    def submission(self, ref: int) -> Submission | None:
        """Return submission ``ref``, if there is one."""
        with self.lock:
            return next((one for one in self._submissions if one.ref == ref), None)

    def submission_file(self, submission: Submission) -> Path:
        """Return where a submission's file is kept."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", submission.file_name)[-80:].lstrip(".-")
        return self.folder / "submissions" / f"{submission.ref}-{name or 'submission'}"

    def next_ref(self) -> int:
        """Return the number that the next submission gets."""
        with self.lock:
            return max((one.ref for one in self._submissions), default=_FIRST_REF - 1) + 1

    def add(self, submission: Submission, content: Path) -> None:
        """Keep a submission and a copy of its file."""
        with self.lock:
            with files.atomic_path(self.submission_file(submission)) as temporary:
                shutil.copyfile(content, temporary)
            kept = [*self._submissions, submission]
            state = {"version": 1, "submissions": [asdict(one) for one in kept]}
            files.write_json(self._state_file, state)
            self._submissions = kept

    def today(self, user: str) -> int:
        """Count the submissions since midnight UTC that used up some of the daily limit.

        Those that could not be read do not, as on Kaggle.
        """
        midnight = self.now() // DAY * DAY
        mine = self.submissions(user)
        return sum(one.date >= midnight and one.status != "error" for one in mine)

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.json"

    def _read(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"submissions": []}
        except (OSError, ValueError) as error:
            raise CompetitionError(
                f"{self._state_file} is damaged ({error}): move it away to start anew"
            ) from error
        if state.get("version") != 1:
            raise CompetitionError(f"{self._state_file} is of another version of fkd-kaggle")
        return state


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


def upload_url(token: str) -> str:
    """Return where the client is to put the bytes."""
    return f"{flask.request.host_url}storage/uploads/{token}"


def is_complete_upload(upload: Upload) -> bool:
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
        for chunk in fault_injection.read_upload(length):
            sink.write(chunk)
            sink.flush()


def _answer(upload: Upload) -> flask.Response:
    if is_complete_upload(upload):
        return flask.jsonify({})
    answer = flask.Response(status=308)
    here = upload.path.stat().st_size if upload.path.exists() else 0
    if here:
        answer.headers["Range"] = f"bytes=0-{here - 1}"
    return answer
