"""Tests of ``load_faces`` and of the checks of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fkd_kaggle as fkd
from fkd_kaggle.api.faces import as_faces, as_images, as_keypoints
from fkd_kaggle.errors import DataError


def test_training_faces_have_images_keypoints_and_annotators(competition_dir: Path) -> None:
    faces = fkd.load_faces(competition_dir)
    assert faces.images.shape == (24, 96, 96)
    assert faces.images.dtype == np.uint8
    assert faces.keypoints.shape == (24, 15, 2)
    assert faces.annotators.tolist() == [0, 1] * 12
    assert faces.folder == competition_dir
    assert len(faces) == 24


def test_test_faces_have_the_annotators_of_the_lookup_table(competition_dir: Path) -> None:
    faces = fkd.load_faces(str(competition_dir), test=True)
    assert np.isnan(faces.keypoints).all()
    assert faces.annotators.tolist() == [0, 1] * 8
    assert faces.folder is None


def test_selected_faces_no_longer_stand_for_the_folder(competition_dir: Path) -> None:
    faces = fkd.load_faces(competition_dir).take([3, 1])
    assert faces.ids.tolist() == [4, 2]
    assert faces.folder is None


def test_missing_folder_is_one_line() -> None:
    with pytest.raises(DataError, match=r"training\.csv does not exist"):
        fkd.load_faces("nowhere")


def test_images_can_be_rows_floats_or_lists() -> None:
    images = np.arange(2 * 9216).reshape(2, 96, 96) % 256
    assert (as_images(images.reshape(2, 9216).astype(float)) == images).all()
    assert as_images(images.tolist()).dtype == np.uint8
    assert as_images(np.empty((0, 96, 96))).shape == (0, 96, 96)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((96, 96)), r"\(96, 96\).*image\[None\]"),
        (np.zeros((2, 64, 64)), r"\(2, 64, 64\), but must have \(N, 96, 96\)"),
        (np.zeros((2, 96, 96, 1)), "must have"),
        (np.full((1, 96, 96), 300.0), "values from 300 to 300"),
        (np.full((1, 96, 96), -1), "values from -1"),
        (np.full((1, 96, 96), np.nan), "values from nan"),
        (np.full((1, 96, 96), 0.5), r"images \* 255"),
        (np.full((1, 96, 96), "x"), "type <U1"),
        ([[0, 1], [2]], "the same shape"),
    ],
)
def test_other_images_are_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_images(images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda points: points[:1], r"\(1, 15, 2\), but must have \(2, 15, 2\)"),
        (lambda points: points * np.nan, "no label"),
        (lambda points: points + np.inf, "infinite in row 0"),
        (lambda points: np.where(np.arange(30).reshape(15, 2) == 3, np.nan, points), r"\[0, 1\]"),
        (lambda points: points.astype(str) + "x", "must be numbers"),
    ],
)
def test_other_keypoints_are_refused(change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(DataError, match=message):
        as_keypoints(change(np.full((2, 15, 2), 48.0)), 2)


def test_any_rows_can_be_taken() -> None:
    faces = fkd.make_faces(4)
    assert faces.take([2, 0]).ids.tolist() == [3, 1]
    assert faces.take([True, False, False, True]).ids.tolist() == [1, 4]
    assert len(faces.take([])) == 0


def test_faces_need_keypoints() -> None:
    with pytest.raises(DataError, match="keypoints is missing"):
        as_faces(np.zeros((2, 96, 96)), None)
    with pytest.raises(DataError, match="no face"):
        as_faces(np.zeros((0, 96, 96)), np.zeros((0, 30)))


def test_synthetic_faces_are_those_of_the_practice_kaggle(tmp_path: Path) -> None:
    import zipfile

    from fkd_kaggle.practice.synthetic_dataset import write_competition

    faces = fkd.make_faces(20, seed=3)
    assert (faces.annotators == 0).sum() == 6
    archive, _ = write_competition(tmp_path / "zip", training=20, test=5, seed=3)
    with zipfile.ZipFile(archive) as outer:
        outer.extract("training.zip", tmp_path)
    with zipfile.ZipFile(tmp_path / "training.zip") as inner:
        inner.extract("training.csv", tmp_path)
    read = fkd.load_faces(tmp_path)
    np.testing.assert_array_equal(read.images, faces.images)
    np.testing.assert_array_equal(read.keypoints, faces.keypoints)
    with pytest.raises(DataError, match="at least 1"):
        fkd.make_faces(0)
