"""The console on which commands print, and the exit code after Ctrl-C.

The console interprets no markup and shows control characters of texts as escapes, because names and
messages come from files and servers. Use ``rich.text.Text`` for styles.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells define it."""

_quiet = False


def make_console(*, stderr: bool = False) -> Console:
    """Return the console: as wide as the terminal, or 160 columns for a log or a pipe.

    Parameters
    ----------
    stderr
        Print on standard error, because standard output has a result that a program reads.
    """
    from fkd_kaggle.display.plain_console import PlainConsole

    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    return PlainConsole(width=None if is_terminal else 160, stderr=stderr, quiet=_quiet)


@contextmanager
def silence_output(quiet: bool = True) -> Iterator[None]:
    """Make the consoles that are created within the context print nothing, if ``quiet``."""
    global _quiet
    before, _quiet = _quiet, quiet
    try:
        yield
    finally:
        _quiet = before


def print_line(console: Console, line: str) -> None:
    """Print a line without highlighting numbers, breaking paths or interpreting markup."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)
