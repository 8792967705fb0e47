"""Scores of submissions as Kaggle computes them: RMSE on a public and a private share of the rows.

Reads files strictly; the messages follow Kaggle's submission parser. Stores nothing and knows no
server.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from fkd_kaggle.data.submission import HEADER
from fkd_kaggle.errors import DataError

_PUBLIC_SHARE: Final = 0.5

_UNREADABLE: Final = (
    ValueError,  # of pandas: no text, rows of different lengths, several files in an archive
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # of zipfile: encrypted, or compressed by an unknown method
)
"""Exceptions for files that are not CSV files and for archives that cannot be unpacked."""


class MalformedSubmissionError(Exception):
    """A submission that cannot be scored; ``str()`` is the reason that Kaggle shows."""


@dataclass(frozen=True)
class Scores:
    """RMSE in pixels on the two shares of the rows."""

    public: float
    private: float


@dataclass(frozen=True)
class Scorer:
    """The rows that a submission must have and, if known, their solution."""

    row_ids: np.ndarray
    """(M,) int64, ascending."""
    solution: np.ndarray | None
    """(M,) float64 pixels in the order of ``row_ids``; None if unknown."""

    def read(self, path: Path) -> np.ndarray:
        """Return a submission's (M,) float64 pixels in the order of ``row_ids``.

        Parameters
        ----------
        path
            A CSV file, plain or zipped.

        Raises
        ------
        MalformedSubmissionError
            Names the problem and the line, as Kaggle does.
        """
        return _read(path, self.row_ids)

    def score(self, values: np.ndarray) -> Scores | None:
        """Return the scores of a submission; None without a solution.

        Parameters
        ----------
        values
            (M,) pixels in the order of ``row_ids``.
        """
        if self.solution is None:
            return None
        with np.errstate(over="ignore"):
            squares = (values - self.solution) ** 2
        public = public_rows(self.row_ids)
        if public.all() or not public.any():  # a few rows may all be in the same share
            return Scores(_root_mean(squares), _root_mean(squares))
        return Scores(_root_mean(squares[public]), _root_mean(squares[~public]))


def public_rows(row_ids: np.ndarray) -> np.ndarray:
    """Return (M,) bool: the rows of the public score, chosen by their RowId alone.

    Parameters
    ----------
    row_ids
        (M,) int64, in any order.
    """
    # splitmix64: half of the rows without a pattern, the same half on every machine.
    mixed = row_ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    share: np.ndarray = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53 < _PUBLIC_SHARE
    return share


def read_solution(path: Path, row_ids: np.ndarray) -> np.ndarray:
    """Return the solution's (M,) float64 pixels in the order of ``row_ids``.

    Parameters
    ----------
    path
        CSV file with the columns RowId and Location; others are ignored.
    row_ids
        (M,) int64, ascending.

    Raises
    ------
    DataError
        The file is missing, or its rows are not those of ``row_ids``.
    """
    try:
        return _read(path, row_ids, extra_columns=True)
    except FileNotFoundError:
        raise DataError(f"there is no solution file {path}") from None
    except MalformedSubmissionError as error:
        reason = str(error).removeprefix("ERROR: ")
        raise DataError(f"the solution in {path} does not fit the data: {reason}") from None


def _read(path: Path, row_ids: np.ndarray, *, extra_columns: bool = False) -> np.ndarray:
    """Return the file's (M,) locations sorted by RowId."""
    table = _read_table(path)
    for number, name in enumerate(HEADER, start=1):
        if name not in table:
            raise MalformedSubmissionError(
                f"ERROR: Required column '{name}' could not be found (Line 1, Column {number})"
            )
    unexpected = [name for name in table if name not in HEADER]
    if unexpected and not extra_columns:
        raise MalformedSubmissionError(
            f"ERROR: The column header '{unexpected[0]}' was not expected (Line 1)"
        )
    keys = _read_numbers(table, "RowId")
    values = _read_numbers(table, "Location")
    _check_keys(table["RowId"], keys, row_ids)
    order = np.argsort(keys)
    return values[order]


def _read_table(path: Path) -> pd.DataFrame:
    """Return the file's fields as text."""
    try:
        table = pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=True,
            encoding="utf-8-sig",
            index_col=False,
            na_filter=False,
            on_bad_lines="error",
            compression="zip" if zipfile.is_zipfile(path) else None,
        )
    except pd.errors.EmptyDataError:
        raise MalformedSubmissionError("ERROR: The submission is empty") from None
    except _UNREADABLE:
        raise MalformedSubmissionError(
            "ERROR: The submission is not a CSV file: its rows differ in their number of fields "
            "or it is not text"
        ) from None
    table.columns = [str(name).strip() for name in table.columns]
    if table.columns.has_duplicates:
        raise MalformedSubmissionError("ERROR: A column appears twice in the header (Line 1)")
    return table


def _read_numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as (M,) finite float64."""
    numbers = pd.to_numeric(table[column].str.strip(), errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = int(wrong.argmax())
        position = f"(Line {row + 2}, Column {list(table).index(column) + 1})"
        text = str(table[column].iloc[row])[:40]
        raise MalformedSubmissionError(
            f"ERROR: The value '{text}' in the column '{column}' must be a finite number {position}"
        )
    return numbers


def _check_keys(texts: pd.Series, keys: np.ndarray, row_ids: np.ndarray) -> None:
    """Refuse RowIds that are unknown, repeated or missing."""
    unknown = ~np.isin(keys, row_ids)
    if unknown.any():
        row = int(unknown.argmax())
        raise MalformedSubmissionError(
            f"ERROR: The value '{str(texts.iloc[row])[:40]}' in the key column 'RowId' was not "
            f"expected (Line {row + 2}, Column 1)"
        )
    repeated = pd.Series(keys).duplicated().to_numpy()
    if repeated.any():
        row = int(repeated.argmax())
        raise MalformedSubmissionError(
            f"ERROR: The value '{texts.iloc[row]}' in the key column 'RowId' has already been "
            f"defined (Line {row + 2}, Column 1)"
        )
    missing = len(row_ids) - len(keys)
    if missing:
        first = row_ids[~np.isin(row_ids, keys)][0]
        raise MalformedSubmissionError(
            f"ERROR: Unable to find {missing} required key values in the 'RowId' column, the first "
            f"being {first}"
        )


def _root_mean(squares: np.ndarray) -> float:
    return float(np.sqrt(squares.mean()))
