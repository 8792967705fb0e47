"""Standard output and standard error that can always be written to.

Printing never ends a job: characters that the output's encoding lacks are replaced, and errors of
writing, such as a closed pipe, are recorded instead of raised.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO

_PLAIN: Final = str.maketrans(
    {
        "–": "-", "—": "-", "−": "-", "×": "x", "…": "...", "²": "2", "·": ".", "→": "->",
        "←": "<-", "≤": "<=", "≥": ">=", "≈": "~", "±": "+-", "‘": "'", "’": "'", "“": '"',
        "”": '"', "█": "#", "━": "-", "╸": "-", "╺": "-", "─": "-", "•": "*", "✓": "+", "✗": "x",
    }
)  # fmt: skip
"""Typographic characters of this package's output, and what replaces them in other encodings."""

_ENCODING_ERRORS: Final = "fkd-kaggle-plain"
"""Name of the handler for characters that an encoding lacks."""


@contextmanager
def protected_streams() -> Iterator[OutputFailures]:
    """Make the standard output and error streams safe to write to within the context.

    Characters that the stream's encoding lacks are replaced. Errors of writing (a closed pipe, a
    full disk behind a redirection) are recorded instead of raised. Missing streams (``>&-``) become
    the null device. Yields the recorded errors.
    """
    codecs.register_error(_ENCODING_ERRORS, _replace_unencodable)
    _open_missing_descriptors()
    failures = OutputFailures()
    before = sys.stdout, sys.stderr
    sys.stdout = _protected(sys.stdout, failures)
    sys.stderr = _protected(sys.stderr, failures)
    try:
        yield failures
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = before


class OutputFailures:
    """The first error of writing to a standard stream, other than a pipe closed by its reader."""

    def __init__(self) -> None:
        self.error: OSError | None = None

    def record(self, error: OSError) -> None:
        """Record an error. A reader such as ``head`` closes the pipe when it has enough."""
        if self.error is None and error.errno != errno.EPIPE:
            self.error = error


class _LenientFile(io.FileIO):
    """A file descriptor to which writing does not fail: after an error, output is dropped."""

    def __init__(self, descriptor: int, failures: OutputFailures) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._failures, self._is_broken = failures, False

    def write(self, data: Any) -> int:
        """Write bytes and return how many; all of them if the output is broken."""
        if not self._is_broken:
            try:
                written = super().write(data)
            except BlockingIOError:
                raise
            except OSError as error:
                self._is_broken = True
                self._failures.record(error)
            else:
                return len(data) if written is None else written
        return len(data)


def _protected(stream: TextIO | None, failures: OutputFailures) -> TextIO:
    """Return a stream that writes to the same file as ``stream`` and never raises an error."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    try:
        stream.flush()
        raw = _LenientFile(stream.fileno(), failures)
    except (OSError, ValueError, AttributeError):
        return stream  # not a file: a notebook's or a test's stream
    if sys.platform == "win32" and stream.isatty():  # writes Unicode through the console's API
        stream.reconfigure(errors=_ENCODING_ERRORS)  # type: ignore[attr-defined]
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding or "utf-8",
        errors=_ENCODING_ERRORS,
        line_buffering=True,
        write_through=stream is sys.stderr,
    )


def _open_missing_descriptors() -> None:
    """Open descriptors 0 to 2 if they are closed, so that no data file gets their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)


def _replace_unencodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return a replacement for characters that an encoding lacks, and the next position."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end
