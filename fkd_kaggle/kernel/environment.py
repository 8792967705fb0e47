"""What a kernel finds mounted: the competition's files, and run folders that other kernels left.

Kaggle has changed where it mounts what, and whether it unpacks zips, more than once; so everything
below the input folder is looked through. Nothing is written there: it is mounted read-only.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fkd_kaggle.data import archive
from fkd_kaggle.errors import DataError, KernelError, RunError
from fkd_kaggle.runs.folder import Run

OLDEST: Final = {
    "keras": "3.8",
    "tensorflow": "2.18",
    "numpy": "1.26",
    "pandas": "2.2",
    "scipy": "1.13",
    "sklearn": "1.2.2",
    "rich": "13",
}
"""Import names and the oldest versions that tests/image_versions.py trains with; Kaggle holds
scikit-learn back at 1.2.2 (Kaggle/docker-python, kaggle_requirements.txt)."""


def check_versions() -> dict[str, str]:
    """Return the installed version of each package; refuse an image that lacks one.

    Raises
    ------
    KernelError
        Names each package that is missing or too old, what was found and the oldest version that
        will do.
    """
    installed = importlib.metadata.packages_distributions()
    found, wrong = {}, []
    for name, oldest in OLDEST.items():
        versions = [importlib.metadata.version(one) for one in installed.get(name, ())]
        if not versions:
            wrong.append(f"{name} is missing (at least {oldest} is needed)")
            continue
        found[name] = max(versions, key=_numbers)
        if _numbers(found[name]) < _numbers(oldest):
            wrong.append(f"{name} is {found[name]} (at least {oldest} is needed)")
    if wrong:
        raise KernelError(
            f"this machine's image will not do: {', '.join(wrong)}; "
            "choose the latest environment in the kernel's settings on Kaggle"
        )
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3])


_COMPETITION = "facial-keypoints-detection"


def link_competition_files(input_dir: Path, data_dir: Path) -> Path:
    """Lay out the competition's files in ``data_dir``, linked or unpacked, and return it.

    Raises
    ------
    DataError
        A file is nowhere below ``input_dir``, plain or zipped; tells what is there instead.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    everything = sorted(_walk(input_dir), key=_preference)
    for path in everything:
        if path.name in archive.CONTENTS and not (data_dir / path.name).exists():
            # A link, not a copy: what is cached beside it then lies in data_dir.
            (data_dir / path.name).symlink_to(path)
    zips = (path for path in everything if path.suffix == ".zip")
    while missing := [name for name in archive.CONTENTS[:3] if not (data_dir / name).exists()]:
        packed = next(zips, None)
        if packed is None:
            raise DataError(_no_data_message(missing, input_dir, everything))
        try:
            archive.extract(packed, data_dir)
        except archive.DAMAGED as error:
            raise DataError(f"{packed} is damaged ({error}): run the kernel again") from error
    return data_dir


def find_input_runs(input_dir: Path, name: str) -> list[Run]:
    """Return the run folders of that name below ``input_dir``, as shards left them.

    Raises
    ------
    RunError
        There is none, or one is damaged.
    """
    found = [
        Run.open(path.parent)
        for path in sorted(_walk(input_dir))
        if path.name == "run.json" and path.parent.name == name
    ]
    if not found:
        raise RunError(
            f"no kernel has left a run {name} among the inputs in {input_dir}: "
            "have its shards finished, and are they this kernel's kernel_sources?"
        )
    return found


def _walk(folder: Path) -> Iterator[Path]:
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()  # a link that leads back
            continue
        seen.add(real)
        yield from (Path(place) / name for name in names)


def _preference(path: Path) -> tuple[bool, int, str]:
    """Order candidates: the competition's own folder first, then what lies least deep."""
    return _COMPETITION not in path.parts, len(path.parts), str(path)


def _no_data_message(missing: list[str], input_dir: Path, everything: list[Path]) -> str:
    seen = [str(path.relative_to(input_dir)) for path in everything]
    there = ", ".join(seen[:12]) + (f" and {len(seen) - 12} more" if len(seen) > 12 else "")
    return (
        f"no {', no '.join(missing)} below {input_dir}, plain or zipped; "
        f"what is there: {there or 'nothing'}. Have you joined the competition, and does "
        f"kernel-metadata.json list {_COMPETITION} in competition_sources?"
    )
