"""Reading of submission files that other programs and people wrote.

The columns RowId and Location are found by name; other columns are ignored. The file can be packed,
and in any of the forms that ``csv_text`` knows. Numbers are read strictly: what Kaggle may read
otherwise is refused.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle.data import csv_rows, packed
from fkd_kaggle.data.csv_text import plain_csv
from fkd_kaggle.data.submission import HEADER, Submission
from fkd_kaggle.errors import DataError, SubmissionError

_MAX_BYTES: Final = 1 << 28
"""Largest file after unpacking."""

_ROW_ID: Final = re.compile(r"([0-9]{1,18})(?:\.0*)?")

_LOCATION: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

_PLAIN: Final = re.compile(
    rb"RowId,Location\r?\n(?:[0-9]+,[0-9.eE+-]+\r?\n)*(?:[0-9]+,[0-9.eE+-]+)?"
)
"""The whole content of a file in Kaggle's format."""

_MISSING: Final = ("", "nan", "na", "null", "none")


@dataclass(frozen=True)
class SubmissionFile:
    """The content of a submission file."""

    submission: Submission
    is_plain: bool
    """Whether the file has Kaggle's format exactly and can be uploaded as it is."""


def read_submission(path: Path) -> Submission:
    """Read a submission file; see ``read_submission_file``."""
    return read_submission_file(path).submission


def read_submission_file(path: Path) -> SubmissionFile:
    """Read a submission file.

    Parameters
    ----------
    path
        A CSV file with the columns RowId and Location, plain, in a zip with one CSV file, or
        packed with gzip, bzip2 or xz.

    Raises
    ------
    SubmissionError
        The file is missing, damaged or not a submission; names the first wrong line.
    """
    try:
        content = packed.read_unpacked(
            path,
            lambda member: member.suffix in (".csv", ".tsv", ".txt"),
            "CSV file",
            limit=_MAX_BYTES,
        )
        text = csv_rows.decode_text(path, plain_csv(path, content))
    except DataError as error:
        raise SubmissionError(str(error)) from None
    try:
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise SubmissionError(
            f"cannot read the submission {path}: {error}; look for a stray quote"
        ) from None
    columns = csv_rows.header_columns(lines[0], HEADER) if lines else []
    if any(columns.count(name) != 1 for name in HEADER):
        found = ",".join(lines[0])[:80] if lines else "an empty file"
        raise SubmissionError(
            f"{path} is no submission: expected {','.join(HEADER)}, found {found!r}"
        )
    submission = _parse_rows(path, lines, len(columns), [columns.index(name) for name in HEADER])
    return SubmissionFile(submission, _PLAIN.fullmatch(path.read_bytes()) is not None)


def _parse_rows(path: Path, lines: list[list[str]], width: int, positions: list[int]) -> Submission:
    """Return the rows below the header, blank lines left out."""
    row_ids, locations = [], []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != width:
            raise _wrong_line(path, number, cells, "expected a RowId and a location in pixels")
        row_id, location = (cells[position].strip() for position in positions)
        match = _ROW_ID.fullmatch(row_id)
        if match is None:
            raise _wrong_line(path, number, cells, f"{row_id[:40]!r} is not a RowId")
        if location.lower() in _MISSING:
            raise _wrong_line(path, number, cells, f"RowId {match[1]} has no location")
        value = float(location) if _LOCATION.fullmatch(location) else np.inf
        if not np.isfinite(value):
            raise _wrong_line(path, number, cells, f"{location[:40]!r} is not a number of pixels")
        row_ids.append(int(match[1]))
        locations.append(value)
    return Submission(np.array(row_ids, np.int64), np.array(locations, np.float64))


def _wrong_line(path: Path, number: int, cells: list[str], problem: str) -> SubmissionError:
    """Return the error for a line of a file."""
    return SubmissionError(f"{path} line {number} is {','.join(cells)[:80]!r}: {problem}")
