"""A table that leaves out its least important columns where the terminal is too narrow.

Names are never broken. The values of all columns can be written to a CSV file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from fkd_kaggle import files

_GAP: Final = 2
"""Spaces between columns."""


@dataclass(frozen=True)
class Column:
    """A column of a wide table."""

    name: str
    importance: int = 0
    """Columns with large numbers are left out first; columns with 0 never."""
    right: bool = False
    """Whether to align to the right."""
    wraps: int = 0
    """Smallest width of a column whose text may be wrapped; 0 for names and numbers."""


class WideTable:
    """A table of texts that fits itself to the width of the console.

    Parameters
    ----------
    columns
        The columns, from left to right.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.rows: list[tuple[str, ...]] = []
        self._styles: list[str] = []

    @property
    def row_count(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def add_row(self, *cells: str, style: str = "") -> None:
        """Add a row with a text for each column."""
        self.rows.append(cells)
        self._styles.append(style)

    def dropped(self, width: int) -> list[str]:
        """Return the names of the columns that do not fit into a number of characters."""
        kept = self._fitting(width)
        return [column.name for index, column in enumerate(self.columns) if index not in kept]

    def write_csv(self, path: Path) -> None:
        """Write all columns and rows to a CSV file."""
        files.write_csv(path, [column.name for column in self.columns], self.rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the columns that fit."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        kept = self._fitting(options.max_width)
        # Only where not even the most important columns fit, names are folded.
        tight = self._width(kept) > options.max_width
        for index in kept:
            column = self.columns[index]
            table.add_column(
                column.name,
                justify="right" if column.right else "left",
                no_wrap=not column.wraps and (column.right or not tight),
                overflow="fold",
            )
        for row, style in zip(self.rows, self._styles, strict=True):
            table.add_row(*(Text(row[index]) for index in kept), style=style)
        yield table

    def _fitting(self, width: int) -> list[int]:
        """Return the positions of the columns that fit."""
        kept = list(range(len(self.columns)))
        while self._width(kept) > width:
            least = max(kept, key=lambda index: (self.columns[index].importance, index))
            if not self.columns[least].importance:
                break
            kept.remove(least)
        return kept

    def _width(self, kept: Sequence[int]) -> int:
        """Return the smallest width of a table with some of the columns."""
        return sum(map(self._column_width, kept)) + _GAP * max(0, len(kept) - 1)

    def _column_width(self, index: int) -> int:
        column = self.columns[index]
        texts = [column.name, *(row[index] for row in self.rows)]
        widest = max(cell_len(line) for text in texts for line in (text.splitlines() or [""]))
        return min(widest, column.wraps) if column.wraps else widest


def plain_table(*columns: str) -> Table:
    """Return a table without rows; columns whose names start with ``>`` are aligned right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        right = name.startswith(">")
        # Narrow terminals wrap text instead of cutting it, so that users can copy whole names.
        table.add_column(
            name.lstrip(">"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    return table
