"""What a kernel needs of the machine's image: packages, and none too old."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Final

from fkd_kaggle.errors import KernelError

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


def check() -> dict[str, str]:
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
