"""Cached arrays of parsed CSV files.

The arrays parsed from ``folder/NAME.csv`` are kept in ``folder/.cache`` as ``.npy`` files with a
JSON record of the CSV's size, modification time and SHA-256, and are mapped into memory when read.
A changed CSV is detected by these and parsed again. Knows no CSV format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.errors import DataError, FkdError

Arrays = dict[str, np.ndarray]

_CACHE_VERSION: Final = 2


def load_cached(path: Path, parse: Callable[[Path, bytes], Arrays]) -> Arrays:
    """Return the arrays of a file from its cache, or parse the file and fill the cache.

    Parameters
    ----------
    path
        The file to read.
    parse
        Turns the file's path (for messages) and content into named arrays.

    Returns
    -------
    Arrays by name; read-only memory maps when they come from the cache.

    Raises
    ------
    DataError
        The file is missing or unreadable, or ``parse`` refuses it.
    """
    stamp = file_stamp(path)
    record = read_cache_record(path)
    if record and record["stamp"] != stamp:
        # A touched or copied file: if its content is unchanged, the cache gets the new stamp.
        digest = file_digest(path)
        record = record if record["sha256"] == digest else None
        if record:
            _write_cache_record(path, {**record, "stamp": stamp})
    if record:
        cached = _load_arrays(path, record)
        if cached is not None:
            return cached
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
    """Return a file's size in bytes and modification time in nanoseconds.

    Raises
    ------
    DataError
        The file is missing or unreadable.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: get it with `fkd-kaggle fetch`") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return [status.st_size, status.st_mtime_ns]


def file_digest(path: Path) -> str:
    """Return the SHA-256 digest of a file's content in hexadecimal.

    Raises
    ------
    DataError
        The file is missing or unreadable.
    """
    try:
        return files.sha256(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def read_cache_record(path: Path) -> dict[str, Any] | None:
    """Return a file's cache record ("stamp", "sha256", "arrays"); None if there is no valid one."""
    try:
        record = json.loads(_cache_file(path, "json").read_text(encoding="utf-8"))
        complete = {"stamp", "sha256", "arrays"} <= record.keys()
        return record if complete and record["version"] == _CACHE_VERSION else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _cache_file(path: Path, name: str) -> Path:
    """Return the path of a part of a file's cache."""
    return path.parent / ".cache" / f"{path.stem}.{name}"


def _write_cache_record(path: Path, record: dict[str, Any]) -> None:
    """Write the cache record of a file, if the folder is writable."""
    try:
        files.write_json(_cache_file(path, "json"), record)
    except (FkdError, OSError):
        return  # without a writable folder the file is parsed each time


def _load_arrays(path: Path, record: dict[str, Any]) -> Arrays | None:
    """Return the cached arrays; None if a file is missing or not as recorded."""
    arrays = {}
    for name, (shape, dtype) in record["arrays"].items():
        try:
            # A plain array over the map: fancy-indexed memmaps stay memmaps, which is slow.
            array = np.load(_cache_file(path, f"{name}.npy"), mmap_mode="r").view(np.ndarray)
        except Exception:  # a damaged header raises errors of numpy, tokenize and ast
            return None
        if list(array.shape) != shape or array.dtype.str != dtype:
            return None
        arrays[name] = array
    return arrays


def _store_arrays(path: Path, arrays: Arrays, stamp: list[int], digest: str) -> None:
    """Write the arrays and then their record, so that a record implies complete arrays."""
    record = {
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
    _write_cache_record(path, record)
