"""Atomic writes of files and folders, locks, digests of files, and encodings of text.

All files of this package are written under a temporary name in the target's folder and renamed when
they are complete. After a crash, ``kill -9`` or on a full disk, either the old file or none exists.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from fkd_kaggle.errors import FkdError, explain_os_error

STANDARD_OUTPUT: Final = Path("-")
"""A file name by which users ask for standard output."""

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_MAX_LINKS: Final = 40
"""Number of links that Linux follows too."""

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
        same suffixes, because writers such as Keras choose the format by the suffix. A device, a
        pipe or an open file, such as ``/dev/stdout``, is not replaced: it gets the content when it
        is complete. If ``target`` is a link, the file that it points to is replaced.

    Raises
    ------
    FkdError
        The disk is full or the folder cannot be written; the target is unchanged.
    """
    temporary: Path | None = None
    place = target
    try:
        place, is_special = _follow_links(target)
        if not is_special:
            place.parent.mkdir(parents=True, exist_ok=True)
        # At most two suffixes, such as ".weights.h5": the name of a run can contain many dots.
        handle, name = tempfile.mkstemp(
            prefix=".tmp-",
            suffix="".join(target.suffixes[-2:]),
            dir=None if is_special else place.parent,
        )
        os.close(handle)
        temporary = Path(name)
        # mkstemp creates a private file; give it the permissions of other new files.
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        if is_special:
            with temporary.open("rb") as source, _open_special(place) as sink:
                shutil.copyfileobj(source, sink)
        else:
            temporary.replace(place)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise _disk_full(target) from error
        if _concerns(error, target, place, temporary):
            raise FkdError(f"cannot write {explain_os_error(error, str(target))}") from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path, marker: str, *markers: str) -> Iterator[Path]:
    """Yield a new, empty folder; replace ``target`` with it if the block succeeds.

    Parameters
    ----------
    target
        The folder to write. If it is a link, the folder that it points to is replaced.
    marker, markers
        Names of files that every folder of this kind contains. An existing ``target`` is replaced
        only if it contains all of them or is empty.

    Raises
    ------
    FkdError
        ``target`` contains other files or cannot be replaced, the disk is full, or the folder
        cannot be written.
    """
    with write_errors(target):
        place = Path(os.path.realpath(target)) if target.is_symlink() else target
    if place.name in ("", "..") or os.path.ismount(place):  # cannot be renamed
        raise FkdError(
            f"{target} is the current folder, one above it, or a disk of its own, and cannot be "
            "replaced: name a new folder"
        )
    with write_errors(target):
        is_own = all((place / name).is_file() for name in (marker, *markers))
        if place.exists() and not (place.is_dir() and (is_own or not any(place.iterdir()))):
            raise FkdError(f"{target} exists and contains other files: choose another folder")
    with temporary_folder(place, target) as temporary:
        new, old = temporary / "new", temporary / "old"
        with write_errors(target):
            new.mkdir()
        with disk_full_as(_disk_full(target)):
            yield new
        with write_errors(target):
            try:
                if place.exists():
                    place.replace(old)
                new.replace(place)
            except BaseException:
                if old.exists():
                    old.replace(place)
                raise


@contextmanager
def temporary_folder(target: Path, shown: Path | None = None) -> Iterator[Path]:
    """Yield a new, empty folder in the folder of ``target``, and delete it after the block.

    Parameters
    ----------
    target
        The file or folder to write. Its folder is created if it does not exist.
    shown
        Name for messages. Default: ``target``.

    Raises
    ------
    FkdError
        The new folder cannot be created or deleted. Errors of the block are not changed.
    """
    with write_errors(shown or target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".tmp-", dir=target.parent)
    try:
        yield Path(temporary.name)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.cleanup()
        raise
    with write_errors(shown or target):
        temporary.cleanup()


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Raise an FkdError that names ``target`` instead of any OSError.

    For blocks whose errors are all about writing ``target``, not for work of callers.
    """
    try:
        with disk_full_as(_disk_full(target)):
            yield
    except OSError as error:
        raise FkdError(f"cannot write {explain_os_error(error, str(target))}") from error


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


def try_lock(stream: IO[Any]) -> bool:
    """Lock an open file until it is closed; return False if another process holds the lock.

    The operating system releases the lock when the process ends, however it ends.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return _lock_on_windows(stream)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def wait_for_lock(stream: IO[Any], patience: float) -> bool:
    """Lock an open file as ``try_lock`` does; wait at most ``patience`` seconds for the lock."""
    end = time.monotonic() + patience
    while not try_lock(stream):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file's content in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _follow_links(target: Path) -> tuple[Path, bool]:
    """Return the path that a target's links lead to, and whether it cannot be replaced.

    A device, a pipe and an open file cannot be replaced. ``/dev/stdout`` leads to an open file
    below /proc or /dev/fd, which seems to be an ordinary file where the output is redirected.

    Raises
    ------
    OSError
        The links lead in a circle.
    """
    place = target
    for _ in range(_MAX_LINKS):
        folder = Path(os.path.realpath(place.parent))
        if any(folder.is_relative_to(system) for system in ("/proc", "/dev/fd")):
            return folder / place.name, True
        if not place.is_symlink():
            return place, place.exists() and not (place.is_file() or place.is_dir())
        place = folder / place.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(target))


def _open_special(place: Path) -> BinaryIO:
    """Open a device, a pipe or an open file for writing.

    An open file of this process is not opened again: that would overwrite what was printed before.
    """
    own = (Path(f"/proc/{os.getpid()}/fd"), Path("/dev/fd"))
    if place.parent in own and place.name.isdecimal() and place.exists():
        sys.stdout.flush()
        return os.fdopen(os.dup(int(place.name)), "wb")
    return place.open("wb")


def _disk_full(target: Path) -> FkdError:
    """Return the error for a full disk."""
    return FkdError(f"disk full while writing {target}: free some space and run the command again")


def _concerns(error: OSError, target: Path, place: Path, temporary: Path | None) -> bool:
    """Return whether an error is about the file that is being written, not about another file."""
    if error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR):
        return True
    if error.filename is None:
        return False
    name = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    return name in (target, place, temporary, *target.parents, *place.parents) or (
        name is not None and name.parent == place.parent and name.name.startswith(".tmp-")
    )


def _lock_on_windows(stream: IO[Any]) -> bool:
    """Do as ``try_lock`` does."""
    import msvcrt

    stream.seek(1 << 20)  # a byte beyond the text, which stays readable for other processes
    try:
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


def _umask() -> int:
    """Return the process's mask for the permissions of new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
