"""Finding the competition's CSVs in a folder or zip of any nesting.

Only finds and unpacks; reads no CSV.
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
                        _extract_wanted(inner, inner_name, data_dir, unpacked)
            else:
                _extract_wanted(outer, name, data_dir, unpacked)
    return unpacked


def _extract_wanted(
    archive: zipfile.ZipFile, name: str, data_dir: Path, placed: dict[str, Path]
) -> None:
    """Extract one wanted file, whatever folder it is in inside the zip."""
    wanted = Path(name).name
    if wanted not in CONTENTS:
        return
    target = data_dir / wanted
    placed[wanted] = target
    info = archive.getinfo(name)
    if target.exists() and target.stat().st_size == info.file_size and _has_crc(target, info.CRC):
        return
    with (
        archive.open(name) as source,
        files.atomic_path(target) as temporary,
        temporary.open("wb") as sink,
    ):
        shutil.copyfileobj(source, sink, 1 << 20)


def _has_crc(path: Path, checksum: int) -> bool:
    """Say whether a file's content has the zip entry's CRC-32."""
    with path.open("rb") as stream:
        return _stream_crc(stream) == checksum


def _stream_crc(stream: IO[bytes]) -> int:
    value = 0
    while block := stream.read(1 << 20):
        value = zlib.crc32(block, value)
    return value


def data_files(data: Path) -> list[Path]:
    """Return the files that make up the data: the zip, or what counts in the folder."""
    if data.is_file():
        return [data]
    # The shallowest of equal names; hidden folders hold caches and downloads that broke off.
    paths = sorted(data.rglob("*"), key=lambda path: (-len(path.parts), path))
    inside = {path.name.lower(): path for path in paths if not _is_hidden(path, data)}
    wanted = [name for csv in CONTENTS for name in _spellings(csv)]
    found = [inside[name] for name in wanted if name in inside and inside[name].is_file()]
    if found:
        return found
    zips = sorted(data.glob("*.zip"))
    if len(zips) == 1:
        return zips
    raise DataError(f"{data} holds no training.csv or training.zip")


def _is_hidden(path: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(below).parts)


def find_csv_files(data: Path, work: Path) -> dict[str, Path]:
    """Return where each of the competition's CSVs is, plain or zipped, unpacking as needed."""
    found: dict[str, Path] = {}
    for path in data_files(data):
        name = next((csv for csv in CONTENTS if path.name.lower() in _spellings(csv)), None)
        if name is not None:
            found.setdefault(name, path)
        elif path.is_file():
            found.update(_find_in_zip(path, work))
    return found


def _find_in_zip(path: Path, work: Path) -> dict[str, Path]:
    work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    with open_csv(path) as archive:
        members = {Path(name).name.lower(): name for name in archive.namelist()}
        for csv in CONTENTS:
            for spelling in _spellings(csv):
                if spelling in members and csv not in found:
                    found[csv] = _extract(archive, members[spelling], work / spelling)
        inner = [name for name in members if name.endswith(".zip")]
        if not found and len(inner) == 1:
            nested = _extract(archive, members[inner[0]], work / "inner.zip")
            return _find_in_zip(nested, work / "inner")
    return found


def _spellings(csv: str) -> tuple[str, str]:
    return csv.lower(), csv.lower().removesuffix(".csv") + ".zip"


def write_plain_csv(found: dict[str, Path], name: str, into: Path) -> None:
    """Put the plain CSV ``name`` into a folder, out of its zip where it is in one."""
    source, target = found[name], into / name
    if target.exists():
        return
    if source.suffix.lower() != ".zip":
        shutil.copyfile(source, target)
        return
    with open_csv(source) as archive:
        members = [one for one in archive.namelist() if Path(one).name.lower() == name.lower()]
        if not members:
            raise DataError(f"{source} holds no {name}")
        _extract(archive, members[0], target)


def open_csv(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} cannot be read as a zip: {error}") from error


def _extract(archive: zipfile.ZipFile, member: str, target: Path) -> Path:
    try:
        with archive.open(member) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{archive.filename}: {member} is damaged ({error})") from error
    return target
