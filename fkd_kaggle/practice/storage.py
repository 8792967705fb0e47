"""The saved state of a practice Kaggle: submissions with their scores, in a folder.

One JSON file beside the submitted files, from which a restarted server continues. Of a user, only
the name is stored; credentials are not.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, TextIO

from fkd_kaggle import files
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.runs.reading import check_types

DAY: Final = 86_400.0
"""Seconds."""

_FIRST_REF: Final = 50_000_001

_VERSION: Final = 1


@dataclass(frozen=True)
class Submission:
    """A submission and its result. The field names are those of the JSON file."""

    ref: int
    """Kaggle's number of the submission."""
    user: str
    file_name: str
    message: str
    date: float
    """UNIX time."""
    size: int
    """Bytes."""
    status: Literal["complete", "error"]
    remark: str = ""
    """Why it has no score."""
    public_score: float | None = None
    """RMSE in pixels."""
    private_score: float | None = None
    """RMSE in pixels."""


class Store:
    """The submissions of a practice Kaggle. Safe to use from several threads.

    Parameters
    ----------
    folder
        The state folder of the served data.
    now
        Returns the UNIX time.

    Raises
    ------
    CompetitionError
        The saved state is damaged or of another version.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.now = now
        self.lock = threading.RLock()
        self._submissions = self._read()

    def submissions(self, user: str | None = None) -> list[Submission]:
        """List the submissions, newest first.

        Parameters
        ----------
        user
            List those of this user only.
        """
        with self.lock:
            wanted = [one for one in self._submissions if user is None or one.user == user]
        return wanted[::-1]

    def submission(self, ref: int) -> Submission | None:
        """Return submission ``ref``; None if it does not exist."""
        with self.lock:
            return next((one for one in self._submissions if one.ref == ref), None)

    def submission_file(self, submission: Submission) -> Path:
        """Return the path of a submission's file."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", submission.file_name)[-80:].lstrip(".-")
        return self.folder / "submissions" / f"{submission.ref}-{name or 'submission'}"

    def next_ref(self) -> int:
        """Return the number of the next submission."""
        with self.lock:
            return max((one.ref for one in self._submissions), default=_FIRST_REF - 1) + 1

    def add(self, submission: Submission, content: Path) -> None:
        """Store a submission and a copy of its file.

        Parameters
        ----------
        submission
            The submission and its result.
        content
            The submitted file.
        """
        with self.lock:
            with files.atomic_path(self.submission_file(submission)) as temporary:
                shutil.copyfile(content, temporary)
            submissions = [*self._submissions, submission]
            records = [asdict(one) for one in submissions]
            files.write_json(self._state_file, {"version": _VERSION, "submissions": records})
            self._submissions = submissions

    def count_today(self, user: str) -> int:
        """Count the user's submissions since midnight UTC that the daily limit counts.

        As on Kaggle, submissions that could not be read do not count.
        """
        midnight = self.now() // DAY * DAY
        own = self.submissions(user)
        return sum(one.date >= midnight and one.status != "error" for one in own)

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.json"

    def _read(self) -> list[Submission]:
        """Return the saved submissions."""
        try:
            state = json.loads(self._state_file.read_text(encoding="utf-8"))
            if state["version"] != _VERSION:
                raise CompetitionError(f"{self._state_file} is of another version of fkd-kaggle")
            submissions = [Submission(**record) for record in state["submissions"]]
            for one in submissions:
                check_types(one)
        except FileNotFoundError:
            return []
        except CompetitionError:
            raise
        except Exception as error:
            raise CompetitionError(
                f"{self._state_file} is damaged ({type(error).__name__}): move it away to start "
                "anew"
            ) from error
        return submissions


def lock_state_folder(state_dir: Path) -> TextIO:
    """Lock a state folder for this process until the returned file is closed.

    Two processes with the same folder would overwrite each other's state.

    Raises
    ------
    CompetitionError
        The folder cannot be written, or another practice Kaggle uses it.
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
        pass  # Windows has no flock: there, two servers can use one folder
    except OSError as error:
        lock.close()
        raise CompetitionError(
            f"{state_dir} is in use by another practice Kaggle: stop that, or choose another "
            "folder with --state-dir"
        ) from error
    return lock
