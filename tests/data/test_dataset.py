"""Reading a data folder: missing files, annotators of faces, fit of lookup table and test set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fkd_kaggle.data import archive, dataset, faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COLUMNS, COMPLETE, PARTIAL


def test_the_error_for_a_missing_file_names_the_fetch_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fkd-kaggle fetch"):
        dataset.read_training(tmp_path)


def test_a_folder_in_place_of_a_file_is_refused(data_dir: Path) -> None:
    (data_dir / "training.csv").unlink()
    (data_dir / "training.csv").mkdir()
    with pytest.raises(DataError, match="cannot read"):
        dataset.read_training(data_dir)


@pytest.mark.parametrize("name", ["training.csv", "test.csv"])
def test_a_folder_in_place_of_a_file_in_the_cache_is_refused(data_dir: Path, name: str) -> None:
    read = {"training.csv": dataset.read_training, "test.csv": dataset.read_test}[name]
    read(data_dir)
    (data_dir / name).unlink()
    (data_dir / name).mkdir()
    with pytest.raises(DataError, match=rf"cannot read .*{name}: Is a directory"):
        read(data_dir)
    if name == "training.csv":
        with pytest.raises(DataError, match=r"cannot read .*training\.csv: Is a directory"):
            dataset.fingerprint(data_dir)
    else:
        assert dataset.read_test_if_present(data_dir) is None


def test_annotators_follow_from_labels_and_from_queries(data_dir: Path) -> None:
    training, test = dataset.read_training(data_dir), dataset.read_test(data_dir)
    lookup = dataset.read_lookup(data_dir)
    assert training.annotators[:4].tolist() == [COMPLETE, PARTIAL] * 2
    assert lookup.annotators(test.ids)[:4].tolist() == [COMPLETE, PARTIAL] * 2


def test_a_lookup_table_of_another_test_set_is_refused(data_dir: Path) -> None:
    test, lookup = dataset.read_test(data_dir), dataset.read_lookup(data_dir)
    faces.check_lookup(lookup, test.ids)
    with pytest.raises(DataError, match=r"ImageId 1, which test\.csv lacks"):
        faces.check_lookup(lookup, test.ids[1:])


@pytest.mark.slow
def test_real_data_is_read_completely(optional_data: Path, tmp_path: Path) -> None:
    archive.unpack(optional_data / "competition" / "facial-keypoints-detection.zip", tmp_path)
    training, test = dataset.read_training(tmp_path), dataset.read_test(tmp_path)
    lookup = dataset.read_lookup(tmp_path)
    assert len(training.images) == 3663
    assert np.isfinite(training.keypoints).all((1, 2)).sum() == 1278
    assert len(test.images) == 1571
    assert len(lookup.row_ids) == 26340
    assert (lookup.annotators(test.ids) == COMPLETE).sum() == 626
    assert len(COLUMNS) == 30
