"""The reader of files in run folders, which can be damaged or belong to other programs.

Every failure of reading becomes a RunError with one line. Callers rebuild what can be rebuilt
(checkpoints, stored predictions, the blend) and let the error of other files reach the user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import numpy as np

from fkd_kaggle.errors import RunError, explain_os_error
from fkd_kaggle.formatting import one_line


def list_subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder of runs, sorted by name; none if it does not exist.

    Hidden folders are left out: they are what an interrupted deletion has left.

    Raises
    ------
    RunError
        ``folder`` is a file or cannot be read.
    """
    try:
        found = (path for path in folder.iterdir() if not path.name.startswith("."))
        return sorted(path for path in found if path.is_dir())
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise RunError(
            f"{folder} is a file, not a folder of runs: choose another with --runs-dir"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read {explain_os_error(error, str(folder))}") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises
    ------
    RunError
        The file is missing, unreadable, or contains anything else.
    """
    try:
        _require_file(path)
        value = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(value, dict):
            raise TypeError("not a JSON object")
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except Exception as error:
        raise damaged(path, error) from error
    return value


def read_arrays(
    path: Path, shapes: Mapping[str, tuple[int | None, ...]] | None = None
) -> dict[str, np.ndarray]:
    """Return all arrays of an npz file by name.

    Parameters
    ----------
    path
        The file.
    shapes
        Shapes of arrays of numbers that the file must contain; None in a shape stands for any size.

    Raises
    ------
    RunError
        The file is missing or damaged, or lacks an array.
    """
    try:
        _require_file(path)
        # np.load does not close a damaged file that it opened itself.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored.files}
        for name, shape in (shapes or {}).items():
            _check_array(arrays[name], shape)
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except (
        Exception
    ) as error:  # of zipfile, zlib, ast and numpy, EOFError and MemoryError among them
        raise damaged(path, error) from error
    return arrays


def read_array(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return the array of numbers in an npy file.

    Raises
    ------
    RunError
        The file is missing or damaged, or has another shape.
    """
    try:
        _require_file(path)
        with path.open("rb") as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
        _check_array(array, shape)
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except Exception as error:
        raise damaged(path, error) from error
    return array


def check_types(value: Any) -> None:
    """Check the types of a dataclass's fields, within nested dataclasses and sequences too.

    Checks numbers, texts and booleans, the values that JSON can confuse.

    Raises
    ------
    TypeError
        A field has a value of another type.
    """
    if isinstance(value, tuple | list):
        for item in value:
            check_types(item)
    if not is_dataclass(value):
        return
    hints = get_type_hints(type(value))
    for field in fields(value):
        found, hint = getattr(value, field.name), hints[field.name]
        kinds = set(get_args(hint)) if isinstance(hint, UnionType) else {hint}
        if kinds <= {int, float, str, bool, type(None)}:
            allowed = kinds | {int} if float in kinds else kinds
            if type(found) not in allowed:
                raise TypeError(f"{field.name} is of a wrong type")
        check_types(found)


def damaged(path: Path, error: Exception, remedy: str = "") -> RunError:
    """Return the error for a damaged file.

    Parameters
    ----------
    path
        The file.
    error
        What went wrong.
    remedy
        What to do, as a command or a phrase.
    """
    reason = one_line(str(error), 80) if isinstance(error, OSError) else type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    return RunError(f"{path} is damaged ({reason})" + (f": {remedy}" if remedy else ""))


def _require_file(path: Path) -> None:
    """Raise OSError if a path is neither a file nor missing: reading a pipe would wait for ever."""
    if path.exists() and not path.is_file():
        raise OSError("it is no file")


def _check_array(array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless an array contains numbers and has a shape."""
    if array.dtype.kind not in "biuf":
        raise ValueError("no numbers")
    sizes = zip(array.shape, shape, strict=True)
    if any(expected is not None and size != expected for size, expected in sizes):
        raise ValueError("another shape")
