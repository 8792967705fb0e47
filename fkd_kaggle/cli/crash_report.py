"""Crash reports: what an unforeseen exception leaves for a bug report, without secrets.

A report is a text file with the command, the versions, the settings that matter and the traceback.
It lies in the folder ``FKD_CRASH_DIR``, by default the user's folder for states
(``~/.local/state/fkd-kaggle`` on Linux), or in the temporary folder if that one cannot be written.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fkd_kaggle.errors import redact
from fkd_kaggle.formatting import escape_text, one_line
from fkd_kaggle.settings import CRASH_DIR, __version__, user_folder

_PACKAGES: Final = (
    "numpy", "keras", "tensorflow", "jax", "kaggle", "kagglesdk", "typer", "rich", "requests",
    "pillow", "flask", "mtcnn",
)  # fmt: skip

_SETTINGS: Final = ("FKD_", "KERAS_", "TF_", "CUDA_", "XLA_", "PYTHON", "LC_", "LANG", "COLUMNS")
"""Beginnings of the names of environment variables whose values a report contains."""

_MAX_REPORTS: Final = 20
"""Reports that are kept in the folder."""


def describe(error: BaseException) -> str:
    """Return one line about an unforeseen exception, without secrets."""
    if isinstance(error, MemoryError):
        text = one_line(redact(str(error)), 300)
        return f"out of memory{f' ({text})' if text else ''}: use a smaller batch or fewer workers"
    text = one_line(redact(str(error)), 300)
    return f"unexpected {type(error).__name__}{f': {text}' if text else ''}"


def render(error: BaseException) -> str:
    """Return the text of a report, without secrets."""
    lines = [
        f"fkd-kaggle {__version__}, {datetime.now(UTC).isoformat(timespec='seconds')}",
        f"command: {shlex.join(sys.argv)}",
        f"folder: {_working_folder()}",
        f"python: {sys.version.split()[0]}, {platform.platform()}",
        *_versions(),
        *_environment(),
        "",
        *traceback.format_exception(error),
    ]
    return redact(escape_text("\n".join(lines)))


def write(error: BaseException) -> Path | None:
    """Write the report of an exception; return its path, or None if nothing can be written."""
    text = render(error)
    name = f"crash-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    for folder in _folders():
        with suppress(OSError, ValueError):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            _delete_old(folder)
            return path
    return None


def _folders() -> Iterator[Path]:
    """Yield the folders for reports, the preferred one first."""
    chosen = os.environ.get(CRASH_DIR)
    if chosen:
        yield Path(chosen)
    with suppress(OSError, ImportError):  # no home folder
        yield user_folder("state")
    yield Path(tempfile.gettempdir()) / f"fkd-kaggle-{os.getuid() if hasattr(os, 'getuid') else 0}"


def _delete_old(folder: Path) -> None:
    for path in sorted(folder.glob("crash-*.txt"))[:-_MAX_REPORTS]:
        with suppress(OSError):
            path.unlink()


def _working_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "deleted"


def _versions() -> Iterator[str]:
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name}: {importlib.metadata.version(name)}"


def _environment() -> Iterator[str]:
    for name, value in sorted(os.environ.items()):
        if name.startswith(_SETTINGS):
            yield f"{name}={value}"
        elif name.startswith("KAGGLE_") or name.lower().endswith("_proxy"):
            yield f"{name} is set" if value else f"{name} is empty"
