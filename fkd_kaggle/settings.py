"""The version of this package, its environment variables, and where it keeps files of a user."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

__version__: Final = "0.1.0"

CRASH_DIR: Final = "FKD_CRASH_DIR"
"""Environment variable: folder of crash reports."""

DEBUG: Final = "FKD_DEBUG"
"""Environment variable: if set, tracebacks are printed, as with ``--debug``."""


def user_folder(kind: Literal["config", "state"]) -> Path:
    """Return this user's folder for settings or states of this program, which need not exist.

    The system's conventions decide where, such as ``~/.config/fkd-kaggle`` and
    ``~/.local/state/fkd-kaggle`` on Linux.

    Raises
    ------
    FileNotFoundError
        The user has no home folder.
    """
    import platformdirs

    find = {"config": platformdirs.user_config_path, "state": platformdirs.user_state_path}[kind]
    folder = find("fkd-kaggle", appauthor=False)
    if not folder.is_absolute():  # "~" cannot be expanded
        raise FileNotFoundError("no home folder")
    return folder
