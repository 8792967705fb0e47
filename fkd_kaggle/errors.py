"""The errors a user can act on.

Each carries one line that says what is wrong, where, and what to do. The CLI prints that line
and exits with code 2; anything else that escapes is a bug in this package and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FkdError(Exception):
    """Base of every error a user can act on. ``str(error)`` is one clear line."""

    exit_code = 2


class DataError(FkdError):
    """A data file is missing, damaged or not in the competition's format."""


class RecipeError(FkdError):
    """A recipe names something unknown or asks for something impossible."""


class RunError(FkdError):
    """A run folder is missing, damaged, unfinished or of another data set."""


class SubmissionError(FkdError):
    """Predictions, lookup table and submission file do not fit each other."""


class CompetitionError(FkdError):
    """Kaggle said no, or could not be reached."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status of Kaggle's answer; None where there was none."""


class KernelError(FkdError):
    """A Kaggle kernel could not be built, pushed, followed or collected."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """Return the line for an unknown name, with the nearest known one or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {name!r}: {hint}"
