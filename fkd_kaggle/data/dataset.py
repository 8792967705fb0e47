"""The competition's CSV files → ``Faces`` and ``Lookup``, checked at the door and cached.

The only room that parses or writes the competition's formats. A CSV is parsed once, by whole-array
byte arithmetic instead of text splitting, into ``.cache`` beside it; afterwards it is mapped into
memory. A changed file is noticed by size, time and content and parsed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import faces
from fkd_kaggle.data.cache import file_stamp, load_cached, read_cache_record
from fkd_kaggle.data.csv_format import parse_lookup, parse_test, parse_training
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COMPLETE, NUM_KEYPOINTS, PARTIAL


def count_queries(data_dir: Path, training_faces: Faces) -> np.ndarray:
    """Return (2, 15) how many values the lookup table asks for, by source and keypoint."""
    counts = np.zeros((2, NUM_KEYPOINTS))
    if read_test_if_present(data_dir) is None:
        # Training needs no test set; without one the labels' own proportions stand in.
        for own in (COMPLETE, PARTIAL):
            rows = training_faces.keypoints[training_faces.annotators == own, :, 0]
            counts[own] = 2 * (~np.isnan(rows)).sum(0)
        return counts
    lookup = read_lookup(data_dir)
    np.add.at(counts, (lookup.annotators(lookup.image_ids), lookup.features // 2), 1)
    return counts


def read_test_if_present(data_dir: Path) -> tuple[Faces, np.ndarray] | None:
    """Return the test faces and their sources; None where there is no test set."""
    try:
        test, lookup = read_test(data_dir), read_lookup(data_dir)
    except DataError:
        return None
    return test, lookup.annotators(test.ids)


def read_training(data_dir: Path) -> Faces:
    """Read training.csv.

    Raises
    ------
    DataError
        The file is missing, empty or not in the competition's format; says where.
    """
    path = data_dir / "training.csv"
    arrays = load_cached(path, parse_training)
    count = len(arrays["images"])
    return Faces(arrays["images"], arrays["keypoints"], np.arange(1, count + 1))


def read_test(data_dir: Path) -> Faces:
    """Read test.csv; its keypoints are all NaN.

    Raises
    ------
    DataError
        As ``read_training``; also when an ImageId stands twice.
    """
    arrays = load_cached(data_dir / "test.csv", parse_test)
    unlabelled = np.full((len(arrays["images"]), NUM_KEYPOINTS, 2), np.nan, np.float32)
    return Faces(arrays["images"], unlabelled, np.array(arrays["ids"]))


def read_lookup(data_dir: Path) -> Lookup:
    """Read IdLookupTable.csv, whose rows have three fields under a header of four.

    Raises
    ------
    DataError
        The file is missing or empty, a row is broken, a RowId stands twice, or a feature is
        unknown.
    """
    arrays = load_cached(data_dir / "IdLookupTable.csv", parse_lookup)
    return Lookup(*(np.array(arrays[name]) for name in ("row_ids", "image_ids", "features")))


def fingerprint(data_dir: Path) -> str:
    """Return a hex digest of training.csv's content: what a run was trained on."""
    path = data_dir / "training.csv"
    stamp = file_stamp(path)
    note = read_cache_record(path)
    if note and note["stamp"] == stamp:
        return str(note["sha256"])[:32]
    return files.sha256(path)[:32]


@dataclass(frozen=True)
class DataSummary:
    """What a checked data folder holds."""

    complete: int
    """Training faces of the complete source."""
    partial: int
    test_complete: int
    test_partial: int
    asked: int
    """Values the lookup table asks for."""


def check_data_folder(data_dir: Path) -> DataSummary:
    """Read everything in a data folder, which also fills the cache, and say what it holds."""
    training, test, lookup = (
        read_training(data_dir),
        read_test(data_dir),
        read_lookup(data_dir),
    )
    faces.check_lookup(lookup, test.ids)
    own, asked = training.annotators, lookup.annotators(test.ids)
    return DataSummary(
        int((own == COMPLETE).sum()), int((own == PARTIAL).sum()),
        int((asked == COMPLETE).sum()), int((asked == PARTIAL).sum()),
        len(lookup.row_ids),
    )  # fmt: skip


def read_test_and_lookup(data_dir: Path) -> tuple[Faces, Lookup]:
    """Return the test faces and what is asked of them, once they fit each other."""
    test, lookup = read_test(data_dir), read_lookup(data_dir)
    faces.check_lookup(lookup, test.ids)
    return test, lookup
