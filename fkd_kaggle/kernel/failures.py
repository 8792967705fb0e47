"""Causes of failed kernels: one line made from the log and Kaggle's message.

Reads the lines that the caller passes; sends no requests and prints nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fkd_kaggle import errors
from fkd_kaggle.kaggle_api.kernels import KernelStatus

_TRACEBACK: Final = "Traceback (most recent call last)"

_FRAME: Final = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<name>\S+))?')

_NOTEBOOK_FRAME: Final = re.compile(
    r"^\s*File (?P<file>\S+\.py):(?P<line>\d+)(?:, in (?P<name>[\w.<>]+))?"
)
"""A frame as IPython prints it."""

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
"""Control codes in the tracebacks of notebooks."""

_OWN_ERRORS: Final = frozenset(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.FkdError)
)
"""Names of this package's exceptions; IPython prints them without their module."""

_EXCEPTION: Final = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<what>.*))?$")

_MISSING: Final = re.compile(r"No module named '([^']+)'")

_WRAPPED: Final = "Exception encountered when calling"
"""Start of the message with which Keras wraps the exception of a layer."""

_OWN_FILE: Final = re.compile(r"(?:^|[/\\])(fkd_kaggle[/\\].+\.py)$")

_LONGEST: Final = 300
"""Characters of a reason that are kept."""


@dataclass(frozen=True)
class Failure:
    """The cause of a failure, as found in a log."""

    reason: str
    """One line; empty if the log names no cause."""
    where: str
    """Last frame of the traceback in this package: file, line, function; empty if there is none."""
    tail: tuple[str, ...]
    """Last lines of the traceback, or of the log."""


def find_failure(lines: Sequence[str]) -> Failure:
    """Find the last traceback in a log, or the last line after it that starts with "error:".

    A traceback before an error line is harmless: the script has gone on.

    Parameters
    ----------
    lines
        Lines of the log.
    """
    lines = [_COLOURS.sub("", line) for line in lines]
    starts = [number for number, line in enumerate(lines) if _TRACEBACK in line]
    after = lines[starts[-1] + 1 :] if starts else lines
    block = _traceback_block(after) if starts else []
    rest = [line.strip() for line in after if line.strip()][len(block) :]
    errors = [line for line in rest if line.lower().startswith("error:")]
    if errors or not starts:
        reason = errors[-1][len("error:") :].strip() if errors else ""
        return Failure(reason[:_LONGEST], "", tuple(line for line in lines if line.strip())[-8:])
    frames = [
        match for line in block if (match := _FRAME.match(line) or _NOTEBOOK_FRAME.match(line))
    ]
    own = [match for match in frames if _OWN_FILE.search(match["file"])]
    ending = next((line.strip() for line in reversed(block) if _is_exception(line)), "")
    if _WRAPPED in ending:
        # Keras prints the layer's name first, and the cause after an empty line.
        ending = f"{ending.split(_WRAPPED)[0]}{rest[0]}" if rest else ending
    return Failure(_reason(ending), _location(own[-1]) if own else "", tuple(block[-8:]))


def explain_failure(kernel: str, status: KernelStatus, lines: Sequence[str], took: str) -> str:
    """Return one line with a kernel's end, its cause and the failing line of this package.

    Parameters
    ----------
    kernel
        "owner/slug".
    status
        Kaggle's status of the kernel.
    lines
        The kernel's log.
    took
        Running time, as text.
    """
    if status.state != "error":
        return f"kernel {kernel} was cancelled after {took}"
    failure = find_failure(lines)
    missing = _MISSING.search(failure.reason)
    if missing:
        why = f"Kaggle's image has no package {missing[1]!r}"
    else:
        why = (
            failure.reason
            or " ".join(status.message.split())[:_LONGEST]
            or "its log names no cause"
        )
    where = f", in {failure.where}" if failure.where else ""
    also = f" ({' '.join(status.message.split())})" if status.message and failure.reason else ""
    return f"kernel {kernel} failed after {took}: {why}{where}{also}"


def _traceback_block(lines: Sequence[str]) -> list[str]:
    """Return the lines of a traceback, up to and including its exception."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
        if block and not line.startswith(" ") and _is_exception(line):
            # Further lines continue the exception's message; the first line suffices.
            break
    return block


def _is_exception(line: str) -> bool:
    """Return whether a line has the form of the exception at the end of a traceback."""
    match = None if line.startswith(" ") else _EXCEPTION.match(line.strip())
    return match is not None


def _reason(ending: str) -> str:
    """Return the class and message of the exception in a traceback's last line."""
    match = _EXCEPTION.match(ending)
    if match is None:
        return ending[:_LONGEST]
    kind = match["kind"].rsplit(".", 1)[-1]
    what = (match["what"] or "").strip()
    if (match["kind"].startswith("fkd_kaggle.") or kind in _OWN_ERRORS) and what:
        return what[:_LONGEST]  # Messages of this package are written for users.
    return f"{kind}: {what}"[:_LONGEST] if what else kind


def _location(frame: re.Match[str]) -> str:
    """Return file, line and function of a frame in this package."""
    path = _OWN_FILE.search(frame["file"])
    assert path is not None
    name = f" ({frame['name']})" if frame["name"] and frame["name"] != "<module>" else ""
    return f"{path[1]} line {frame['line']}{name}"
