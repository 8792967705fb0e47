"""Atomic writes of files and folders, digests of files, and encodings of text.

All files of this package are written under a temporary name in the target's folder and renamed when
they are complete. After a crash, ``kill -9`` or on a full disk, either the old file or none exists.
"""

from __future__ import annotations

import codecs
import csv
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fkd_kaggle.errors import FkdError, explain_os_error

STANDARD_OUTPUT: Final = Path("-")
"""A file name by which users ask for standard output."""

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # starts with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; replace ``target`` if the block succeeds.

    Parameters
    ----------
    target
        The file to write. Its folder is created if it does not exist. The temporary name has the
        same suffixes, because writers such as Keras choose the format by the suffix. A device or a
        pipe, such as ``/dev/stdout``, is not replaced: it gets the content when it is complete.

    Raises
    ------
    FkdError
        The disk is full or the folder cannot be written; the target is unchanged.
    """
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # At most two suffixes, such as ".weights.h5": the name of a run can contain many dots.
        is_special = target.exists() and not (target.is_file() or target.is_dir())
        handle, name = tempfile.mkstemp(
            prefix=".tmp-",
            suffix="".join(target.suffixes[-2:]),
            dir=None if is_special else target.parent,
        )
        os.close(handle)
        temporary = Path(name)
        # mkstemp creates a private file; give it the permissions of other new files.
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        if is_special:
            with temporary.open("rb") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        else:
            temporary.replace(target)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise FkdError(
                f"disk full while writing {target}: free some space and run the command again"
            ) from error
        if _concerns(error, target, temporary):
            raise FkdError(f"cannot write {explain_os_error(error, str(target))}") from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path, marker: str) -> Iterator[Path]:
    """Yield a new, empty folder; replace ``target`` with it if the block succeeds.

    Parameters
    ----------
    target
        The folder to write.
    marker
        Name of a file that every folder of this kind contains. An existing ``target`` is replaced
        only if it contains this file or is empty.

    Raises
    ------
    FkdError
        ``target`` contains other files or cannot be replaced, the disk is full, or the folder
        cannot be written.
    """
    if target.name in ("", "..") or os.path.ismount(target):  # cannot be renamed
        raise FkdError(
            f"{target} is the current folder, one above it, or a disk of its own, and cannot be "
            "replaced: name a new folder"
        )
    if target.exists() and not (
        target.is_dir() and ((target / marker).is_file() or not any(target.iterdir()))
    ):
        raise FkdError(f"{target} exists and contains other files: choose another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FkdError(f"cannot write {explain_os_error(error, str(target))}") from error
    with (
        disk_full_as(FkdError(f"disk full while writing {target}: free some space, try again")),
        tempfile.TemporaryDirectory(prefix=".tmp-", dir=target.parent) as temporary,
    ):
        new, old = Path(temporary, "new"), Path(temporary, "old")
        new.mkdir()
        yield new
        try:
            if target.exists():
                target.replace(old)
            new.replace(target)
        except BaseException:
            if old.exists():
                old.replace(target)
            raise


@contextmanager
def disk_full_as(failure: FkdError) -> Iterator[None]:
    """Raise ``failure`` instead of an OSError for a full disk; other errors are not changed."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise failure from error


def delete_temporary_files(folder: Path) -> None:
    """Delete files that a killed process has left in a folder; nothing else may write there."""
    for path in folder.glob(".tmp-*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def reserve_space(path: Path, size: int) -> None:
    """Raise an OSError now if the disk has less than ``size`` bytes for a new file at ``path``.

    Some libraries, such as HDF5, end with a segmentation fault if a disk is full while they write.
    """
    with path.open("wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        stream.truncate(0)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` to ``target`` atomically, in UTF-8 and without changing its newlines.

    Bytes of file names that are not UTF-8 are written as they are.
    """
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def write_json(target: Path, value: Any) -> None:
    """Write a JSON value to ``target`` atomically, indented by two spaces."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        text = json.dumps(value, indent=2)  # JSON must be UTF-8, but has escapes for other text
    write_text(target, text + "\n")


def write_csv(target: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header row to ``target`` atomically; None becomes an empty cell.

    ``STANDARD_OUTPUT`` prints the file.
    """
    if target == STANDARD_OUTPUT:
        printer = csv.writer(sys.stdout, lineterminator="\n")
        printer.writerow(columns)
        printer.writerows(rows)
        return
    with (
        atomic_path(target) as path,
        path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


def marked_encoding(content: bytes) -> str | None:
    """Return the encoding that a text's byte order mark names, for ``bytes.decode``; None without.

    The encodings "utf-8-sig", "utf-16" and "utf-32" leave out the mark when they decode.
    """
    return next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), None)


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file's content in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _concerns(error: OSError, target: Path, temporary: Path | None) -> bool:
    """Return whether an error is about the file that is being written, not about another file."""
    if error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR):
        return True
    if error.filename is None:
        return False
    name = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    return name in (target, temporary, *target.parents) or (
        name is not None and name.parent == target.parent and name.name.startswith(".tmp-")
    )


def _umask() -> int:
    """Return the process's mask for the permissions of new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
