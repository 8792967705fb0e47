"""What commands have in common: the console, lines for people, the door to Kaggle, the score."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def make_console() -> Console:
    """Return the console; a log or a pipe has no width to keep to, rich would assume 80 columns."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def print_line(console: Console, line: str) -> None:
    """Print a line as it is: no colours for numbers, no breaks in paths."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)
