"""The competition's CSV files in zips and folders: finding and unpacking them.

``unpack`` and ``extract`` put the files of the competition's zip into a data folder.
``find_csv_files`` finds them in any folder or zip, as users of the practice Kaggle have them. Reads
no CSV.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Final

from fkd_kaggle import files
from fkd_kaggle.errors import DataError

CONTENTS: Final = ("training.csv", "test.csv", "IdLookupTable.csv", "SampleSubmission.csv")
"""Files of the competition's zip, plain or each in a zip of its own; the last one is optional."""

DAMAGED: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""Exceptions of ``zipfile`` for a truncated, damaged or encrypted zip."""


def unpack(archive: Path, data_dir: Path) -> list[Path]:
    """Unpack the competition's zip into ``data_dir`` and return the files' paths.

    A file that is already there with the same content is kept, so that its cache stays valid.

    Raises
    ------
    DataError
        The zip is missing, damaged or lacks a file.
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
    """Unpack those of the competition's files that a zip holds, and return their paths by name.

    A file that is already there with the same content is kept.

    Raises
    ------
    BadZipFile, zlib.error, EOFError, RuntimeError
        ``DAMAGED``: the zip is truncated, damaged or encrypted.
    """
    unpacked: dict[str, Path] = {}
    with zipfile.ZipFile(archive) as outer:
        for name in outer.namelist():
            if name.endswith(".zip"):
                with outer.open(name) as inner_stream, zipfile.ZipFile(inner_stream) as inner:
                    for inner_name in inner.namelist():
                        _extract_wanted(inner, inner_name, data_dir, unpacked)
            else:
                _extract_wanted(outer, name, data_dir, unpacked)
    return unpacked


def find_csv_files(data: Path, work: Path) -> dict[str, Path]:
    """Return the path of each of the competition's CSVs, plain or zipped, by its plain name.

    Parameters
    ----------
    data
        A folder or zip of any nesting; letter case of file names is ignored.
    work
        Folder for what has to be unpacked; created when needed.

    Raises
    ------
    DataError
        The folder holds none of the files, or a zip is damaged.
    """
    found: dict[str, Path] = {}
    for path in data_files(data):
        name = next((csv for csv in CONTENTS if path.name.lower() in _spellings(csv)), None)
        if name is not None:
            found.setdefault(name, path)
        elif path.is_file():
            found.update(_find_in_zip(path, work))
    return found


def data_files(data: Path) -> list[Path]:
    """Return the files that make up the data: the zip itself, or the CSVs and zips of a folder.

    Raises
    ------
    DataError
        The folder holds neither one of the competition's files nor exactly one zip.
    """
    if data.is_file():
        return [data]
    # Deepest first, so that the shallowest of equal names is kept. Hidden folders hold caches and
    # incomplete downloads.
    paths = sorted(data.rglob("*"), key=lambda path: (-len(path.parts), path))
    visible = {path.name.lower(): path for path in paths if not _is_hidden(path, data)}
    wanted = [name for csv in CONTENTS for name in _spellings(csv)]
    found = [visible[name] for name in wanted if name in visible and visible[name].is_file()]
    if found:
        return found
    zips = sorted(data.glob("*.zip"))
    if len(zips) == 1:
        return zips
    raise DataError(f"{data} holds no training.csv or training.zip")


def write_plain_csv(found: dict[str, Path], name: str, folder: Path) -> None:
    """Write the plain CSV ``name`` into a folder, from its zip if it is in one.

    Parameters
    ----------
    found
        Paths by name, as ``find_csv_files`` returns them.
    name
        One of ``CONTENTS``.
    folder
        Where to write it; a file that is already there is kept.

    Raises
    ------
    DataError
        The zip is damaged or does not hold the CSV.
    """
    packed, target = found[name], folder / name
    if target.exists():
        return
    if packed.suffix.lower() != ".zip":
        shutil.copyfile(packed, target)
        return
    with open_csv(packed) as archive:
        members = [entry for entry in archive.namelist() if _base_name(entry) == name.lower()]
        if not members:
            raise DataError(f"{packed} holds no {name}")
        _extract_checked(archive, members[0], target)


def open_csv(path: Path) -> zipfile.ZipFile:
    """Open a zipped CSV; DataError if it is not a zip."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} cannot be read as a zip: {error}") from error


def _extract_wanted(
    archive: zipfile.ZipFile, member: str, data_dir: Path, unpacked: dict[str, Path]
) -> None:
    """Extract a member if it is one of the competition's files, and add it to ``unpacked``."""
    name = Path(member).name
    if name not in CONTENTS:
        return
    target = data_dir / name
    unpacked[name] = target
    info = archive.getinfo(member)
    if target.exists() and target.stat().st_size == info.file_size and _crc(target) == info.CRC:
        return
    with files.atomic_path(target) as temporary:
        _copy_member(archive, member, temporary)


def _find_in_zip(path: Path, work: Path) -> dict[str, Path]:
    """Unpack the competition's files, plain or zipped, from a zip or the only zip inside it."""
    work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    with open_csv(path) as archive:
        members = {_base_name(entry): entry for entry in archive.namelist()}
        for csv in CONTENTS:
            for spelling in _spellings(csv):
                if spelling in members and csv not in found:
                    found[csv] = _extract_checked(archive, members[spelling], work / spelling)
        inner = [name for name in members if name.endswith(".zip")]
        if not found and len(inner) == 1:
            nested = _extract_checked(archive, members[inner[0]], work / "inner.zip")
            return _find_in_zip(nested, work / "inner")
    return found


def _extract_checked(archive: zipfile.ZipFile, member: str, target: Path) -> Path:
    """Write one member of a zip to a path and return it; DataError if the member is damaged."""
    try:
        _copy_member(archive, member, target)
    except DAMAGED as error:
        raise DataError(f"{archive.filename}: {member} is damaged ({error})") from error
    return target


def _copy_member(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    """Write one member of a zip to a path."""
    with archive.open(member) as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 20)


def _crc(path: Path) -> int:
    """Return the CRC-32 of a file's content, as zips record it."""
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def _spellings(csv: str) -> tuple[str, str]:
    """Return the lower-case names under which a CSV can lie in a folder: plain and zipped."""
    return csv.lower(), csv.lower().removesuffix(".csv") + ".zip"


def _base_name(entry: str) -> str:
    """Return the lower-case file name of a zip entry, without its folders."""
    return Path(entry).name.lower()


def _is_hidden(path: Path, below: Path) -> bool:
    """Say whether a part of the path below a folder starts with a full stop."""
    return any(part.startswith(".") for part in path.relative_to(below).parts)
