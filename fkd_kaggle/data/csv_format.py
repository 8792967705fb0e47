"""The competition's CSV files → ``Faces`` and ``Lookup``, checked at the door and cached.

The only room that parses or writes the competition's formats. A CSV is parsed once, by whole-array
byte arithmetic instead of text splitting, into ``.cache`` beside it; afterwards it is mapped into
memory. A changed file is noticed by size, time and content and parsed again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from fkd_kaggle.data.faces import PIXELS, Faces, Lookup
from fkd_kaggle.errors import DataError, unknown_name
from fkd_kaggle.keypoints import COLUMNS, IMAGE_SIZE, NUM_KEYPOINTS

_BLOCK_ROWS = 64  # about 2 MB of text: the working arrays stay in the CPU's cache


def write_training_csv(path: Path, faces: Faces) -> None:
    """Write faces as training.csv has them; unlabelled coordinates are empty."""
    with path.open("w", encoding="ascii", newline="") as stream:
        stream.write(",".join((*COLUMNS, "Image")) + "\n")
        for image, keypoints in zip(faces.images, faces.keypoints, strict=True):
            # repr of a float32 keeps every bit and adds none.
            values = ["" if np.isnan(value) else str(value) for value in keypoints.ravel()]
            stream.write(",".join((*values, _pixels(image))) + "\n")


def write_test_csv(path: Path, faces: Faces) -> None:
    """Write faces as test.csv has them."""
    with path.open("w", encoding="ascii", newline="") as stream:
        stream.write("ImageId,Image\n")
        for number, image in zip(faces.ids, faces.images, strict=True):
            stream.write(f"{number},{_pixels(image)}\n")


def write_lookup_csv(path: Path, lookup: Lookup) -> None:
    """Write a lookup table as the competition has it: CRLF, three fields under four names."""
    with path.open("w", encoding="ascii", newline="") as stream:
        stream.write("RowId,ImageId,FeatureName,Location\r\n")
        for row, image, feature in zip(
            lookup.row_ids, lookup.image_ids, lookup.features, strict=True
        ):
            stream.write(f"{row},{image},{COLUMNS[feature]}\r\n")


def _pixels(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel().tolist()))


def parse_training(path: Path, content: bytes) -> dict[str, np.ndarray]:
    table, images = _split_images(path, _rows(path, content, (*COLUMNS, "Image")))
    values = np.stack([_numbers(path, table, column) for column in COLUMNS], 1)
    keypoints = values.astype(np.float32).reshape(-1, NUM_KEYPOINTS, 2)
    rows, points = np.nonzero(np.isnan(keypoints[..., 0]) != np.isnan(keypoints[..., 1]))
    if len(rows):
        axis = int(np.isnan(keypoints[rows[0], points[0], 1]))
        _fail(path, rows[0], COLUMNS[2 * points[0] + axis], "x and y must both be there or neither")
    return {"images": images, "keypoints": keypoints}


def parse_test(path: Path, content: bytes) -> dict[str, np.ndarray]:
    table, images = _split_images(path, _rows(path, content, ("ImageId", "Image")))
    ids = _integers(path, table, "ImageId")
    _unique(path, ids, "ImageId")
    return {"images": images, "ids": ids}


def parse_lookup(path: Path, content: bytes) -> dict[str, np.ndarray]:
    wanted = ("RowId", "ImageId", "FeatureName", "Location")
    text = _decode(path, content)
    records = _records(path, text)
    if not records or not any(records[0]):
        raise DataError(f"{path} is empty: run `fkd-kaggle fetch --force`")
    header = [name.strip() for name in records[0]]
    for name in wanted[:3]:
        if name not in header:
            raise DataError(f"{path} has no column {name}: its header is {_short(header)}")
    # Kaggle's own rows end before the last column; three fields under four names are right.
    places = [header.index(name) for name in wanted[:3]]
    body = [record for record in records[1:] if record]
    if not body:
        raise DataError(f"{path} has a header and no rows: run `fkd-kaggle fetch --force`")
    for number, record in enumerate(body):
        if len(record) <= max(places):
            _fail(path, number, "FeatureName", f"{len(record)} fields where at least 3 are due")
    table = pd.DataFrame([[record[place] for place in places] for record in body])
    table.columns = list(wanted[:3])
    known = {name: position for position, name in enumerate(COLUMNS)}
    features = table["FeatureName"].str.strip().map(known)
    if features.isna().any():
        row = int(features.isna().to_numpy().argmax())
        _fail(path, row, "FeatureName", unknown_name("feature", body[row][places[2]][:60], COLUMNS))
    row_ids = _integers(path, table, "RowId")
    _unique(path, row_ids, "RowId")
    return {
        "row_ids": row_ids,
        "image_ids": _integers(path, table, "ImageId"),
        "features": features.to_numpy(np.int16),
    }


def _decode(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not text (byte {error.start})") from None


@dataclass(frozen=True)
class _Rows:
    """The rows of a CSV: its column names, its bytes and where each row begins and ends."""

    columns: list[str]
    content: bytes
    starts: np.ndarray
    ends: np.ndarray


def _rows(path: Path, content: bytes, wanted: Sequence[str]) -> _Rows:
    """Find the rows of a file whose columns must be just ``wanted``, in any order."""
    if not content or content.isspace():
        raise DataError(f"{path} is empty: run `fkd-kaggle fetch --force`")
    head = content[: content.find(b"\n")] if b"\n" in content else content
    columns = [name.strip().strip('"') for name in _decode(path, head).split(",")]
    for name in wanted:
        if name not in columns:
            raise DataError(f"{path} has no column {name}: its header is {_short(columns)}")
    for name in columns:
        if name not in wanted:
            raise DataError(f"{path}: " + unknown_name("column", name[:80], wanted))
        if columns.count(name) > 1:
            raise DataError(f"{path} has column {name} twice")
    start = len(head) + 1
    ends = np.flatnonzero(np.frombuffer(content, np.uint8)[start:] == 10) + start
    if not len(ends) or ends[-1] != len(content) - 1:
        ends = np.append(ends, len(content))
    starts = np.concatenate([[start], ends[:-1] + 1])
    filled = ends - starts > 1  # an empty line, with or without a carriage return, is no row
    if not filled.any():
        raise DataError(f"{path} has a header and no rows: run `fkd-kaggle fetch --force`")
    return _Rows(columns, content, starts[filled], ends[filled])


def _split_images(path: Path, rows: _Rows) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the other columns as text and the (N, 96, 96) uint8 images."""
    if rows.columns[-1] != "Image" or b'"' in rows.content:
        return _split_images_slowly(path, rows)
    due = len(rows.columns) - 1
    cuts = np.empty_like(rows.starts)
    for row, (start, end) in enumerate(zip(rows.starts.tolist(), rows.ends.tolist(), strict=True)):
        # The last comma is before the image, unless there are too many.
        cuts[row] = cut = rows.content.rfind(b",", start, end)
        count = 0 if cut < 0 else rows.content.count(b",", start, cut) + 1
        if count != due:
            _fail(path, row, "Image", f"{count + 1} fields where {due + 1} are due")
    others = b"\n".join(
        rows.content[start:cut] for start, cut in zip(rows.starts, cuts, strict=True)
    )
    # One column comes out as an empty line where it is empty, hence skip_blank_lines.
    table = pd.read_csv(
        io.BytesIO(others), header=None, names=rows.columns[:-1], dtype=str,
        keep_default_na=False, skip_blank_lines=False,
        # A lone carriage return is a wrong character in a cell, not a row; so is any odd byte.
        lineterminator="\n", encoding="latin-1",
    )  # fmt: skip
    images = np.empty((len(cuts), PIXELS), np.uint8)

    def parse(begin: int) -> None:
        block = slice(begin, begin + _BLOCK_ROWS)
        pixels = _parse_pixels(rows, cuts[block], rows.starts[block], rows.ends[block])
        if pixels is None:
            for row in range(begin, min(begin + _BLOCK_ROWS, len(cuts))):
                text = rows.content[cuts[row] + 1 : rows.ends[row]]
                images[row] = _parse_one(path, row, text.decode("latin-1"))
        else:
            images[block] = pixels

    # numpy's loops release the interpreter lock, so threads do help.
    with ThreadPoolExecutor() as pool:
        list(pool.map(parse, range(0, len(cuts), _BLOCK_ROWS)))
    return table, images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def _parse_pixels(
    rows: _Rows, cuts: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray | None:
    """Return (R, 9216) uint8 for a block of rows, or None where anything at all is odd.

    Every byte computes, from itself and the two before it, the number that would end there; the
    bytes where a number does end are then picked out.
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
    value[2:] += 100 * hundreds  # wraps above 255, which the next line sees
    too_large = (hundreds > 2) | ((hundreds == 2) & (value[2:] < 200))
    four = is_digit[3:] & is_digit[2:-1] & is_digit[1:-2] & is_digit[:-3]
    if too_large.any() or four.any():
        return None
    last = is_digit
    last[:-1] &= ~is_digit[1:]
    # Their positions first: picking by the mask itself takes three times as long.
    found = np.flatnonzero(last)
    if len(found) != len(starts) * PIXELS:
        return None
    by_row = found.reshape(-1, PIXELS)
    if (by_row[:, 0] < starts - starts[0]).any() or (by_row[:, -1] > ends - starts[0]).any():
        return None
    return value.take(by_row)


def _split_images_slowly(path: Path, rows: _Rows) -> tuple[pd.DataFrame, np.ndarray]:
    """Do as ``_split_images`` for quoted fields or an Image column that is not the last."""
    csv.field_size_limit(1 << 24)
    records = [record for record in _records(path, _decode(path, rows.content)) if record][1:]
    for row, record in enumerate(records):
        if len(record) != len(rows.columns):
            due = len(rows.columns)
            _fail(path, row, "Image", f"{len(record)} fields where {due} are due")
    table = pd.DataFrame(records, columns=rows.columns, dtype=str)
    images = [_parse_one(path, row, text) for row, text in enumerate(table.pop("Image"))]
    return table, np.stack(images).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def _parse_one(path: Path, row: int, text: str) -> np.ndarray:
    """Return (9216,) uint8 from one Image field, or say what is wrong with it."""
    fields = text.split()
    if len(fields) != PIXELS:
        _fail(path, row, "Image", f"{len(fields)} pixels where {PIXELS} are due")
    for place, field in enumerate(fields):
        if not (field.isascii() and field.isdigit() and int(field) <= 255):
            what = f"pixel {place + 1} is {field[:20]!r}, not a whole number from 0 to 255"
            _fail(path, row, "Image", what)
    return np.array(fields, np.uint8)


def _numbers(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """Return (N,) float64 of a text column; empty is NaN."""
    text = table[column].str.strip()
    values = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    wrong = (np.isnan(values) & ~text.str.lower().isin(["", "nan"])) | np.isinf(values)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        _fail(path, row, column, f"{text.iloc[row][:40]!r} is not a number")
    return values


def _integers(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """Return (N,) int64 of a text column."""
    text = table[column].str.strip()
    wrong = ~text.str.fullmatch(r"\d{1,18}")
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        _fail(path, row, column, f"{text.iloc[row][:40]!r} is not a whole number")
    return text.astype(np.int64).to_numpy()


def _unique(path: Path, values: np.ndarray, column: str) -> None:
    """Refuse a value that stands twice."""
    _, first, counts = np.unique(values, return_index=True, return_counts=True)
    if (counts > 1).any():
        again = values[first[counts > 1].min()]
        row = int(np.flatnonzero(values == again)[1])
        _fail(path, row, column, f"{again} stands twice")


def _records(path: Path, text: str) -> list[list[str]]:
    """Return the fields of every row of a CSV, quotes and all."""
    try:
        return list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}; look for a stray quote") from error


def _short(columns: Sequence[str]) -> str:
    text = ",".join(columns)
    return text if len(text) <= 80 else text[:77] + "…"


def _fail(path: Path, row: int, column: str, what: str) -> NoReturn:
    """Raise the error for a data row, counted from 0 here and from 1 for people."""
    raise DataError(f"{path}, row {row + 1}, column {column}: {what}")
