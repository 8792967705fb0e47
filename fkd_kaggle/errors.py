"""The errors that a user can correct, suggestions for misspelt names, and redaction of secrets.

The message of each error is one line that names the problem, its place and the remedy. The command
line prints this line and exits with code 2. Any other exception is unforeseen: the command line
prints one line, exits with code 1 and writes a crash report. All of these texts, and logs, pass
through :func:`redact`, because the text of any exception can contain a secret.
"""

from __future__ import annotations

import base64
import difflib
import errno
import os
import re
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_SECRET_VARIABLES: Final = ("KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_IAP_TOKEN")
"""Environment variables whose values are secrets."""

_PROXY_VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""Environment variables with an address that can contain a password."""

_MIN_SECRET: Final = 6
"""Shorter secrets are not replaced, because they occur in ordinary words."""

_REDACTED: Final = "[redacted]"

_LONGEST_NAME: Final = 300
"""Characters of a path that a message shows."""

_REMEDIES: Final = {
    errno.EEXIST: "a file may lie where a folder is needed; move it away or choose another name",
    errno.ENOTDIR: "a file lies where a folder is needed; choose another folder",
    errno.EISDIR: "a file is needed here",
    errno.EACCES: "change the permissions or choose another folder",
    errno.EPERM: "change the permissions or choose another folder",
    errno.EROFS: "choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some space and run the command again",
    errno.EMFILE: "raise the limit with `ulimit -n 4096`",
    errno.EIO: "check the disk",
    errno.ESTALE: "the network disk was disconnected; run the command again",
}
"""What to do about errors of the operating system."""

_known_secrets: set[str] = set()

_SECRET_PATTERNS: Final = (
    # Kaggle's tokens and JSON Web Tokens, recognisable anywhere.
    re.compile(r"()KGAT_[\w-]+"),
    re.compile(r"()\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"),
    # The headers Authorization and Cookie, and the credentials after their scheme.
    re.compile(
        r"(?i)(\b(?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?(?:(?:bearer|basic)\s+)?)"
        r"(?!\[redacted\])[^\s'\",;]+"
    ),
    re.compile(r"(?i)(\b(?:set-)?cookie['\"]?\s*:\s*)[^\r\n'\"]+"),
    re.compile(r"(\b[Bb](?:earer|EARER)\s+)(?=\S*\d)[\w.~+/=-]{6,}"),
    re.compile(r"(\b[Bb](?:asic|ASIC)\s+)(?=\S*[\d=])[\w+/]{16,}={0,2}"),
    # Passwords in URLs, and signatures and keys in their queries.
    re.compile(r"(\b[a-zA-Z][\w+.-]*://)[^\s/@'\"]+(?=@)"),
    re.compile(
        r"(?i)([?&](?:[\w-]*(?:signature|credential|token|secret|password|apikey|api_key)|sig|key)=)"
        r"[^\s&'\"#)]+"
    ),
    # Values with the names of secrets, as in kaggle.json and in printed dictionaries.
    re.compile(
        r"(?i)(['\"](?:key|token|[\w-]*(?:access_token|refresh_token|api_token|password|secret"
        r"|kaggle_key|api_key|apikey))['\"]\s*:\s*b?['\"])[^'\"]+"
    ),
    re.compile(
        r"(?i)(\b(?:KAGGLE_KEY|KAGGLE_API_TOKEN|KAGGLE_IAP_TOKEN|password)\s*=\s*)[^\s,;)]+"
    ),
)
"""Patterns of secrets; the first group is kept."""


class FkdError(Exception):
    """Base class of all errors that a user can correct; ``str(error)`` is one line."""

    exit_code = 2


class DataError(FkdError):
    """A data file is missing, damaged or not in the competition's format."""


class RecipeError(FkdError):
    """A recipe contains an unknown name or an impossible value."""


class RunError(FkdError):
    """A run folder is missing, damaged or unfinished, or belongs to another data set."""


class NoUsefulNetworkError(RunError):
    """No network of a run is better than the mean face."""


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


class TrainingFailedError(FkdError):
    """Some members of a run could not be trained; the message names the members."""

    exit_code = 1


class NoteWarning(UserWarning):
    """Something that the user should know; the message is one line, printed as a note."""


class RenamedWarning(NoteWarning, FutureWarning):
    """A recipe uses a deprecated name; the message is one line that names the new one."""


def register_secret(secret: str) -> None:
    """Make :func:`redact` replace a secret of this process, such as a key read from a file."""
    secret = secret.strip()
    if len(secret) >= _MIN_SECRET:
        _known_secrets.add(secret)


def redact(text: str) -> str:
    """Return a text without secrets, for messages, logs and crash reports.

    Replaces registered secrets, the secrets of environment variables (also where they are quoted,
    encoded or broken into lines), and what looks like a token, an ``Authorization`` header, a
    password in a URL or a signature in a query.
    """
    for secret in sorted(_spellings(), key=len, reverse=True):
        text = text.replace(secret, _REDACTED)
    for pattern in _SECRET_PATTERNS:
        text = pattern.sub(rf"\1{_REDACTED}", text)
    return text


def explain_os_error(error: OSError, name: str = "") -> str:
    """Return a line for users about an error of the operating system.

    Parameters
    ----------
    error
        The error.
    name
        Name of the file or folder; by default the error's own.
    """
    name = name or (os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "")
    reason = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0)
    name = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"
    return ": ".join(part for part in (name, reason, remedy) if part)


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


def _spellings() -> set[str]:
    """Return all secrets of this process, in the forms in which a text can contain them."""
    secrets = set(_known_secrets)
    for name in _SECRET_VARIABLES:
        value = os.environ.get(name, "")
        # KAGGLE_API_TOKEN can also name the file of the token.
        if not _is_file(value):
            secrets.add(value)
    for name in _PROXY_VARIABLES:
        for variable in (name, name.lower()):
            secrets.update(_passwords(os.environ.get(variable, "")))
    secrets.discard("practice")  # the practice Kaggle's public key
    found: set[str] = set()
    for secret in secrets:
        forms = {secret, secret.strip(), *secret.split()}
        forms |= {repr(form)[1:-1] for form in forms}
        forms |= {urllib.parse.quote(form, safe="", errors="replace") for form in forms}
        user = os.environ.get("KAGGLE_USERNAME", "")
        pair = f"{user}:{secret}".encode("utf-8", "surrogateescape")
        forms.add(base64.b64encode(pair).decode())
        found |= {form for form in forms if len(form) >= _MIN_SECRET}
    return found


def _passwords(url: str) -> list[str]:
    """Return the password in a URL, quoted and unquoted."""
    match = re.match(r"[^/]*//[^/@]*:([^/]*)@", url)
    return [match[1], urllib.parse.unquote(match[1])] if match else []


def _is_file(text: str) -> bool:
    """Return whether a text is the path of something that exists."""
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False
