"""Download a file from Kaggle with the official client and resume after broken connections.

The client writes to a staging folder beside the target. An unfinished file stays there, and a later
process can resume it. After a check, the file is moved to the target.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from fkd_kaggle import files
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api import responses, transport
from fkd_kaggle.kaggle_api.client import Client
from fkd_kaggle.kaggle_api.errors import Action

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes downloaded and the total bytes (None if unknown).

Called from another thread every ``PROGRESS_INTERVAL``, and once after the download.
"""

STAGING: Final = ".fetch"
"""Name of the folder beside the target that keeps unfinished downloads."""

PROGRESS_INTERVAL: Final = 0.2
"""Seconds between two calls of ``on_progress``."""

_DAMAGED_LIMIT: Final = 2
"""Damaged downloads after which the download fails."""


def download_file(
    client: Client,
    action: Action,
    download: Callable[[Any, Path], None],
    target: Path,
    check: Callable[[Path], None],
    on_progress: OnProgress | None = None,
) -> None:
    """Download a file, check it and move it to ``target``.

    Parameters
    ----------
    client
        The client.
    action
        The operation, for messages.
    download
        ``download(api, staged)`` makes the client write the file to the path ``staged``.
    target
        Path of the file.
    check
        Function of the file's path; raises ValueError with the reason if the file is damaged.
    on_progress
        Called with the bytes downloaded and the total bytes.

    Raises
    ------
    CompetitionError
        Kaggle refuses, the connection stays broken, the file stays damaged, or the disk is full.
        The downloaded part stays in the staging folder, for the next call to resume.
    """
    staged = target.parent / STAGING / target.name
    _check_staging(staged)
    staged.parent.mkdir(parents=True, exist_ok=True)
    try:
        with files.disk_full_as(_disk_full_error(target)):
            with _watched(staged, on_progress):
                _fetch_staged(client, action, download, staged, check)
            if on_progress is not None:
                on_progress(_size(staged), _size(staged))
            staged.replace(target)
    finally:
        with suppress(OSError):  # it contains other files, or is a link
            staged.parent.rmdir()


def path_below(folder: Path, name: str) -> Path:
    """Return the path of a file below a folder by the name that Kaggle gives it.

    Raises
    ------
    CompetitionError
        The name leads out of the folder, or is no file name.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0]
    if outside or "\0" in name:
        raise CompetitionError(f"Kaggle names a file outside the folder of the download: {name!r}")
    return folder / path


def check_zip(path: Path) -> None:
    """Check that ``path`` is a zip file whose entries match their checksums.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ValueError
        The file is damaged. The message is a predicate without a subject.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"is not a whole zip file ({error})") from error
    if damaged is not None:
        raise ValueError(f"has a damaged file in it ({damaged})")


def check_space(target: Path, size: int) -> None:
    """Check before a download that the disk has space for the part that is still missing.

    The client's ``download_file`` catches every OSError: it treats a full disk as a broken
    connection and retries for a minute.

    Parameters
    ----------
    target
        Path of the file; its folder exists.
    size
        Size of the whole file in bytes. Bytes in the staging folder need no further space, also
        if the client does not resume them: then it overwrites them.

    Raises
    ------
    CompetitionError
        The free space is too small.
    """
    free = shutil.disk_usage(target.parent).free
    needed = max(0, size - _size(target.parent / STAGING / target.name))
    if free < needed:
        raise CompetitionError(
            f"disk full: {target.parent} has {free / 1e6:.0f} MB free and the download takes about "
            f"{needed / 1e6:.0f} MB; free some space or choose another folder with --data-dir"
        )


def _fetch_staged(
    client: Client,
    action: Action,
    download: Callable[[Any, Path], None],
    staged: Path,
    check: Callable[[Path], None],
) -> None:
    """Download to ``staged`` until the file passes the check.

    Raises
    ------
    CompetitionError
        Kaggle refuses, the connection stays broken, or the file stays damaged.
    """

    def attempt(api: Any) -> Exception | None:
        try:
            download(api, staged)
            if not staged.exists():
                raise ValueError("was not sent")
            check(staged)
        except (*responses.CONNECTION_ERRORS, ValueError) as problem:
            return problem
        return None

    damaged = stalled = 0
    progress = time.monotonic()
    while True:
        before = _size(staged)
        problem = client.request(action, attempt)
        if problem is None:
            return
        if isinstance(problem, responses.CONNECTION_ERRORS):
            # Once a download is open, the client itself repeats it five times, with pauses; it
            # does not repeat the opening. Call the client again at once as long as bytes arrive,
            # otherwise after a wait. A few bytes of a silent server are not enough.
            least = transport.LEAST_BYTES if responses.is_timeout(problem) else 1
            if _size(staged) >= before + least:
                stalled, progress = 0, time.monotonic()
                continue
            stalled += 1
            policy = client.retry_policy
            silent = time.monotonic() - progress >= policy.silent_attempts * policy.timeout
            final = silent or not responses.is_transient(problem)
            if final or not client.wait_after(action, stalled, problem):
                raise client.explain(problem, replace(action, attempts=stalled)) from problem
        else:
            # The client may have saved an error page as a part of the file, see
            # github.com/Kaggle/kaggle-cli/pull/1179, not yet in 2.2.4.
            _discard(staged)
            damaged += 1
            if damaged >= _DAMAGED_LIMIT:
                raise CompetitionError(
                    f"the downloaded file {problem} (while {action.what}, {damaged} attempts): "
                    "the connection or the file on Kaggle is faulty; run the command again later"
                ) from problem


@contextmanager
def _watched(staged: Path, on_progress: OnProgress | None) -> Iterator[None]:
    """Call ``on_progress`` during the download, because the client can only print progress."""
    if on_progress is None:
        yield
        return
    stop = threading.Event()

    def watch() -> None:
        total = None
        while not stop.wait(PROGRESS_INTERVAL):
            total = _announced(staged) or total
            on_progress(_size(staged), total)

    watcher = threading.Thread(target=watch, name="fkd-download-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _check_staging(staged: Path) -> None:
    """Refuse what lies in place of the staging folder or of the files in it.

    Raises
    ------
    CompetitionError
        Names it; the user can delete it, because the folder keeps unfinished downloads only.
    """
    folder = staged.parent
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        wrong = f"{folder} is no folder"
    else:
        found = [path for path in (staged, _marker(staged)) if path.is_dir()]
        if not found:
            return
        wrong = f"{found[0]} is no file"
    raise CompetitionError(
        f"{wrong}, but unfinished downloads are kept there: delete {folder} and run the command "
        "again, which downloads from the beginning"
    )


def _disk_full_error(target: Path) -> CompetitionError:
    """Return the error for a full disk."""
    return CompetitionError(
        f"disk full while downloading {target}: free some space and run the command again, "
        "the download continues where it stopped"
    )


def _marker(staged: Path) -> Path:
    """Return the path of the file in which the client stores the size of the download."""
    return staged.with_name(staged.name + ".kaggle-partial")


def _announced(staged: Path) -> int | None:
    """Return the total bytes of a download as stored by the client; None if unknown."""
    try:
        size = json.loads(_marker(staged).read_text())["size"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return size if isinstance(size, int) else None


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if the file does not exist."""
    return path.stat().st_size if path.exists() else 0


def _discard(staged: Path) -> None:
    """Delete an unfinished download."""
    staged.unlink(missing_ok=True)
    _marker(staged).unlink(missing_ok=True)
