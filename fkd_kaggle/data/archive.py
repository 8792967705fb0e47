"""The competition's CSV files in zips and folders: finding and unpacking them.

``unpack`` and ``extract`` put the files of the competition's zip into a data folder.
``find_csv_files`` finds them in any folder or zip, as users of the practice Kaggle have them. Reads
no CSV.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from fkd_kaggle import files
from fkd_kaggle.data import packed
from fkd_kaggle.errors import DataError

CONTENTS: Final = ("training.csv", "test.csv", "IdLookupTable.csv", "SampleSubmission.csv")
"""Files of the competition's zip, plain or each in a zip of its own."""

REQUIRED: Final = CONTENTS[:3]
"""The files that are not optional."""

DAMAGED: Final = packed.DAMAGED
"""Exceptions of ``zipfile`` for a truncated, damaged or encrypted zip."""

_MAX_DEPTH: Final = 4
"""Zips inside zips that are opened."""


def unpack(archive: Path, data_dir: Path) -> list[Path]:
    """Unpack the competition's zip into ``data_dir`` and return the files' paths.

    A file that is already there with the same content is kept, so that its cache stays valid.

    Raises
    ------
    DataError
        The zip is missing, cannot be read, is damaged, encrypted or packed by an unknown method, or
        lacks a file.
    FkdError
        The disk is full or ``data_dir`` cannot be written.
    """
    try:
        unpacked = extract(archive, data_dir)
    except FileNotFoundError:
        raise DataError(f"{archive} does not exist: get it with `fkd-kaggle fetch`") from None
    except DAMAGED as error:
        problem = packed.damage(error)
        again = ": download it again with `fkd-kaggle fetch --force`"
        raise DataError(f"{archive} {problem}{again if 'damaged' in problem else ''}") from error
    missing = [name for name in REQUIRED if name not in unpacked]
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
    BadZipFile, …
        One of ``DAMAGED``: the zip is missing, truncated, damaged, encrypted or packed by an
        unknown method.
    FkdError
        The disk is full or ``data_dir`` cannot be written.
    """
    unpacked: dict[str, Path] = {}
    with zipfile.ZipFile(archive) as outer:
        _extract_nested(outer, data_dir, unpacked, 0)
    return unpacked


def find_csv_files(data: Path, work: Path) -> dict[str, Path]:
    """Return the path of each of the competition's CSVs, plain or zipped, by its plain name.

    Parameters
    ----------
    data
        A folder or zip of any nesting; letter case of file names is ignored. Of a folder that holds
        none of the files, the only zip at the least depth is read.
    work
        Folder for what has to be unpacked; created when needed.

    Returns
    -------
    dict
        Paths by name of ``CONTENTS``; empty for a zip that holds none of the files.

    Raises
    ------
    DataError
        The folder holds none of the files and not exactly one zip, a zip holds only several other
        zips, or a zip is damaged, encrypted or packed by an unknown method.
    OSError
        ``work`` cannot be written; the disk may be full.
    """
    found: dict[str, Path] = {}
    for path in data_files(data):
        name = next((csv for csv in CONTENTS if path.name.lower() in _spellings(csv)), None)
        if name is not None:
            found.setdefault(name, path)
        else:
            found.update(_find_in_zip(path, work, str(path)))
    return found


def data_files(data: Path) -> list[Path]:
    """Return the files that make up the data: the zip itself, or the files of a folder.

    Parameters
    ----------
    data
        A zip, or a folder of any nesting; letter case of file names is ignored.

    Returns
    -------
    list of Path
        Those of the competition's files that the folder holds, plain or zipped. If it holds none,
        the only other zip at the least depth.

    Raises
    ------
    DataError
        The folder holds none of the competition's files and no zip, or several.
    """
    if data.is_file():
        return [data]
    # Deepest first, so that the shallowest of equal names is kept. Hidden folders hold caches and
    # incomplete downloads.
    paths = sorted(data.rglob("*"), key=lambda path: (-len(path.parts), path))
    paths = [path for path in paths if path.is_file() and not _is_hidden(path, data)]
    visible = {path.name.lower(): path for path in paths}
    wanted = [name for csv in CONTENTS for name in _spellings(csv)]
    found = [visible[name] for name in wanted if name in visible]
    if found:
        return found
    zips = [path for path in paths if path.suffix.lower() == ".zip"]
    if not zips:
        raise DataError(f"{data} holds no training.csv or training.zip")
    zips = [path for path in zips if len(path.parts) == len(zips[-1].parts)]
    if len(zips) > 1:
        names = [path.relative_to(data).as_posix() for path in zips]
        raise DataError(_several_zips(str(data), names))
    return zips


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
        The zip is damaged, encrypted or packed by an unknown method, or does not hold the CSV.
    OSError
        The folder cannot be written; the disk may be full.
    """
    source, target = found[name], folder / name
    if target.exists():
        return
    if source.suffix.lower() != ".zip":
        shutil.copyfile(source, target)
        return
    with open_csv(source) as archive:
        infos = packed.visible_files(archive)
        members = [each.filename for each in infos if _base_name(each.filename) == name.lower()]
        if not members:
            raise DataError(f"{source} holds no {name}")
        _extract_checked(archive, members[0], target)


def open_csv(path: Path) -> AbstractContextManager[zipfile.ZipFile]:
    """Open a zipped CSV; DataError if it is no zip, or what is read of it is damaged."""
    return packed.open_zip(path, str(path))


def _extract_nested(
    archive: zipfile.ZipFile, data_dir: Path, unpacked: dict[str, Path], depth: int
) -> None:
    """Extract the competition's files of a zip and of the zips in it; see ``extract``."""
    for info in packed.visible_files(archive):
        name = _base_name(info.filename)
        if name.endswith(".zip") and depth < _MAX_DEPTH:
            with archive.open(info) as stream, zipfile.ZipFile(stream) as inner:
                _extract_nested(inner, data_dir, unpacked, depth + 1)
        elif (wanted := next((csv for csv in CONTENTS if csv.lower() == name), None)) is not None:
            target = data_dir / wanted
            unpacked[wanted] = target
            if not _has_content(target, info):
                if target.is_symlink():  # the file that it leads to belongs to someone else
                    target.unlink()
                with files.atomic_path(target) as temporary:
                    _copy_member(archive, info.filename, temporary)


def _has_content(path: Path, info: zipfile.ZipInfo) -> bool:
    """Say whether a file has the size and checksum of an entry of a zip."""
    return path.exists() and path.stat().st_size == info.file_size and _crc(path) == info.CRC


def _find_in_zip(path: Path, work: Path, shown: str, depth: int = 0) -> dict[str, Path]:
    """Unpack the competition's files, plain or zipped, from a zip or the only zip inside it.

    Parameters
    ----------
    path
        The zip.
    work
        Folder to unpack to; created when needed.
    shown
        The zip in messages.
    depth
        Number of zips around this one.

    Raises
    ------
    DataError
        The zip is damaged, or holds several zips and none of the files.
    """
    work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    with packed.open_zip(path, shown) as archive:
        members = {_base_name(each.filename): each for each in packed.visible_files(archive)}
        for csv in CONTENTS:
            for spelling in _spellings(csv):
                if spelling in members and csv not in found:
                    target = work / spelling
                    found[csv] = _extract_checked(archive, members[spelling].filename, target)
        inner = [name for name in members if name.endswith(".zip")]
        if not found and len(inner) > 1:
            raise DataError(_several_zips(shown, sorted(members[name].filename for name in inner)))
        if not found and inner and depth < _MAX_DEPTH:
            member = members[inner[0]].filename
            nested = _extract_checked(archive, member, work / "inner.zip")
            return _find_in_zip(nested, work / "inner", f"{shown}: {member}", depth + 1)
    return found


def _several_zips(shown: str, names: Sequence[str]) -> str:
    """Return the message for a folder or zip that holds several zips and none of the files."""
    more = ", …" if len(names) > 3 else ""
    return (
        f"{shown} holds no training.csv or training.zip, and {len(names)} other zips "
        f"({', '.join(names[:3])}{more}): name the zip that contains the competition's files"
    )


def _extract_checked(archive: zipfile.ZipFile, member: str, target: Path) -> Path:
    """Write one member of a zip to a path and return it; DataError if the member is damaged."""
    try:
        _copy_member(archive, member, target)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of the target, such as a full disk
        raise DataError(f"{archive.filename}: {member} {packed.damage(error)}") from error
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
    return Path(entry.replace("\\", "/")).name.lower()


def _is_hidden(path: Path, below: Path) -> bool:
    """Say whether a part of the path below a folder starts with a full stop."""
    return any(part.startswith(".") for part in path.relative_to(below).parts)
