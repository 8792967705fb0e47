"""Writing files so that nothing is ever left half-written.

Everything this package writes goes to a temporary name in the same folder first and is renamed
when complete. A crash, ``kill -9`` or a full disk leaves the old file or none.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fkd_kaggle.errors import FkdError

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; rename it over ``target`` when the block succeeds.

    The temporary name keeps the target's suffixes, because writers such as Keras choose their
    format by it. The file's folder is made where it is missing.

    Raises
    ------
    FkdError
        The disk is full or the folder cannot be written; the target is as it was.
    """
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=".tmp-", suffix="".join(target.suffixes), dir=target.parent
        )
        os.close(handle)
        temporary = Path(name)
        # mkstemp makes the file private; what we write should look like any other file.
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        temporary.replace(target)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise FkdError(
                f"disk full while writing {target}: free some space and run the command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR):
            raise FkdError(f"cannot write {target}: {error.strerror}") from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path, ours: str) -> Iterator[Path]:
    """Yield a new folder beside ``target``; put it in ``target``'s place when the block succeeds.

    Parameters
    ----------
    ours
        A file that every folder of this kind holds: only such a folder, or an empty one, is
        replaced.

    Raises
    ------
    FkdError
        ``target`` holds something else, or cannot be written.
    """
    if target.exists() and not (
        target.is_dir() and ((target / ours).is_file() or not any(target.iterdir()))
    ):
        raise FkdError(f"{target} is there already and holds other things: choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        disk_full_as(FkdError(f"disk full while writing {target}: free some space, try again")),
        tempfile.TemporaryDirectory(prefix=".tmp-", dir=target.parent) as holder,
    ):
        fresh, old = Path(holder, "new"), Path(holder, "old")
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.replace(old)
        fresh.replace(target)


@contextmanager
def disk_full_as(failure: FkdError) -> Iterator[None]:
    """Raise ``failure`` in place of the OSError that says the disk is full; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise failure from error


def write_text(target: Path, text: str) -> None:
    """Write ``text`` to ``target`` (UTF-8, newlines kept as they are) atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(target: Path, value: Any) -> None:
    """Write ``value`` to ``target`` as indented JSON, atomically."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_csv(target: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with a header to ``target`` (UTF-8, None as an empty cell) atomically."""
    with atomic_path(target) as path, path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
