"""The competition's CSV formats: training.csv, test.csv and IdLookupTable.csv, parsed and written.

Parsers turn a file's bytes into named arrays and refuse anything else with a message that names
file, row and column. Opens files for writing only; ``dataset`` reads them through ``cache``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from fkd_kaggle.data import csv_rows
from fkd_kaggle.data.csv_text import plain_csv
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.errors import unknown_name
from fkd_kaggle.keypoints import COLUMNS, NUM_KEYPOINTS

_TRAINING_COLUMNS: Final = (*COLUMNS, "Image")
_TEST_COLUMNS: Final = ("ImageId", "Image")
_LOOKUP_COLUMNS: Final = ("RowId", "ImageId", "FeatureName", "Location")


def parse_training(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """Parse training.csv.

    Parameters
    ----------
    path
        Named in messages; not read.
    content
        The file's bytes.

    Returns
    -------
    "images", (N, 96, 96) uint8, and "keypoints", (N, 15, 2) float32 pixels, NaN where unlabelled.

    Raises
    ------
    DataError
        Names the first wrong column or cell.
    """
    table, images = csv_rows.split_images(
        path, csv_rows.find_rows(path, content, _TRAINING_COLUMNS)
    )
    values = np.stack([csv_rows.to_numbers(path, table, column) for column in COLUMNS], 1)
    keypoints = values.astype(np.float32).reshape(-1, NUM_KEYPOINTS, 2)
    missing = np.isnan(keypoints)
    rows, points = np.nonzero(missing[..., 0] != missing[..., 1])
    if len(rows):
        axis = int(missing[rows[0], points[0], 1])
        column = COLUMNS[2 * points[0] + axis]
        csv_rows.fail(path, rows[0], column, "x and y must both be there or neither")
    return {"images": images, "keypoints": keypoints}


def parse_test(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """Parse test.csv.

    Parameters
    ----------
    path
        Named in messages; not read.
    content
        The file's bytes.

    Returns
    -------
    "images", (N, 96, 96) uint8, and "ids", (N,) int64.

    Raises
    ------
    DataError
        Names the first wrong column or cell, or an ImageId that occurs twice.
    """
    table, images = csv_rows.split_images(path, csv_rows.find_rows(path, content, _TEST_COLUMNS))
    ids = csv_rows.to_integers(path, table, "ImageId")
    csv_rows.check_unique(path, ids, "ImageId")
    return {"images": images, "ids": ids}


def parse_lookup(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """Parse IdLookupTable.csv.

    Kaggle's rows have three fields under four column names; more fields are ignored.

    Parameters
    ----------
    path
        Named in messages; not read.
    content
        The file's bytes.

    Returns
    -------
    "row_ids" and "image_ids", (M,) int64, and "features", (M,) int16 positions among
    ``keypoints.COLUMNS``.

    Raises
    ------
    DataError
        Names the first wrong column or cell, or a RowId that occurs twice.
    """
    wanted = _LOOKUP_COLUMNS[:3]
    text = csv_rows.decode_text(path, plain_csv(path, content))
    records = csv_rows.split_records(path, text)
    if not records or not any(records[0]):
        raise csv_rows.empty_file(path)
    header = csv_rows.header_columns(records[0], wanted)
    csv_rows.check_columns(path, header, wanted)
    positions = [header.index(name) for name in wanted]
    body = [record for record in records[1:] if record]
    if not body:
        raise csv_rows.no_rows(path)
    for row, record in enumerate(body):
        if len(record) <= max(positions):
            problem = f"{len(record)} fields where at least 3 are due"
            csv_rows.fail(path, row, "FeatureName", problem)
    table = pd.DataFrame([[record[position] for position in positions] for record in body])
    table.columns = list(wanted)
    features = _to_features(path, table)
    row_ids = csv_rows.to_integers(path, table, "RowId")
    csv_rows.check_unique(path, row_ids, "RowId")
    return {
        "row_ids": row_ids,
        "image_ids": csv_rows.to_integers(path, table, "ImageId"),
        "features": features,
    }


def write_training_csv(path: Path, faces: Faces) -> None:
    """Write faces in training.csv's format; unlabelled coordinates are empty."""
    with path.open("w", encoding="ascii", newline="") as stream:
        stream.write(",".join(_TRAINING_COLUMNS) + "\n")
        for image, keypoints in zip(faces.images, faces.keypoints, strict=True):
            # str of a float32 is the shortest text that parses to the same float32.
            values = ["" if np.isnan(value) else str(value) for value in keypoints.ravel()]
            stream.write(",".join((*values, _format_pixels(image))) + "\n")


def write_test_csv(path: Path, faces: Faces) -> None:
    """Write faces in test.csv's format, without their keypoints."""
    with path.open("w", encoding="ascii", newline="") as stream:
        stream.write(",".join(_TEST_COLUMNS) + "\n")
        for number, image in zip(faces.ids, faces.images, strict=True):
            stream.write(f"{number},{_format_pixels(image)}\n")


def write_lookup_csv(path: Path, lookup: Lookup) -> None:
    """Write a lookup table as Kaggle has it: CRLF, three fields under four column names."""
    with path.open("w", encoding="ascii", newline="") as stream:
        stream.write(",".join(_LOOKUP_COLUMNS) + "\r\n")
        for row, image, feature in zip(
            lookup.row_ids, lookup.image_ids, lookup.features, strict=True
        ):
            stream.write(f"{row},{image},{COLUMNS[feature]}\r\n")


def _to_features(path: Path, table: pd.DataFrame) -> np.ndarray:
    """Return (M,) int16 positions of the FeatureName column among ``COLUMNS``."""
    known = {name: position for position, name in enumerate(COLUMNS)}
    names = table["FeatureName"]
    features = names.str.strip().map(known)
    if features.isna().any():
        row = int(features.isna().to_numpy().argmax())
        problem = unknown_name("feature", names.iloc[row][:60], COLUMNS)
        csv_rows.fail(path, row, "FeatureName", problem)
    return features.to_numpy(np.int16)


def _format_pixels(image: np.ndarray) -> str:
    """Return an image's grey values, row by row, separated by spaces."""
    return " ".join(map(str, image.ravel().tolist()))
