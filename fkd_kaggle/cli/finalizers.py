"""Exceptions in finalizers of libraries at the end of a command.

When Python shuts down, TensorFlow and others can fail in ``__del__``, because modules that they
need are gone. Python prints "Exception ignored in …" for each, although nothing is lost.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from fkd_kaggle.settings import DEBUG


def quiet_at_exit() -> None:
    """Print nothing for exceptions in ``__del__`` while Python shuts down, except with --debug."""
    atexit.register(_install)


def _install() -> None:
    if not os.environ.get(DEBUG):
        sys.unraisablehook = _ignore_finalizers


def _ignore_finalizers(unraisable: Any) -> None:
    """Ignore an exception of a ``__del__``; print any other."""
    if getattr(unraisable.object, "__name__", "") != "__del__":
        sys.__unraisablehook__(unraisable)
