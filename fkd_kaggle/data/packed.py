"""The content of a file that may be packed: zip, gzip, bzip2 or xz, nested, with a size limit.

One reader for annotations, submissions and data files, so that each of them is refused with the
same plain words when it is encrypted, damaged or packed in a way that is not read.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from fkd_kaggle.errors import DataError
from fkd_kaggle.formatting import one_line

DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    OverflowError,
    IndexError,
    OSError,
)
"""Exceptions of ``zipfile`` and the decompressors for a truncated, damaged, encrypted or unknown
file. ``bz2`` and ``gzip`` raise OSError."""

_STREAMS: Final = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}

_UNREAD: Final = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
}

_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")

_MAX_DEPTH: Final = 4
"""Archives inside archives that are opened."""


def read_unpacked(
    path: Path, wanted: Callable[[PurePosixPath], bool], what: str, *, limit: int
) -> bytes:
    """Return the content of a file, or of the only wanted file in an archive.

    Parameters
    ----------
    path
        A plain file, a zip, or a file packed with gzip, bzip2 or xz. The suffix does not matter.
    wanted
        Says by its path whether a file of a zip is the wanted one.
    what
        The wanted file in messages, such as "CSV file".
    limit
        Largest number of bytes that are unpacked.

    Raises
    ------
    DataError
        The file is missing, is a folder, is damaged, encrypted or too large, or an archive does
        not hold exactly one wanted file.
    """
    try:
        with path.open("rb") as stream:
            return _read_stream(stream, str(path), wanted, what, limit, 0)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: give the {what} in it") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:  # a path with a NUL
        raise DataError(f"cannot read {str(path)!r}: {error}") from None


@contextmanager
def open_zip(path: Path | IO[bytes], name: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip; errors inside the block become DataErrors of one line.

    Parameters
    ----------
    path
        The zip, or a stream of it.
    name
        The zip in messages.

    Raises
    ------
    DataError
        The zip, or what the block reads of it, is missing, damaged, encrypted or packed by an
        unknown method.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataError(f"{name} does not exist") from None
    except DAMAGED as error:
        raise DataError(f"{name} {damage(error)}") from None
    with archive:
        try:
            yield archive
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno:
                raise  # of a file that the block writes, such as a full disk
            raise DataError(f"{name} {damage(error)}") from None


def damage(error: Exception) -> str:
    """Return what an exception of ``DAMAGED`` says about an archive, as a predicate."""
    text = one_line(str(error), 200)
    if "password" in text or "encrypted" in text:
        return "is encrypted: unpack it with its password first"
    if isinstance(error, NotImplementedError):
        return f"is packed by a method that is not read ({text}): pack it as a plain zip"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {error.strerror}"
    return f"is damaged ({text or type(error).__name__})"


def visible_files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of a zip without those that operating systems add."""
    return [
        info
        for info in archive.infolist()
        if not info.is_dir() and not _is_hidden(PurePosixPath(info.filename))
    ]


def _read_stream(
    stream: IO[bytes],
    name: str,
    wanted: Callable[[PurePosixPath], bool],
    what: str,
    limit: int,
    depth: int,
) -> bytes:
    """Return the content of an opened file, unpacked; ``name`` is the file in messages."""
    head = stream.read(8)
    stream.seek(0)
    for magic, kind in _UNREAD.items():
        if head.startswith(magic):
            raise DataError(f"{name} is {kind}, which is not read: unpack it first")
    if depth > _MAX_DEPTH:
        raise DataError(f"{name} is packed more than {_MAX_DEPTH} times: unpack it first")
    if head.startswith(_ZIP):
        return _read_member(stream, name, wanted, what, limit, depth)
    for magic, kind in _STREAMS.items():
        if head.startswith(magic):
            try:
                with _unpacking(stream, kind) as plain:
                    return _read_stream(plain, name, wanted, what, limit, depth + 1)
            except DAMAGED as error:
                raise DataError(f"{name} {damage(error)}, as {kind}") from None
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"{name} holds more than {limit // 10**6} MB: this is no {what}")
    return content


def _unpacking(stream: IO[bytes], kind: str) -> IO[bytes]:
    """Return a stream of the unpacked content."""
    if kind == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    return bz2.BZ2File(stream) if kind == "bzip2" else lzma.LZMAFile(stream)


def _read_member(
    stream: IO[bytes],
    name: str,
    wanted: Callable[[PurePosixPath], bool],
    what: str,
    limit: int,
    depth: int,
) -> bytes:
    """Return the content of the only wanted file of a zip."""
    with open_zip(stream, name) as archive:
        infos = visible_files(archive)
        found = [info for info in infos if wanted(PurePosixPath(info.filename.lower()))]
        if not found:  # the wanted file may be packed itself
            found = [info for info in infos if _is_archive_name(info.filename)]
        if len(found) > 1:  # such as a table and a README.txt
            tables = [info for info in found if info.filename.lower().endswith(".csv")]
            found = tables if len(tables) == 1 else found
        if len(found) != 1:
            shown = ", ".join(info.filename for info in (found or infos)[:3])
            more = ", …" if len(found or infos) > 3 else ""
            count = f"{len(found)} files that can be the" if found else "no"
            raise DataError(f"{name} holds {count} {what} ({shown or 'it is empty'}{more})")
        member = f"{name}: {found[0].filename}"
        try:
            with archive.open(found[0]) as plain:
                return _read_stream(plain, member, wanted, what, limit, depth + 1)
        except DAMAGED as error:
            raise DataError(f"{member} {damage(error)}") from None


def _is_archive_name(name: str) -> bool:
    """Say whether a file of a zip is an archive by its suffix."""
    return PurePosixPath(name.lower()).suffix in (".zip", ".gz", ".bz2", ".xz")


def _is_hidden(path: PurePosixPath) -> bool:
    """Say whether a path in a zip belongs to an operating system or is hidden."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
