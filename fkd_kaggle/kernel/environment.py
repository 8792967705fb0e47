"""The machine of a kernel: package versions, the competition's files, runs of other kernels.

Kaggle has changed where it mounts inputs, and whether it unpacks zips, more than once. So all of
the input folder is searched. The input folder is read-only; nothing is written there.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.version import Version

from fkd_kaggle.data import archive
from fkd_kaggle.errors import DataError, KernelError, RunError
from fkd_kaggle.runs.folder import RUN_FILE, Run

OLDEST: Final = {
    "keras": "3.8",
    "tensorflow": "2.18",
    "numpy": "1.26",
    "pandas": "2.2",
    "scipy": "1.13",
    "sklearn": "1.2.2",
    "rich": "13",
}
"""Import name → oldest version with which tests/image_versions.py trains. Kaggle's image of
mid-2026 has scikit-learn 1.6.1; images of 2025, which users can pin, have 1.2.2."""

_COMPETITION: Final = "facial-keypoints-detection"


def check_versions() -> dict[str, str]:
    """Return the installed version of each package of ``OLDEST``, by import name.

    Raises
    ------
    KernelError
        A package is missing or too old.
    """
    installed = importlib.metadata.packages_distributions()
    found, wrong = {}, []
    for name, oldest in OLDEST.items():
        versions = [
            importlib.metadata.version(distribution) for distribution in installed.get(name, ())
        ]
        if not versions:
            wrong.append(f"{name} is missing (at least {oldest} is needed)")
            continue
        found[name] = max(versions, key=Version)
        if Version(found[name]) < Version(oldest):
            wrong.append(f"{name} is {found[name]} (at least {oldest} is needed)")
    if wrong:
        raise KernelError(
            f"this machine's image does not suffice: {', '.join(wrong)}; "
            "choose the latest environment in the kernel's settings on Kaggle"
        )
    return found


def link_competition_files(input_dir: Path, data_dir: Path) -> Path:
    """Link or unpack the competition's files into ``data_dir`` and return ``data_dir``.

    Parameters
    ----------
    input_dir
        Folder of the kernel's inputs, searched with all folders in it.
    data_dir
        The target folder; made if missing.

    Raises
    ------
    DataError
        A file is missing, or a zip is damaged.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    inputs = sorted(_walk(input_dir), key=_preference)
    for path in inputs:
        if path.name in archive.CONTENTS and not (data_dir / path.name).exists():
            # A link suffices: caches are written beside it, in data_dir.
            (data_dir / path.name).symlink_to(path)
    zips = (path for path in inputs if path.suffix == ".zip")
    while missing := [name for name in archive.REQUIRED if not (data_dir / name).exists()]:
        packed = next(zips, None)
        if packed is None:
            raise DataError(_no_data_message(missing, input_dir, inputs))
        try:
            archive.extract(packed, data_dir)
        except archive.DAMAGED as error:
            raise DataError(f"{packed} is damaged ({error}): run the kernel again") from error
    return data_dir


def find_input_runs(input_dir: Path, name: str) -> list[Run]:
    """Return the runs that shards left below ``input_dir``.

    Parameters
    ----------
    input_dir
        Folder of the kernel's inputs, searched with all folders in it.
    name
        Name of the runs.

    Raises
    ------
    RunError
        There is no such run, or one is damaged.
    """
    found = [
        Run.open(path.parent)
        for path in sorted(_walk(input_dir))
        if path.name == RUN_FILE and path.parent.name == name
    ]
    if not found:
        raise RunError(
            f"no kernel has left a run {name} among the inputs in {input_dir}: "
            "have its shards finished, and does kernel_sources list them?"
        )
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, following links."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()  # a link to a parent folder
            continue
        seen.add(real)
        yield from (Path(place) / name for name in names)


def _preference(path: Path) -> tuple[bool, int, str]:
    """Sort key of inputs: the competition's folder first, then the least nested files."""
    return _COMPETITION not in path.parts, len(path.parts), str(path)


def _no_data_message(missing: list[str], input_dir: Path, inputs: list[Path]) -> str:
    """Return the message on missing files, with the files that were found instead."""
    seen = [str(path.relative_to(input_dir)) for path in inputs]
    there = ", ".join(seen[:12]) + (f" and {len(seen) - 12} more" if len(seen) > 12 else "")
    return (
        f"no {', no '.join(missing)} below {input_dir}, plain or zipped; "
        f"what is there: {there or 'nothing'}. Have you joined the competition, and does "
        f"kernel-metadata.json list {_COMPETITION} in competition_sources?"
    )
