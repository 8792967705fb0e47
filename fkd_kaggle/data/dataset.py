"""A data folder: its training faces, test faces and lookup table, read through the cache.

Parsing is done by ``csv_format``, caching by ``cache``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fkd_kaggle.data import array_folder, faces, plausibility
from fkd_kaggle.data.cache import file_digest, file_stamp, load_cached, read_cache_record
from fkd_kaggle.data.csv_format import parse_lookup, parse_test, parse_training
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COMPLETE, NUM_KEYPOINTS, PARTIAL


@dataclass(frozen=True)
class DataSummary:
    """Numbers of faces and queries in a data folder."""

    complete: int
    """Training faces of the complete annotator."""
    partial: int
    """Training faces of the partial annotator."""
    test_complete: int
    """Test faces of the complete annotator."""
    test_partial: int
    """Test faces of the partial annotator."""
    queries: int
    """Rows of the lookup table."""


def read_training(data_dir: Path) -> Faces:
    """Read training.csv, or the arrays of a folder that has none (``array_folder``).

    Raises
    ------
    DataError
        The file is missing, empty or not in the competition's format; names the position.
    """
    if array_folder.is_array_folder(data_dir):
        return array_folder.read_array_folder(data_dir)
    arrays = load_cached(data_dir / "training.csv", parse_training)
    count = len(arrays["images"])
    return Faces(arrays["images"], arrays["keypoints"], np.arange(1, count + 1))


def read_plausible_training(data_dir: Path, *, accept_implausible: bool = False) -> Faces:
    """Read training.csv and refuse labels that are not pixels of the faces.

    Parameters
    ----------
    data_dir
        The data folder.
    accept_implausible
        Whether to refuse only data without any label.

    Raises
    ------
    DataError
        As ``read_training`` and ``plausibility.check_training``.
    """
    training = read_training(data_dir)
    try:
        plausibility.check_training(training, accept=accept_implausible)
    except DataError as error:
        raise DataError(f"{data_dir}{os.sep}{error}") from None
    return training


def read_test(data_dir: Path) -> Faces:
    """Read test.csv; its keypoints are all NaN.

    Raises
    ------
    DataError
        As ``read_training``; also if an ImageId occurs twice.
    """
    arrays = load_cached(data_dir / "test.csv", parse_test)
    unlabelled = np.full((len(arrays["images"]), NUM_KEYPOINTS, 2), np.nan, np.float32)
    return Faces(arrays["images"], unlabelled, np.array(arrays["ids"]))


def read_lookup(data_dir: Path) -> Lookup:
    """Read IdLookupTable.csv, whose rows have three fields under a header of four.

    Raises
    ------
    DataError
        The file is missing or empty, a row is incomplete, a RowId occurs twice, or a feature is
        unknown.
    """
    arrays = load_cached(data_dir / "IdLookupTable.csv", parse_lookup)
    return Lookup(*(np.array(arrays[name]) for name in ("row_ids", "image_ids", "features")))


def read_test_and_lookup(data_dir: Path) -> tuple[Faces, Lookup]:
    """Read the test faces and the lookup table and check that they fit each other.

    Raises
    ------
    DataError
        A file is missing or wrong, or the lookup table queries a missing face.
    """
    test, lookup = read_test(data_dir), read_lookup(data_dir)
    faces.check_lookup(lookup, test.ids)
    return test, lookup


def read_test_if_present(data_dir: Path) -> tuple[Faces, np.ndarray] | None:
    """Return the test faces and their annotators, (N,) uint8; None without a valid test set."""
    try:
        test, lookup = read_test(data_dir), read_lookup(data_dir)
    except DataError:
        return None
    return test, lookup.annotators(test.ids)


def count_queries(data_dir: Path, training_faces: Faces) -> np.ndarray:
    """Return (2, 15) float64: values that the lookup table queries, by annotator and keypoint.

    Without a test set, the number of labelled values in ``training_faces`` is returned instead.
    """
    counts = np.zeros((2, NUM_KEYPOINTS))
    if read_test_if_present(data_dir) is None:
        for annotator in (COMPLETE, PARTIAL):
            rows = training_faces.keypoints[training_faces.annotators == annotator, :, 0]
            counts[annotator] = 2 * (~np.isnan(rows)).sum(0)
        return counts
    lookup = read_lookup(data_dir)
    np.add.at(counts, (lookup.annotators(lookup.image_ids), lookup.features // 2), 1)
    return counts


def check_data_folder(data_dir: Path, *, accept_implausible: bool = False) -> DataSummary:
    """Read and check all files of a data folder, which also fills the cache.

    Parameters
    ----------
    data_dir
        The data folder.
    accept_implausible
        As for ``read_plausible_training``.

    Raises
    ------
    DataError
        A file is missing or wrong, labels are implausible, or the lookup table queries a missing
        face.
    """
    training = read_plausible_training(data_dir, accept_implausible=accept_implausible)
    test, lookup = read_test_and_lookup(data_dir)
    train_annotators, test_annotators = training.annotators, lookup.annotators(test.ids)
    return DataSummary(
        complete=int((train_annotators == COMPLETE).sum()),
        partial=int((train_annotators == PARTIAL).sum()),
        test_complete=int((test_annotators == COMPLETE).sum()),
        test_partial=int((test_annotators == PARTIAL).sum()),
        queries=len(lookup.row_ids),
    )


def fingerprint(data_dir: Path) -> str:
    """Return 32 hex digits that identify the content of training.csv, or of the arrays.

    Raises
    ------
    DataError
        The file is missing or unreadable.
    """
    if array_folder.is_array_folder(data_dir):
        return array_folder.array_fingerprint(data_dir)
    path = data_dir / "training.csv"
    stamp = file_stamp(path)
    record = read_cache_record(path)
    if record and record["stamp"] == stamp:
        return str(record["sha256"])[:32]
    return file_digest(path)[:32]
