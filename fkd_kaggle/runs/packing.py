"""A run as one file, for another machine or a colleague.

The file is a zip archive with the files of the run folder and ``fkd-run.json``, which lists their
sizes and SHA-256 digests. Checkpoints, logs for TensorBoard and arrays of training faces are left
out. Unpacking trusts nothing in the archive: it reads only the listed files, checks each path,
size and digest, and renames the complete folder into place.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from fkd_kaggle import files
from fkd_kaggle.errors import RunError
from fkd_kaggle.runs.folder import RUN_FILE, Run, check_run_name
from fkd_kaggle.settings import __version__

SUFFIX: Final = ".fkdrun.zip"
"""End of the name of a packed run."""

MANIFEST: Final = "fkd-run.json"

_FORMAT: Final = 1
_CHUNK: Final = 1 << 20
_MAX_MANIFEST: Final = 16 << 20
_DAMAGED: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What reading a truncated, changed or encrypted archive raises."""

_SKIPPED_FOLDERS: Final = ("tensorboard", "faces")
_SKIPPED_FILES: Final = ("checkpoint.npz",)

OnProgress = Callable[[int, int], None]
"""Called with the bytes done and the bytes of all files."""


def pack_run(run: Run, target: Path, on_progress: OnProgress | None = None) -> Path:
    """Write a run to one file.

    Parameters
    ----------
    run
        The run; it should not be in training.
    target
        The file to write, or an existing folder for ``NAME.fkdrun.zip``. An existing file is
        replaced.
    on_progress
        Called with the bytes done and the bytes of all files.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunError
        A file of the run cannot be read.
    FkdError
        The disk is full or the target cannot be written.
    """
    if target.is_dir():
        target = target / f"{run.name}{SUFFIX}"
    paths = _files_to_pack(run.path)
    total = sum(path.stat().st_size for path in paths)
    done = 0
    entries: dict[str, dict[str, Any]] = {}
    with (
        files.atomic_path(target) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for path in paths:
            name = path.relative_to(run.path).as_posix()
            try:
                content = path.read_bytes()
            except OSError as error:
                raise RunError(f"cannot read {path}: {error.strerror}") from error
            entries[name] = {
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            archive.writestr(_entry(name), content)
            done += len(content)
            if on_progress:
                on_progress(done, total)
        manifest = {
            "format": _FORMAT,
            "name": run.name,
            "version": __version__,
            "data": run.data,
            "files": entries,
        }
        archive.writestr(_entry(MANIFEST), json.dumps(manifest, indent=1))
    return target


def unpack_run(
    source: Path, runs_dir: Path, name: str | None = None, on_progress: OnProgress | None = None
) -> Run:
    """Unpack a file that ``pack_run`` wrote into a new run folder.

    Parameters
    ----------
    source
        The file.
    runs_dir
        Folder of the runs.
    name
        Name of the new run. Default: its name when it was packed.
    on_progress
        Called with the bytes done and the bytes of all files.

    Returns
    -------
    Run
        The unpacked run.

    Raises
    ------
    RunError
        The file is not a packed run or is damaged, a path leads out of the folder, or a run of
        this name exists. No run folder is left.
    FkdError
        The disk is full or the folder cannot be written.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            manifest = _read_manifest(source, archive)
            name = name or manifest["name"]
            check_run_name(name)
            target = runs_dir / name
            if target.exists():
                raise RunError(f"{target} exists: choose another name with --name")
            _extract(source, archive, manifest["files"], target, on_progress)
    except _DAMAGED as error:
        raise RunError(f"{source} is damaged or not a packed run: {error}") from error
    except FileNotFoundError:
        raise RunError(f"{source} does not exist") from None
    except OSError as error:
        raise RunError(f"cannot read {source}: {error.strerror or error}") from error
    return Run.open(target)


def _files_to_pack(folder: Path) -> list[Path]:
    """Return the files of a run folder that are packed, sorted by path."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if parts[0] in _SKIPPED_FOLDERS or path.name in _SKIPPED_FILES:
            continue
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            found.append(path)
    return found


def _entry(name: str) -> zipfile.ZipInfo:
    """Return an archive entry with a fixed time, so that equal runs give equal files."""
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _read_manifest(source: Path, archive: zipfile.ZipFile) -> Mapping[str, Any]:
    """Return the checked manifest of an archive."""
    try:
        entry = archive.getinfo(MANIFEST)
        if entry.file_size > _MAX_MANIFEST:
            raise ValueError("the list of files is too long")
        manifest = json.loads(archive.read(entry))
        if manifest["format"] != _FORMAT:
            raise RunError(
                f"{source} was packed by fkd-kaggle {manifest['version']} in a format that this "
                f"version, {__version__}, cannot read: install that version"
            )
        if not isinstance(manifest["name"], str):
            raise ValueError("its name is not a text")
        listed = manifest["files"]
        for name, file in listed.items():
            _check_path(source, name)
            if not isinstance(file["size"], int) or not isinstance(file["sha256"], str):
                raise ValueError(f"{name} has no size or digest")
        if RUN_FILE not in listed:
            raise ValueError(f"{RUN_FILE} is missing")
    except KeyError as error:
        raise RunError(f"{source} is not a packed run: {error.args[0]} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{source} is not a packed run: {error}") from error
    checked: Mapping[str, Any] = manifest
    return checked


def _check_path(source: Path, name: str) -> None:
    """Raise an error for a path that is not plainly below the run folder."""
    # Colons and backslashes lead to other drives and folders on Windows.
    if re.search(r"[\\:\x00]", name) or any(set(part) <= {".", " "} for part in name.split("/")):
        raise RunError(f"{source} contains the path {name!r}, which leads out of the run: refused")


def _extract(
    source: Path,
    archive: zipfile.ZipFile,
    listed: Mapping[str, Mapping[str, Any]],
    target: Path,
    on_progress: OnProgress | None,
) -> None:
    """Write the listed files to a temporary folder and rename it to ``target``."""
    total, done = sum(file["size"] for file in listed.values()), 0
    with files.write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
    if total > free:
        raise RunError(f"{source} needs {total:,} bytes, more than the disk has: free some space")
    with (
        # Reading an archive that is open rarely fails: an OSError is that of the target.
        files.write_errors(target),
        tempfile.TemporaryDirectory(prefix=".tmp-", dir=target.parent) as temporary,
    ):
        folder = Path(temporary) / "run"
        for name, file in listed.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            digest, size = hashlib.sha256(), 0
            try:
                with archive.open(name) as stream, path.open("wb") as output:
                    while chunk := stream.read(_CHUNK):
                        size += len(chunk)
                        if size > file["size"]:
                            break
                        digest.update(chunk)
                        output.write(chunk)
            except KeyError:
                raise RunError(f"{source} is incomplete: {name} is missing") from None
            if size != file["size"] or digest.hexdigest() != file["sha256"]:
                raise RunError(f"{source} is damaged: {name} differs from its checksum")
            done += size
            if on_progress:
                on_progress(done, total)
        Run.open(folder)
        folder.rename(target)
