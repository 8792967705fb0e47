"""Getting a file whole from Kaggle through the official client, however often the line breaks.

The client writes into a folder of its own beside the target and resumes there, also in a later
process; only a file that has been checked is moved to where others look for it.
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
"""Told the bytes that are here and the bytes there will be (None: not known yet). Called a few
times a second from another thread."""

STAGING: Final = ".fetch"
"""Folder beside the target in which a download grows; kept when it breaks off, to be resumed."""

PROGRESS_INTERVAL: Final = 0.2
"""Seconds between two looks at the growing file."""

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
    """Bring ``target`` here, check it, put it in its place.

    ``download(api, staged)`` calls the client so that it leaves the file at the path ``staged``;
    ``check`` raises ValueError, with what is wrong, unless the file is whole.

    Raises
    ------
    CompetitionError
        Kaggle refuses, the line stays dead, the file stays damaged, or the disk is full. What has
        arrived stays in the staging folder, for the next call to resume.
    """
    staged = target.parent / STAGING / target.name
    staged.parent.mkdir(parents=True, exist_ok=True)
    try:
        with files.disk_full_as(_no_room(target)):
            with _watched(staged, on_progress):
                _fetch_staged(client, action, download, staged, check)
            if on_progress is not None:
                on_progress(_size(staged), _size(staged))
            staged.replace(target)
    finally:
        if not any(staged.parent.iterdir()):
            staged.parent.rmdir()


def check_zip(path: Path) -> None:
    """Raise ValueError unless ``path`` is a zip whose every file unpacks to its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"is not a whole zip file ({error})") from error
    if damaged is not None:
        raise ValueError(f"has a damaged file in it ({damaged})")


def check_space(folder: Path, needed: int) -> None:
    """Raise unless ``folder`` has room for ``needed`` more bytes.

    Asked before the download, because the client takes a full disk for a broken line and tries
    for a minute (``download_file`` catches every OSError).
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
            # The client gives up after five cuts, however far it got in between; we go on as long
            # as something arrives. It has slept between its attempts, so we do not.
            stalled = stalled + 1 if _size(staged) <= before else 0
            if stalled >= _STALLED_LIMIT:
                raise client.explain(problem, action) from problem
        else:
            # Also where the client saved an error page while resuming and went on from there:
            # github.com/Kaggle/kaggle-cli/pull/1179, not yet in 2.2.4.
            _discard(staged)
            damaged += 1
            if damaged >= _DAMAGED_LIMIT:
                raise CompetitionError(
                    f"what arrives when {action.what} {problem}, {damaged} times: Kaggle's copy or "
                    "the line is damaged; run the command again later"
                ) from problem


@contextmanager
def _watched(staged: Path, on_progress: OnProgress | None) -> Iterator[None]:
    """Tell ``on_progress`` how the staged file grows: the client itself can only print."""
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


def _no_room(target: Path) -> CompetitionError:
    return CompetitionError(
        f"disk full while downloading {target}: free some space and run the command again, "
        "it goes on where it stopped"
    )


def _marker(staged: Path) -> Path:
    """Return where the client notes what it is downloading and how long that is."""
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
