"""The version of this package and the names of its environment variables."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"

CRASH_DIR: Final = "FKD_CRASH_DIR"
"""Environment variable: folder of crash reports."""

DEBUG: Final = "FKD_DEBUG"
"""Environment variable: if set, tracebacks are printed, as with ``--debug``."""
