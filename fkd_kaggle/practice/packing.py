"""Finding the competition's CSVs in a folder or zip of any nesting.

Only finds and unpacks; reads no CSV.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

from fkd_kaggle.archive import CONTENTS
from fkd_kaggle.errors import DataError


def content(data: Path) -> list[Path]:
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


def find(data: Path, work: Path) -> dict[str, Path]:
    """Return where each of the competition's CSVs is, plain or zipped, unpacking as needed."""
    found: dict[str, Path] = {}
    for path in content(data):
        name = next((csv for csv in CONTENTS if path.name.lower() in _spellings(csv)), None)
        if name is not None:
            found.setdefault(name, path)
        elif path.is_file():
            found.update(_find_in_zip(path, work))
    return found


def _find_in_zip(path: Path, work: Path) -> dict[str, Path]:
    work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    with opened(path) as archive:
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


def plain(found: dict[str, Path], name: str, into: Path) -> None:
    """Put the plain CSV ``name`` into a folder, out of its zip where it is in one."""
    source, target = found[name], into / name
    if target.exists():
        return
    if source.suffix.lower() != ".zip":
        shutil.copyfile(source, target)
        return
    with opened(source) as archive:
        members = [one for one in archive.namelist() if Path(one).name.lower() == name.lower()]
        if not members:
            raise DataError(f"{source} holds no {name}")
        _extract(archive, members[0], target)


def opened(path: Path) -> zipfile.ZipFile:
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
