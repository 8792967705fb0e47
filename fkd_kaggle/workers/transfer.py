"""Files of runs and of data folders as bytes, to send them to other machines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fkd_kaggle import files
from fkd_kaggle.data import cache
from fkd_kaggle.data.array_folder import is_array_folder

_CSV = ("training.csv", "test.csv", "IdLookupTable.csv")

_BLENDED = ("blend.npz", "out_of_fold.npz")

_LAST = "progress.json"
"""Written last: a checkpoint that does not match it is ignored."""


@dataclass(frozen=True)
class DataFiles:
    """The files of a data folder: cached arrays, and names, sizes and times of the CSV files.

    The arrays are a third of the size of the CSV files. A copy of the folder contains CSV files of
    the same size and time without content, which are never read, because the cache is valid.
    """

    contents: Mapping[str, bytes]
    """Content by path in the folder."""
    empty: Mapping[str, tuple[int, int]]
    """Size and modification time (ns) of the CSV files without content, by name."""

    def write(self, folder: Path) -> None:
        """Write the files to a folder."""
        write_files(folder, self.contents)
        for name, (size, modified) in self.empty.items():
            with (folder / name).open("wb") as stream:
                stream.truncate(size)
            os.utime(folder / name, ns=(modified, modified))


def read_data_files(data_dir: Path) -> DataFiles:
    """Return the files of a data folder; its cache should be filled.

    Parameters
    ----------
    data_dir
        Folder of the competition's files, or of arrays.
    """
    if is_array_folder(data_dir):
        paths = [path for path in data_dir.rglob("*") if path.is_file()]
        return DataFiles({str(path.relative_to(data_dir)): path.read_bytes() for path in paths}, {})
    contents: dict[str, bytes] = {}
    empty: dict[str, tuple[int, int]] = {}
    for name in _CSV:
        path = data_dir / name
        if not path.exists():
            continue
        record = cache.read_cache_record(path)
        stamp = cache.file_stamp(path)
        if record is None or record["stamp"] != stamp:
            contents[name] = path.read_bytes()
            continue
        empty[name] = (stamp[0], stamp[1])
        for part in (data_dir / ".cache").glob(f"{path.stem}.*"):
            contents[f".cache/{part.name}"] = part.read_bytes()
    return DataFiles(contents, empty)


def read_run_files(run: Path) -> dict[str, bytes]:
    """Return the files of a run that a worker can need, by path in the run folder."""
    return {
        path.name: path.read_bytes()
        for path in sorted(run.glob("*"))
        if path.suffix in (".csv", ".json", ".npy", ".npz") and path.name not in _BLENDED
    }


def read_files(run: Path, member: str) -> dict[str, bytes]:
    """Return the files of a member by path in the run folder; temporary files are left out."""
    folder = run / "members" / member
    return {
        f"members/{member}/{path.name}": path.read_bytes()
        for path in sorted(folder.glob("*"))
        if path.is_file() and not path.name.startswith(".tmp-")
    }


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files atomically, progress.json last.

    Parameters
    ----------
    folder
        Target folder.
    contents
        Content by path in the folder.
    """
    for name in sorted(contents, key=lambda name: name.endswith(_LAST)):
        with files.atomic_path(folder / name) as temporary:
            temporary.write_bytes(contents[name])


def replace_member_files(run: Path, member: str, contents: Mapping[str, bytes]) -> None:
    """Write all files of a member that has ended, and delete its other files.

    Parameters
    ----------
    run
        Folder of the run.
    member
        Name of the member.
    contents
        What ``read_files`` returned.
    """
    write_files(run, contents)
    for path in (run / "members" / member).glob("*"):
        if path.is_file() and f"members/{member}/{path.name}" not in contents:
            path.unlink()
