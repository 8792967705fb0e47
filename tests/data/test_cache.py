"""The cache of parsed CSVs: never outdated, repaired when damaged, optional."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset


def test_a_changed_file_of_the_same_size_is_read_again(data_dir: Path) -> None:
    path = data_dir / "training.csv"
    before = dataset.read_training(data_dir).images.copy()
    fingerprint = dataset.fingerprint(data_dir)
    status = path.stat()
    text = path.read_text()
    start = text.split("\n")[1].rsplit(",", 1)[1][:30]
    first = start.split(" ")[0]
    changed = str((int(first) + 1) % 10).rjust(len(first), "0") + start[len(first) :]
    path.write_text(text.replace(start, changed, 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    assert path.stat().st_size == status.st_size
    assert (dataset.read_training(data_dir).images != before).any()
    assert dataset.fingerprint(data_dir) != fingerprint


def test_a_touched_or_damaged_cache_changes_nothing(data_dir: Path) -> None:
    before = dataset.read_training(data_dir).images.copy()
    fingerprint = dataset.fingerprint(data_dir)
    (data_dir / "training.csv").touch()
    np.testing.assert_array_equal(dataset.read_training(data_dir).images, before)
    for cached in (data_dir / ".cache").iterdir():
        cached.write_bytes(b"junk")
    np.testing.assert_array_equal(dataset.read_training(data_dir).images, before)
    assert dataset.fingerprint(data_dir) == fingerprint


def test_data_is_read_if_the_cache_cannot_be_written(data_dir: Path) -> None:
    (data_dir / ".cache").write_text("a file where the cache folder would be")
    assert (
        len(dataset.read_training(data_dir).images) == len(dataset.read_test(data_dir).images) + 8
    )


def test_an_incomplete_cache_record_changes_nothing(data_dir: Path) -> None:
    before = dataset.read_training(data_dir).images.copy()
    for record in (data_dir / ".cache").glob("*.json"):
        record.write_text('{"version": 2}')
    np.testing.assert_array_equal(dataset.read_training(data_dir).images, before)
    assert dataset.fingerprint(data_dir)
