"""The console on which commands print, and the exit code after Ctrl-C."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells define it."""


def make_console() -> Console:
    """Return the console: as wide as the terminal, or 160 columns for a log or a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def print_line(console: Console, line: str) -> None:
    """Print a line without highlighting numbers, breaking paths or interpreting markup."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)
