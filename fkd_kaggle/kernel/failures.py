"""Why a kernel failed: its log and Kaggle's word become one line for people.

Reads lines; asks and prints nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fkd_kaggle.kaggle_api.kernels import KernelStatus

_TRACEBACK: Final = "Traceback (most recent call last)"

_FRAME: Final = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<name>\S+))?')

_EXCEPTION: Final = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<what>.*))?$")

_MISSING: Final = re.compile(r"No module named '([^']+)'")

_WRAPPED: Final = "Exception encountered when calling"

_OURS: Final = re.compile(r"(?:^|[/\\])(fkd_kaggle[/\\].+\.py)$")

_LONGEST: Final = 300


@dataclass(frozen=True)
class Failure:
    """What a log tells about a failure."""

    reason: str
    """In one line; empty where the log says nothing."""
    where: str
    """The line of our code in which it happened; empty where there is none."""
    tail: tuple[str, ...]
    """The last lines of the traceback, or of the log."""


def find_failure(lines: Sequence[str]) -> Failure:
    """Find the last traceback, or the last error, in a log's lines."""
    starts = [number for number, line in enumerate(lines) if _TRACEBACK in line]
    if not starts:
        said = [line.strip() for line in lines if line.strip().lower().startswith("error:")]
        reason = said[-1][len("error:") :].strip() if said else ""
        return Failure(reason[:_LONGEST], "", tuple(line for line in lines if line.strip())[-8:])
    after = lines[starts[-1] + 1 :]
    block = _traceback_block(after)
    frames = [match for match in map(_FRAME.match, block) if match]
    ours = [match for match in frames if _OURS.search(match["file"])]
    ending = next((line.strip() for line in reversed(block) if _is_exception(line)), "")
    if _WRAPPED in ending:
        # Keras says in which layer first, and below, after an empty line, what.
        more = [line.strip() for line in after if line.strip()][len(block) :]
        ending = f"{ending.split(_WRAPPED)[0]}{more[0]}" if more else ending
    return Failure(_reason(ending), _location(ours[-1]) if ours else "", tuple(block[-8:]))


def explain_failure(kernel: str, status: KernelStatus, lines: Sequence[str], took: str) -> str:
    """Return one line: what became of ``kernel``, why, and in which line of our code."""
    if status.state != "error":
        return f"kernel {kernel} was cancelled after {took}"
    failure = find_failure(lines)
    missing = _MISSING.search(failure.reason)
    if missing:
        why = f"Kaggle's image has no package {missing[1]!r}"
    else:
        why = (
            failure.reason or " ".join(status.message.split())[:_LONGEST] or "its log says nothing"
        )
    where = f", in {failure.where}" if failure.where else ""
    also = f" ({' '.join(status.message.split())})" if status.message and failure.reason else ""
    return f"kernel {kernel} failed after {took}: {why}{where}{also}"


def _traceback_block(lines: Sequence[str]) -> list[str]:
    """Return a traceback's lines, up to and with the exception that ends it."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
        if block and not line.startswith(" ") and _is_exception(line):
            # What follows belongs to a message of several lines; one line is enough for people.
            break
    return block


def _is_exception(line: str) -> bool:
    match = None if line.startswith(" ") else _EXCEPTION.match(line.strip())
    return match is not None


def _reason(ending: str) -> str:
    match = _EXCEPTION.match(ending)
    if match is None:
        return ending[:_LONGEST]
    kind = match["kind"].rsplit(".", 1)[-1]
    what = (match["what"] or "").strip()
    if match["kind"].startswith("fkd_kaggle.") and what:
        return what[:_LONGEST]  # a line for users already
    return f"{kind}: {what}"[:_LONGEST] if what else kind


def _location(frame: re.Match[str]) -> str:
    path = _OURS.search(frame["file"])
    assert path is not None
    name = f" ({frame['name']})" if frame["name"] and frame["name"] != "<module>" else ""
    return f"{path[1]} line {frame['line']}{name}"
