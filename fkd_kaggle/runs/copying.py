"""Copies of a run's files in another run: complete, with the same modification times.

Predictions are current if they are newer than the weights (``runs.predictions``), so times matter.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from fkd_kaggle import files
from fkd_kaggle.errors import RunError, explain_os_error

_CHUNK: Final = 1 << 20


def copy_folder(source: Path, target: Path) -> None:
    """Copy the files of a folder, without temporary files that a killed process has left.

    Parameters
    ----------
    source
        The folder.
    target
        Its copy; created if it does not exist.

    Raises
    ------
    RunError
        A file cannot be read.
    FkdError
        The disk is full or the target cannot be written.
    """
    for path in sorted(source.rglob("*")):
        inner = path.relative_to(source)
        if path.is_file() and not any(part.startswith(".tmp-") for part in inner.parts):
            copy_file(path, target / inner)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file and its modification time.

    Raises
    ------
    RunError
        The source cannot be read.
    FkdError
        The disk is full or the target cannot be written.
    """
    try:
        stream = source.open("rb")
    except OSError as error:
        raise RunError(f"cannot read {explain_os_error(error, str(source))}") from error
    with stream, files.atomic_path(target) as temporary:
        with temporary.open("wb") as copy:
            shutil.copyfileobj(stream, copy, _CHUNK)
        status = os.fstat(stream.fileno())
        os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
