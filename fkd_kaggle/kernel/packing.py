"""The package as a zip, for the script of a kernel.

Kaggle's machines have no internet, so the script contains the package. Only files of the package
and of one small dependency are packed: no data, no runs, no environment variables.
"""

from __future__ import annotations

import importlib.metadata
import io
import zipfile
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

NOT_PACKED: Final = ("__main__.py", "_kernels", "api", "cli", "export", "photos", "practice")
"""Parts of the package that a kernel cannot import: they lie above or beside ``kernel``."""

SUFFIXES: Final = (".html", ".json", ".py", ".toml", ".typed")
"""Files of the package that are packed: modules, recipes, what is known about them, and the
templates of reports."""

_DEPENDENCIES: Final = ("tomli-w",)
"""Distributions that Kaggle's image lacks; pure Python and small."""


def pack_package() -> bytes:
    """Return a zip of this package as it is installed; the same bytes for the same files.

    Its files are not compressed: compressing the zip as a whole takes 40 % less space.
    """
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        packed = (*_package_files(), *_dependency_files(), *_licence())
        for name, content in sorted(packed):
            entry = zipfile.ZipInfo(name)  # Its default time is constant: 1980-01-01.
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return target.getvalue()


def _package_files() -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each packed file of this package."""
    for item in resources.files("fkd_kaggle").iterdir():
        if item.name not in NOT_PACKED:
            yield from _walk(item, f"fkd_kaggle/{item.name}")


def _walk(item: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of a file, or of all files in a folder."""
    if item.is_dir() and item.name != "__pycache__":
        for child in item.iterdir():
            yield from _walk(child, f"{name}/{child.name}")
    elif item.is_file() and item.name.endswith(SUFFIXES):
        yield name, item.read_bytes()


def _licence() -> Iterator[tuple[str, bytes]]:
    """Yield this package's licence, from an installed package or from a checkout."""
    root = resources.files("fkd_kaggle")
    installed = root / "_kernels" / "LICENSE"
    path = installed if installed.is_file() else Path(str(root)).parent / "LICENSE"
    if path.is_file():
        yield "fkd_kaggle/LICENSE", path.read_bytes()


def _dependency_files() -> Iterator[tuple[str, bytes]]:
    """Yield the modules and licences of the packed dependencies, without pip's own files."""
    for distribution in _DEPENDENCIES:
        for path in importlib.metadata.files(distribution) or ():
            if path.suffix == ".py" or "LICENSE" in path.name:
                yield path.as_posix(), path.read_binary()
