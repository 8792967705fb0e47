"""Capturing what one thread prints, while other threads continue to print."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any


@contextmanager
def captured_output() -> Iterator[io.StringIO]:
    """Capture what this thread writes to stdout and stderr; yield the captured text."""
    captured = io.StringIO()
    with (
        redirect_stdout(_ThreadStream(sys.stdout, captured)),
        redirect_stderr(_ThreadStream(sys.stderr, captured)),
    ):
        yield captured


class _ThreadStream:
    """A stream that captures the text of one thread and passes on the text of all others.

    A live display refreshes from its own thread and must stay visible.
    """

    def __init__(self, stream: Any, captured: io.StringIO) -> None:
        self._stream, self._captured = stream, captured
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        own = threading.get_ident() == self._thread
        return int((self._captured if own else self._stream).write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
