"""Rows of a CSV file: finding them, splitting off the images, converting cells.

Images are parsed by whole-array byte arithmetic instead of text splitting. A wrong cell is reported
by file, row and column. Which columns a file has is defined in ``csv_format``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
import pandas as pd

from fkd_kaggle.data.csv_text import plain_csv
from fkd_kaggle.data.faces import PIXELS
from fkd_kaggle.errors import DataError, unknown_name
from fkd_kaggle.keypoints import IMAGE_SIZE

_UNNAMED: Final = "\0unnamed "
"""Begins the name given to a column without a name."""

_MISSING: Final = frozenset(
    ["", "-nan", "<na>", "#n/a", "#na", "n/a", "na", "nan", "nil", "none", "null", "-", "?"]
)
"""Spellings of a missing number, in lower case."""

_BLOCK_ROWS: Final = 64  # about 2 MB of text: the working arrays stay in the CPU's cache


@dataclass(frozen=True)
class CsvRows:
    """The data rows of a CSV: column names, bytes, and where each row begins and ends."""

    columns: list[str]
    content: bytes
    starts: np.ndarray
    """(N,) int64 offsets into ``content``."""
    ends: np.ndarray
    """(N,) int64 offsets into ``content``, exclusive."""


def find_rows(path: Path, content: bytes, wanted: Sequence[str]) -> CsvRows:
    """Find the rows of a file whose columns must be exactly ``wanted``, in any order.

    Raises
    ------
    DataError
        The file is empty, has no rows, or has other columns.
    """
    content = plain_csv(path, content)
    if not content or content.isspace():
        raise empty_file(path)
    head = content[: content.find(b"\n")] if b"\n" in content else content
    columns = header_columns(decode_text(path, head).split(","), wanted)
    check_columns(path, columns, wanted)
    for name in columns:
        if name.startswith(_UNNAMED):
            continue
        if name not in wanted:
            raise DataError(f"{path}: " + unknown_name("column", name[:80], wanted))
        if columns.count(name) > 1:
            raise DataError(f"{path} has column {name} twice")
    start = len(head) + 1
    ends = np.flatnonzero(np.frombuffer(content, np.uint8)[start:] == 10) + start
    if not len(ends) or ends[-1] != len(content) - 1:
        ends = np.append(ends, len(content))
    starts = np.concatenate([[start], ends[:-1] + 1])
    lengths = ends - starts
    # An empty line, with or without a carriage return, is no row.
    filled = lengths > 1
    filled |= (lengths == 1) & (
        np.frombuffer(content, np.uint8)[np.minimum(starts, len(content) - 1)] != ord("\r")
    )
    if not filled.any():
        raise no_rows(path)
    return CsvRows(columns, content, starts[filled], ends[filled])


def header_columns(cells: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the column names of a header: the wanted ones whatever their letter case.

    Columns without a name, such as a pandas index, get unique names that are in no file; their
    cells are ignored.
    """
    known = {name.casefold(): name for name in wanted}
    columns = []
    for position, cell in enumerate(cells):
        name = cell.strip().strip("\"'").strip()
        if not name or name.startswith("Unnamed: "):
            columns.append(f"{_UNNAMED}{position}")
        else:
            columns.append(known.get(name.casefold(), name))
    return columns


def split_images(path: Path, rows: CsvRows) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the other columns as text and the images, (N, 96, 96) uint8.

    Raises
    ------
    DataError
        A row has too many or too few fields, or an image is not 9216 grey values.
    """
    if rows.columns[-1] != "Image" or b'"' in rows.content:
        return _split_images_slowly(path, rows)
    cuts = _image_offsets(path, rows)
    # pandas ignores an empty last line without a line end.
    others = b"".join(
        rows.content[start:cut] + b"\n" for start, cut in zip(rows.starts, cuts, strict=True)
    )
    table = pd.read_csv(
        io.BytesIO(others),
        header=None,
        names=rows.columns[:-1],
        dtype=str,
        keep_default_na=False,
        # An empty cell of a single column is an empty line.
        skip_blank_lines=False,
        # A lone carriage return or an odd byte is a wrong character in a cell, reported later.
        lineterminator="\n",
        encoding="latin-1",
    )
    images = np.empty((len(cuts), PIXELS), np.uint8)

    def parse(begin: int) -> None:
        block = slice(begin, begin + _BLOCK_ROWS)
        pixels = _parse_pixels(rows, cuts[block], rows.starts[block], rows.ends[block])
        if pixels is None:
            for row in range(begin, min(begin + _BLOCK_ROWS, len(cuts))):
                text = rows.content[cuts[row] + 1 : rows.ends[row]]
                images[row] = _parse_image(path, row, text.decode("latin-1"))
        else:
            images[block] = pixels

    # NumPy's loops release the interpreter lock, so threads run in parallel.
    with ThreadPoolExecutor() as pool:
        list(pool.map(parse, range(0, len(cuts), _BLOCK_ROWS)))
    return table, images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def to_numbers(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a text column as (N,) float64, NaN where missing; DataError for other text."""
    text = table[column].str.strip()
    values = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    wrong = (np.isnan(values) & ~text.str.lower().isin(_MISSING)) | np.isinf(values)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        fail(path, row, column, f"{text.iloc[row][:40]!r} is not a number")
    return values


def to_integers(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a text column as (N,) int64; DataError for anything but a whole number."""
    text = table[column].str.strip()
    text = text.str.replace(r"\.0+$", "", regex=True)  # pandas writes whole numbers as 1.0
    wrong = ~text.str.fullmatch(r"[0-9]{1,18}")
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        fail(path, row, column, f"{text.iloc[row][:40]!r} is not a whole number")
    return text.astype(np.int64).to_numpy()


def check_unique(path: Path, values: np.ndarray, column: str) -> None:
    """Raise DataError if a value of an (N,) column occurs twice."""
    _, first, counts = np.unique(values, return_index=True, return_counts=True)
    if (counts > 1).any():
        again = values[first[counts > 1].min()]
        row = int(np.flatnonzero(values == again)[1])
        fail(path, row, column, f"{again} occurs twice")


def check_columns(path: Path, columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise DataError if a wanted column is missing."""
    for name in wanted:
        if name not in columns:
            text = ",".join(columns)
            text = text.replace(_UNNAMED, "")
            shown = text if len(text) <= 80 else text[:77] + "…"
            raise DataError(f"{path} has no column {name}: its header is {shown}")


def split_records(path: Path, text: str) -> list[list[str]]:
    """Return the fields of every row, quotes resolved; DataError if it is not a CSV file."""
    try:
        return list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}; look for a stray quote") from error


def decode_text(path: Path, content: bytes) -> str:
    """Decode UTF-8, with or without byte order mark; DataError names the first wrong byte."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not text (byte {error.start})") from None


def empty_file(path: Path) -> DataError:
    """Return the error for a file without content."""
    return DataError(f"{path} is empty: run `fkd-kaggle fetch --force`")


def no_rows(path: Path) -> DataError:
    """Return the error for a file with a header only."""
    return DataError(f"{path} has a header and no rows: run `fkd-kaggle fetch --force`")


def fail(path: Path, row: int, column: str, problem: str) -> NoReturn:
    """Raise the DataError for a cell; ``row`` counts data rows from 0, the message from 1."""
    raise DataError(f"{path}, row {row + 1}, column {column}: {problem}")


def _image_offsets(path: Path, rows: CsvRows) -> np.ndarray:
    """Return (N,) offsets of the comma before each row's image, which is the last field."""
    due = len(rows.columns) - 1
    cuts = np.empty_like(rows.starts)
    for row, (start, end) in enumerate(zip(rows.starts.tolist(), rows.ends.tolist(), strict=True)):
        cuts[row] = cut = rows.content.rfind(b",", start, end)
        count = 0 if cut < 0 else rows.content.count(b",", start, cut) + 1
        if count != due:
            fail(path, row, "Image", f"{count + 1} fields where {due + 1} are due")
    return cuts


def _parse_pixels(
    rows: CsvRows, cuts: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray | None:
    """Return (R, 9216) uint8 for a block of rows, or None if any byte is unexpected.

    For every byte, the number that would end there is computed from it and the two bytes before;
    the values at the bytes where a number ends are then selected.
    """
    text = np.frombuffer(rows.content, np.uint8)[starts[0] : ends[-1] + 1].copy()
    for start, cut in zip(starts - starts[0], cuts - starts[0], strict=True):
        text[start : cut + 1] = ord(" ")
    digit = text - np.uint8(ord("0"))
    is_digit = digit < 10
    blank = (text == ord(" ")) | (text == ord("\n")) | (text == ord("\r"))
    if not (is_digit | blank).all():
        return None
    digit *= is_digit
    hundreds = digit[:-2] * (is_digit[1:-1] & is_digit[2:])
    value = digit.copy()
    value[1:] += 10 * digit[:-1]
    value[2:] += 100 * hundreds  # wraps above 255, detected on the next line
    too_large = (hundreds > 2) | ((hundreds == 2) & (value[2:] < 200))
    four_digits = is_digit[3:] & is_digit[2:-1] & is_digit[1:-2] & is_digit[:-3]
    if too_large.any() or four_digits.any():
        return None
    last = is_digit
    last[:-1] &= ~is_digit[1:]
    # Positions first: selecting by the mask takes three times as long.
    found = np.flatnonzero(last)
    if len(found) != len(starts) * PIXELS:
        return None
    by_row = found.reshape(-1, PIXELS)
    if (by_row[:, 0] < starts - starts[0]).any() or (by_row[:, -1] > ends - starts[0]).any():
        return None
    return value.take(by_row)


def _split_images_slowly(path: Path, rows: CsvRows) -> tuple[pd.DataFrame, np.ndarray]:
    """Do as ``split_images`` for quoted fields or an Image column that is not the last."""
    text = decode_text(path, rows.content)
    limit = csv.field_size_limit(1 << 24)  # of the whole process
    try:
        records = [record for record in split_records(path, text) if record][1:]
    finally:
        csv.field_size_limit(limit)
    due = len(rows.columns)
    for row, record in enumerate(records):
        if len(record) != due:
            fail(path, row, "Image", f"{len(record)} fields where {due} are due")
    table = pd.DataFrame(records, columns=rows.columns, dtype=str)
    images = [_parse_image(path, row, text) for row, text in enumerate(table.pop("Image"))]
    return table, np.stack(images).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def _parse_image(path: Path, row: int, text: str) -> np.ndarray:
    """Return (9216,) uint8 from one Image field; DataError names the first wrong pixel."""
    fields = text.split()
    if len(fields) != PIXELS:
        fail(path, row, "Image", f"{len(fields)} pixels where {PIXELS} are due")
    for position, field in enumerate(fields, start=1):
        if not (field.isascii() and field.isdigit() and len(field) <= 300 and int(field) <= 255):
            problem = f"pixel {position} is {field[:20]!r}, not a whole number from 0 to 255"
            fail(path, row, "Image", problem)
    return np.array(fields, np.uint8)
