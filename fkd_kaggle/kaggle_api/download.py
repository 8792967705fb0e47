"""Downloading a file from Kaggle with the official client, also over a connection that breaks.

The client writes to a staging folder beside the target and resumes there, also in a later process.
The file is moved to the target when it has been checked.
"""

from __future__ import annotations

import json
import shutil
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fkd_kaggle import files
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api import responses
from fkd_kaggle.kaggle_api.client import Client
from fkd_kaggle.kaggle_api.errors import Action

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes downloaded and the total bytes (None: not known yet), a few times a second
and from another thread."""

STAGING: Final = ".fetch"
"""Folder beside the target for unfinished downloads, kept to be resumed."""

PROGRESS_INTERVAL: Final = 0.2
"""Seconds between two calls of ``on_progress``."""

_DAMAGED_LIMIT: Final = 2

_STALLED_LIMIT: Final = 2


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
        What is being done, for messages.
    download
        ``download(api, staged)`` makes the client write the file to the path ``staged``.
    target
        Path of the file.
    check
        Raises ValueError, with the reason, if the file is not complete.
    on_progress
        Called with the bytes downloaded and the total bytes.

    Raises
    ------
    CompetitionError
        Kaggle refuses, the connection stays broken, the file stays damaged, or the disk is full.
        The downloaded part stays in the staging folder, for the next call to resume.
    """
    staged = target.parent / STAGING / target.name
    staged.parent.mkdir(parents=True, exist_ok=True)
    try:
        with files.disk_full_as(_disk_full_error(target)):
            with _watched(staged, on_progress):
                _fetch_staged(client, action, download, staged, check)
            if on_progress is not None:
                on_progress(_size(staged), _size(staged))
            staged.replace(target)
    finally:
        if not any(staged.parent.iterdir()):
            staged.parent.rmdir()


def check_zip(path: Path) -> None:
    """Check that ``path`` is a zip whose files all match their checksums.

    Raises
    ------
    ValueError
        It is not; the message continues a sentence about the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"is not a whole zip file ({error})") from error
    if damaged is not None:
        raise ValueError(f"has a damaged file in it ({damaged})")


def check_space(folder: Path, needed: int) -> None:
    """Check that ``folder`` has space for ``needed`` bytes, before a download.

    The client treats a full disk as a broken connection and tries for a minute (its
    ``download_file`` catches every OSError).

    Raises
    ------
    CompetitionError
        The space does not suffice.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CompetitionError(
            f"disk full: {folder} has {free / 1e6:.0f} MB free and the download takes about "
            f"{needed / 1e6:.0f} MB; free some space or choose another folder with --data-dir"
        )


def _fetch_staged(
    client: Client,
    action: Action,
    download: Callable[[Any, Path], None],
    staged: Path,
    check: Callable[[Path], None],
) -> None:
    def attempt(api: Any) -> Exception | None:
        try:
            download(api, staged)
            check(staged)
        except (*responses.CONNECTION_ERRORS, ValueError) as problem:
            return problem
        return None

    damaged = stalled = 0
    while True:
        before = _size(staged)
        problem = client.request(action, attempt)
        if problem is None:
            return
        if isinstance(problem, responses.CONNECTION_ERRORS):
            # The client gives up after five broken connections. The download continues as long as
            # bytes arrive; the client has waited between its attempts.
            stalled = stalled + 1 if _size(staged) <= before else 0
            if stalled >= _STALLED_LIMIT:
                raise client.explain(problem, action) from problem
        else:
            # The client may have saved an error page as a part of the file:
            # github.com/Kaggle/kaggle-cli/pull/1179, not yet in 2.2.4.
            _discard(staged)
            damaged += 1
            if damaged >= _DAMAGED_LIMIT:
                raise CompetitionError(
                    f"what arrives when {action.what} {problem}, {damaged} times: Kaggle's copy or "
                    "the connection is damaged; run the command again later"
                ) from problem


@contextmanager
def _watched(staged: Path, on_progress: OnProgress | None) -> Iterator[None]:
    """Call ``on_progress`` while the staged file grows; the client can only print progress."""
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


def _disk_full_error(target: Path) -> CompetitionError:
    return CompetitionError(
        f"disk full while downloading {target}: free some space and run the command again, "
        "the download continues where it stopped"
    )


def _marker(staged: Path) -> Path:
    """Return the path at which the client stores the size of what it downloads."""
    return staged.with_name(staged.name + ".kaggle-partial")


def _announced(staged: Path) -> int | None:
    try:
        size = json.loads(_marker(staged).read_text())["size"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return size if isinstance(size, int) else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _discard(staged: Path) -> None:
    staged.unlink(missing_ok=True)
    _marker(staged).unlink(missing_ok=True)
