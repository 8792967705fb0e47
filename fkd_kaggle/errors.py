"""The errors that a user can correct, and suggestions for misspelt names.

The message of each error is one line that names the problem, its place and the remedy. The command
line prints this line and exits with code 2. Any other exception is a bug in this package and keeps
its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FkdError(Exception):
    """Base class of all errors that a user can correct; ``str(error)`` is one line."""

    exit_code = 2


class DataError(FkdError):
    """A data file is missing, damaged or not in the competition's format."""


class RecipeError(FkdError):
    """A recipe contains an unknown name or an impossible value."""


class RunError(FkdError):
    """A run folder is missing, damaged or unfinished, or belongs to another data set."""


class SubmissionError(FkdError):
    """Predictions, lookup table and submission file do not match."""


class CompetitionError(FkdError):
    """Kaggle refused a request, or could not be reached.

    Parameters
    ----------
    message
        One line for the user.
    status
        HTTP status of Kaggle's response; None without a response.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class KernelError(FkdError):
    """A Kaggle kernel could not be built, pushed, followed or collected."""


class RenamedWarning(FutureWarning):
    """A recipe uses a deprecated name; the message is one line that names the new one."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name.

    Parameters
    ----------
    kind
        What the name should be, such as ``"recipe"``.
    name
        The unknown name.
    known
        The valid names. The message suggests the most similar one, or lists all of them.
    """
    known = list(known)
    similar = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {similar[0]!r}?" if similar else f"known: {', '.join(known)}"
    return f"unknown {kind} {name!r}: {hint}"
