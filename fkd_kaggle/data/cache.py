"""The competition's CSV files → ``Faces`` and ``Lookup``, checked at the door and cached.

The only room that parses or writes the competition's formats. A CSV is parsed once, by whole-array
byte arithmetic instead of text splitting, into ``.cache`` beside it; afterwards it is mapped into
memory. A changed file is noticed by size, time and content and parsed again.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.errors import DataError, FkdError

_CACHE_VERSION = 2


def load_cached(path: Path, parse: Any) -> dict[str, np.ndarray]:
    """Return the arrays ``parse`` makes of a file, from the cache where it is still true."""
    stamp = file_stamp(path)
    note = read_cache_record(path)
    if note and note["stamp"] != stamp:
        # Touched or copied: the content decides, and a true cache gets the new stamp.
        digest = files.sha256(path)
        note = note if note["sha256"] == digest else None
        if note:
            _write_cache_record(path, {**note, "stamp": stamp})
    if note:
        arrays = _load_arrays(path, note)
        if arrays is not None:
            return arrays
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    with ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(hashlib.sha256, content)  # releases the interpreter lock
        arrays = parse(path, content)
        _store_arrays(path, arrays, stamp, hashed.result().hexdigest())
    return arrays


def file_stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: get it with `fkd-kaggle fetch`") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return [status.st_size, status.st_mtime_ns]


def _cache_file(path: Path, name: str) -> Path:
    return path.parent / ".cache" / f"{path.stem}.{name}"


def read_cache_record(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(_cache_file(path, "json").read_text(encoding="utf-8"))
        whole = {"stamp", "sha256", "arrays"} <= note.keys()
        return note if whole and note["version"] == _CACHE_VERSION else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_cache_record(path: Path, note: dict[str, Any]) -> None:
    try:
        files.write_json(_cache_file(path, "json"), note)
    except (FkdError, OSError):
        return  # a folder that cannot be written costs time, nothing else


def _load_arrays(path: Path, note: dict[str, Any]) -> dict[str, np.ndarray] | None:
    arrays = {}
    for name, (shape, dtype) in note["arrays"].items():
        try:
            # A plain array over the map: fancy-indexed memmaps stay memmaps, which slows others.
            array = np.load(_cache_file(path, f"{name}.npy"), mmap_mode="r").view(np.ndarray)
        except (OSError, ValueError, EOFError):
            return None
        if list(array.shape) != shape or array.dtype.str != dtype:
            return None
        arrays[name] = array
    return arrays


def _store_arrays(path: Path, arrays: dict[str, np.ndarray], stamp: list[int], digest: str) -> None:
    note = {
        "version": _CACHE_VERSION,
        "stamp": stamp,
        "sha256": digest,
        "arrays": {name: [list(array.shape), array.dtype.str] for name, array in arrays.items()},
    }
    try:
        _cache_file(path, "json").unlink(missing_ok=True)
        for name, array in arrays.items():
            with files.atomic_path(_cache_file(path, f"{name}.npy")) as temporary:
                np.save(temporary, array)
    except (FkdError, OSError):
        return
    _write_cache_record(path, note)
