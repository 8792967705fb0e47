"""A data set as two arrays instead of CSV files: what is written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import make_faces

from fkd_kaggle.data.array_folder import (
    array_fingerprint,
    is_array_folder,
    read_array_folder,
    write_array_folder,
)
from fkd_kaggle.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_array_folder(tmp_path, make_faces(4, seed=0))
    return tmp_path


def arrays(folder: Path) -> tuple[Path, Path]:
    """Return the files of the images and of the keypoints."""
    images, keypoints = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_size)[::-1]
    return images, keypoints


def test_faces_are_read_back_and_numbered_from_one(folder: Path) -> None:
    assert is_array_folder(folder)
    faces, written = read_array_folder(folder), make_faces(4, seed=0)
    np.testing.assert_array_equal(faces.images, written.images)
    np.testing.assert_array_equal(faces.keypoints, written.keypoints)
    assert faces.ids.tolist() == [1, 2, 3, 4]
    (folder / "training.csv").touch()
    assert not is_array_folder(folder), "the competition's files come first"


def test_the_fingerprint_follows_the_content(folder: Path) -> None:
    before = array_fingerprint(folder)
    write_array_folder(folder, make_faces(4, seed=0))
    assert array_fingerprint(folder) == before
    write_array_folder(folder, make_faces(4, seed=1))
    assert array_fingerprint(folder) != before
    arrays(folder)[1].unlink()
    with pytest.raises(DataError, match=r"cannot read .*npy: No such file"):
        array_fingerprint(folder)


def test_missing_and_damaged_files_are_named(folder: Path) -> None:
    images, keypoints = arrays(folder)
    keypoints.write_bytes(keypoints.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"cannot read {keypoints}: ValueError"):
        read_array_folder(folder)
    images.unlink()
    with pytest.raises(DataError, match=f"cannot read {images}: FileNotFoundError"):
        read_array_folder(folder)


def test_arrays_that_would_run_code_are_refused(folder: Path) -> None:
    images, _ = arrays(folder)
    np.save(images, np.array([{}, {}], dtype=object))
    with pytest.raises(DataError, match=f"cannot read {images}: ValueError"):
        read_array_folder(folder)


def test_arrays_that_do_not_fit_are_refused(folder: Path) -> None:
    images, keypoints = arrays(folder)
    np.save(keypoints, np.zeros((3, 15, 2), np.float32))
    with pytest.raises(DataError, match="has 4 images and 3 sets of keypoints"):
        read_array_folder(folder)
    np.save(keypoints, np.zeros((4, 15, 2), np.float64))
    with pytest.raises(DataError, match=r"has shape \(4, 15, 2\) and type float64: write it anew"):
        read_array_folder(folder)
    np.save(images, np.zeros((4, 9216), np.uint8))
    with pytest.raises(DataError, match=r"has shape \(4, 9216\) and type uint8"):
        read_array_folder(folder)
