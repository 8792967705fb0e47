"""The competition's CSV files → ``Faces`` and ``Lookup``, checked at the door and cached.

The only room that parses or writes the competition's formats. A CSV is parsed once, by whole-array
byte arithmetic instead of text splitting, into ``.cache`` beside it; afterwards it is mapped into
memory. A changed file is noticed by size, time and content and parsed again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from fkd_kaggle import files
from fkd_kaggle.errors import DataError, FkdError, unknown
from fkd_kaggle.keypoints import COLUMNS, COMPLETE, COUNT, PARTIAL, PARTIAL_SOURCE, SIZE

PIXELS = SIZE * SIZE
_CACHE_VERSION = 2
_BLOCK_ROWS = 64  # about 2 MB of text: the working arrays stay in the CPU's cache


@dataclass(frozen=True)
class Faces:
    """Face images with what is known about their keypoints.

    A label outside the frame is kept as it is: the original has none, and a loss that is robust
    copes better than a rule would.
    """

    images: np.ndarray
    """(N, 96, 96) uint8."""
    keypoints: np.ndarray
    """(N, 15, 2) float32 pixels, x before y; NaN where nobody labelled."""
    ids: np.ndarray
    """(N,) int64: ImageId of test faces, row number from 1 of training faces."""

    @property
    def sources(self) -> np.ndarray:
        """Return (N,) uint8: whose habits each row follows, as its labels tell."""
        others = [point for point in range(COUNT) if point not in PARTIAL]
        labelled = np.isfinite(self.keypoints[:, others, 0]).any(1)
        return np.where(labelled, COMPLETE, PARTIAL_SOURCE).astype(np.uint8)

    def take(self, rows: np.ndarray) -> Faces:
        """Return the faces at ``rows``: positions or a mask."""
        return Faces(self.images[rows], self.keypoints[rows], self.ids[rows])


@dataclass(frozen=True)
class Lookup:
    """What a submission must answer: one row a coordinate."""

    row_ids: np.ndarray
    """(M,) int64."""
    image_ids: np.ndarray
    """(M,) int64."""
    features: np.ndarray
    """(M,) int16: position among ``keypoints.COLUMNS``, that is keypoint · 2 + axis."""

    def sources(self, ids: np.ndarray) -> np.ndarray:
        """Return (N,) uint8: whose habits the test faces ``ids`` were labelled by.

        A face asked for nothing beyond the four common keypoints comes from the partial source.
        """
        beyond = ~np.isin(self.features // 2, PARTIAL)
        complete = np.isin(ids, np.unique(self.image_ids[beyond]))
        return np.where(complete, COMPLETE, PARTIAL_SOURCE).astype(np.uint8)


def read_training(data_dir: Path) -> Faces:
    """Read training.csv.

    Raises
    ------
    DataError
        The file is missing, empty or not in the competition's format; says where.
    """
    path = data_dir / "training.csv"
    arrays = _cached(path, _parse_training)
    count = len(arrays["images"])
    return Faces(arrays["images"], arrays["keypoints"], np.arange(1, count + 1))


def read_test(data_dir: Path) -> Faces:
    """Read test.csv; its keypoints are all NaN.

    Raises
    ------
    DataError
        As ``read_training``; also when an ImageId stands twice.
    """
    arrays = _cached(data_dir / "test.csv", _parse_test)
    unlabelled = np.full((len(arrays["images"]), COUNT, 2), np.nan, np.float32)
    return Faces(arrays["images"], unlabelled, np.array(arrays["ids"]))


def read_lookup(data_dir: Path) -> Lookup:
    """Read IdLookupTable.csv, whose rows have three fields under a header of four.

    Raises
    ------
    DataError
        The file is missing or empty, a row is broken, a RowId stands twice, or a feature is
        unknown.
    """
    arrays = _cached(data_dir / "IdLookupTable.csv", _parse_lookup)
    return Lookup(*(np.array(arrays[name]) for name in ("row_ids", "image_ids", "features")))


def check_lookup(lookup: Lookup, ids: np.ndarray) -> None:
    """Refuse a lookup table that asks for faces the test set lacks.

    Raises
    ------
    DataError
        Names the first such row.
    """
    absent = np.nonzero(~np.isin(lookup.image_ids, ids))[0]
    if len(absent):
        raise DataError(
            f"IdLookupTable.csv asks in RowId {lookup.row_ids[absent[0]]} for ImageId "
            f"{lookup.image_ids[absent[0]]}, which test.csv lacks: the two files are not of one "
            "competition; run `fkd-kaggle fetch --force`"
        )


def fingerprint(data_dir: Path) -> str:
    """Return a hex digest of training.csv's content: what a run was trained on."""
    path = data_dir / "training.csv"
    stamp = _stamp(path)
    note = _read_note(path)
    if note and note["stamp"] == stamp:
        return str(note["sha256"])[:32]
    return files.sha256(path)[:32]


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


# --- cache -------------------------------------------------------------------------------------


def _cached(path: Path, parse: Any) -> dict[str, np.ndarray]:
    """Return the arrays ``parse`` makes of a file, from the cache where it is still true."""
    stamp = _stamp(path)
    note = _read_note(path)
    if note and note["stamp"] != stamp:
        # Touched or copied: the content decides, and a true cache gets the new stamp.
        digest = files.sha256(path)
        note = note if note["sha256"] == digest else None
        if note:
            _write_note(path, {**note, "stamp": stamp})
    if note:
        arrays = _load_arrays(path, note)
        if arrays is not None:
            return arrays
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    with ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(hashlib.sha256, content)  # releases the interpreter lock
        arrays = parse(path, content)
        _store_arrays(path, arrays, stamp, hashed.result().hexdigest())
    return arrays


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: get it with `fkd-kaggle fetch`") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return [status.st_size, status.st_mtime_ns]


def _cache_file(path: Path, name: str) -> Path:
    return path.parent / ".cache" / f"{path.stem}.{name}"


def _read_note(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(_cache_file(path, "json").read_text(encoding="utf-8"))
        whole = {"stamp", "sha256", "arrays"} <= note.keys()
        return note if whole and note["version"] == _CACHE_VERSION else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_note(path: Path, note: dict[str, Any]) -> None:
    try:
        files.write_json(_cache_file(path, "json"), note)
    except (FkdError, OSError):
        return  # a folder that cannot be written costs time, nothing else


def _load_arrays(path: Path, note: dict[str, Any]) -> dict[str, np.ndarray] | None:
    arrays = {}
    for name, (shape, dtype) in note["arrays"].items():
        try:
            # A plain array over the map: fancy-indexed memmaps stay memmaps, which slows others.
            array = np.load(_cache_file(path, f"{name}.npy"), mmap_mode="r").view(np.ndarray)
        except (OSError, ValueError, EOFError):
            return None
        if list(array.shape) != shape or array.dtype.str != dtype:
            return None
        arrays[name] = array
    return arrays


def _store_arrays(path: Path, arrays: dict[str, np.ndarray], stamp: list[int], digest: str) -> None:
    note = {
        "version": _CACHE_VERSION,
        "stamp": stamp,
        "sha256": digest,
        "arrays": {name: [list(array.shape), array.dtype.str] for name, array in arrays.items()},
    }
    try:
        _cache_file(path, "json").unlink(missing_ok=True)
        for name, array in arrays.items():
            with files.atomic_path(_cache_file(path, f"{name}.npy")) as temporary:
                np.save(temporary, array)
    except (FkdError, OSError):
        return
    _write_note(path, note)


# --- parsing -----------------------------------------------------------------------------------


def _parse_training(path: Path, content: bytes) -> dict[str, np.ndarray]:
    table, images = _split_images(path, _rows(path, content, (*COLUMNS, "Image")))
    values = np.stack([_numbers(path, table, column) for column in COLUMNS], 1)
    keypoints = values.astype(np.float32).reshape(-1, COUNT, 2)
    rows, points = np.nonzero(np.isnan(keypoints[..., 0]) != np.isnan(keypoints[..., 1]))
    if len(rows):
        axis = int(np.isnan(keypoints[rows[0], points[0], 1]))
        _fail(path, rows[0], COLUMNS[2 * points[0] + axis], "x and y must both be there or neither")
    return {"images": images, "keypoints": keypoints}


def _parse_test(path: Path, content: bytes) -> dict[str, np.ndarray]:
    table, images = _split_images(path, _rows(path, content, ("ImageId", "Image")))
    ids = _integers(path, table, "ImageId")
    _unique(path, ids, "ImageId")
    return {"images": images, "ids": ids}


def _parse_lookup(path: Path, content: bytes) -> dict[str, np.ndarray]:
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
        _fail(path, row, "FeatureName", unknown("feature", body[row][places[2]][:60], COLUMNS))
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
            raise DataError(f"{path}: " + unknown("column", name[:80], wanted))
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
    return table, images.reshape(-1, SIZE, SIZE)


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
    return table, np.stack(images).reshape(-1, SIZE, SIZE)


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
