"""Unpacking the competition's download: zips in a zip → plain CSV files, each whole or absent.

Moves bytes; what the files say is for ``faces`` to read and check.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path
from typing import IO

from fkd_kaggle import files
from fkd_kaggle.errors import DataError

CONTENTS = ("training.csv", "test.csv", "IdLookupTable.csv", "SampleSubmission.csv")
"""What the competition's zip must hold, plain or in a zip of its own."""
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What Python raises for a zip that is cut, broken or locked."""


def unpack(archive: Path, data_dir: Path) -> list[Path]:
    """Unpack the competition's files into ``data_dir`` and return where they are.

    A file that is already there with the right size is left alone, so its cache stays true.

    Raises
    ------
    DataError
        The zip is missing, damaged or lacks a file; says which.
    """
    try:
        unpacked = extract(archive, data_dir)
    except FileNotFoundError:
        raise DataError(f"{archive} does not exist: get it with `fkd-kaggle fetch`") from None
    except DAMAGED as error:
        raise DataError(
            f"{archive} is damaged ({error}): download it again with `fkd-kaggle fetch --force`"
        ) from error
    missing = [name for name in CONTENTS[:3] if name not in unpacked]
    if missing:
        raise DataError(
            f"{archive} holds no {', no '.join(missing)}: it is not the competition's download; "
            "run `fkd-kaggle fetch --force`"
        )
    return list(unpacked.values())


def extract(archive: Path, data_dir: Path) -> dict[str, Path]:
    """Unpack whatever a zip holds of the competition's files, and return where by their names.

    Raises
    ------
    BadZipFile, zlib.error, EOFError, RuntimeError
        ``DAMAGED``, all of them: the zip is cut, broken or locked.
    """
    unpacked: dict[str, Path] = {}
    with zipfile.ZipFile(archive) as outer:
        for name in outer.namelist():
            if name.endswith(".zip"):
                with outer.open(name) as inner_stream, zipfile.ZipFile(inner_stream) as inner:
                    for inner_name in inner.namelist():
                        _place(inner, inner_name, data_dir, unpacked)
            else:
                _place(outer, name, data_dir, unpacked)
    return unpacked


def _place(archive: zipfile.ZipFile, name: str, data_dir: Path, placed: dict[str, Path]) -> None:
    """Extract one wanted file, whatever folder it is in inside the zip."""
    wanted = Path(name).name
    if wanted not in CONTENTS:
        return
    target = data_dir / wanted
    placed[wanted] = target
    info = archive.getinfo(name)
    if target.exists() and target.stat().st_size == info.file_size and _same(target, info.CRC):
        return
    with (
        archive.open(name) as source,
        files.atomic_path(target) as temporary,
        temporary.open("wb") as sink,
    ):
        shutil.copyfileobj(source, sink, 1 << 20)


def _same(path: Path, checksum: int) -> bool:
    """Say whether a file's content has the zip entry's CRC-32."""
    with path.open("rb") as stream:
        return _crc(stream) == checksum


def _crc(stream: IO[bytes]) -> int:
    value = 0
    while block := stream.read(1 << 20):
        value = zlib.crc32(block, value)
    return value
