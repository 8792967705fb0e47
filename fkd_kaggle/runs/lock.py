"""Locks on run folders: only one process trains a run at a time.

The operating system releases the lock when the process ends, however it ends, so that no lock has
to be removed by hand.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fkd_kaggle import files
from fkd_kaggle.errors import FkdError, RunError

_LOCK_FILE = ".lock"

_PATIENCE = 0.5
"""Seconds to wait for the lock: ``is_locked`` of another process holds it for a moment."""


@contextmanager
def lock_run(path: Path) -> Iterator[None]:
    """Hold the lock of a run or comparison folder within the context.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    RunError
        Another process trains in this folder; the message names the process.
    FkdError
        The folder cannot be written.
    """
    file = path / _LOCK_FILE
    try:
        stream = file.open("a+", encoding="utf-8")
    except OSError as error:
        raise FkdError(f"cannot write {file}: {error.strerror}") from None
    with stream:
        if not files.wait_for_lock(stream, _PATIENCE):
            raise RunError(f"{path.name} is being trained by {_read_owner(stream)}: wait for its "
                           "end, or stop it with Ctrl-C")  # fmt: skip
        with suppress(OSError):  # a full disk: the name of the owner is not essential
            stream.seek(0)
            stream.truncate()
            json.dump({"pid": os.getpid(), "host": socket.gethostname()}, stream)
            stream.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                stream.seek(0)
                stream.truncate()


def is_locked(path: Path) -> bool:
    """Return whether another process holds the lock of a run or comparison folder.

    Parameters
    ----------
    path
        The folder. A folder that no process has ever locked is not locked.
    """
    try:
        stream = (path / _LOCK_FILE).open("r+", encoding="utf-8")
    except OSError:
        return False
    with stream:
        return not files.try_lock(stream)


def _read_owner(stream: IO[str]) -> str:
    """Return in words which process holds the lock."""
    try:
        stream.seek(0)
        owner = json.load(stream)
        return f"process {int(owner['pid'])} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
