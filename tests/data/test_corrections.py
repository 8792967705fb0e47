"""Corrections of labels: parsed, checked against the faces, applied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import make_faces

from fkd_kaggle.data.corrections import (
    apply_corrections,
    count_actions,
    read_corrections,
    write_corrections,
)
from fkd_kaggle.errors import DataError

FACES = make_faces(6, seed=1)

HEADER = "row,keypoint,x,y,action,label_x,label_y\n"


def write(path: Path, *lines: str, header: str = HEADER) -> Path:
    """Write a corrections file; return its path."""
    path.write_text(header + "".join(f"{line}\n" for line in lines))
    return path


def label(row: int, keypoint: int) -> str:
    """Return the label of a row from 1 as label_x,label_y."""
    x, y = FACES.keypoints[row - 1, keypoint]
    return f"{x:.2f},{y:.2f}"


def test_labels_are_moved_dropped_and_confirmed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "corrections.csv",
        f"1,nose_tip,40.5,50.25,moved,{label(1, 10)}",
        f"2,left_eye_center,,,dropped,{label(2, 0)}",
        f"3,right_eye_center,,,confirmed,{label(3, 1)}",
    )
    found = read_corrections(path, FACES)
    assert count_actions(found) == {"moved": 1, "dropped": 1, "confirmed": 1}
    before = FACES.keypoints.copy()
    corrected = apply_corrections(FACES, found).keypoints
    assert corrected[0, 10].tolist() == [40.5, 50.25]
    assert np.isnan(corrected[1, 0]).all()
    changed = ~((corrected == before) | (np.isnan(corrected) & np.isnan(before))).all(-1)
    assert np.argwhere(changed).tolist() == [[0, 10], [1, 0]]
    np.testing.assert_array_equal(FACES.keypoints, before)


def test_the_short_form_is_accepted(tmp_path: Path) -> None:
    header = "row,keypoint,x,y\n"
    lines = ("1,nose_tip,40,50", "2,nose_tip,,", "3,nose_tip,dropped,dropped")
    found = read_corrections(write(tmp_path / "c.csv", *lines, header=header), FACES)
    assert [one.action for one in found] == ["moved", "dropped", "dropped"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    lines = (f"1,nose_tip,40.5,50.25,moved,{label(1, 10)}", f"2,nose_tip,,,dropped,{label(2, 10)}")
    found = read_corrections(write(tmp_path / "one.csv", *lines), FACES)
    write_corrections(tmp_path / "two.csv", found, FACES)
    again = read_corrections(tmp_path / "two.csv", FACES)
    assert str(again) == str(found)  # NaN differs from NaN


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0,nose_tip,1,1,moved,,", "line 2: row 0 does not exist: training.csv has rows 1 to 6"),
        ("7,nose_tip,1,1,moved,,", "row 7 does not exist"),
        ("x,nose_tip,1,1,moved,,", "row 'x' is not a whole number"),
        ("1,nose,1,1,moved,,", "unknown keypoint 'nose'"),
        ("2,left_eyebrow_inner_end,1,1,moved,,", "row 2 of training.csv has no label"),
        ("1,nose_tip,nan,1,moved,,", "x is nan: expected pixels from 0 to 96"),
        ("1,nose_tip,1,97,moved,,", "y is 97: expected pixels from 0 to 96"),
        ("1,nose_tip,1,,moved,,", "y is '': expected pixels"),
        ("1,nose_tip,1,1,deleted,,", "unknown action 'deleted'"),
        ("1,nose_tip,1,1,dropped,,", "drops a label but gives x or y"),
        ("1,nose_tip,1,1,moved,1,1", "the file was made for another data set"),
        ("1,nose_tip,1,1,moved,,,9", "has more cells than the header"),
    ],
)
def test_wrong_lines_are_refused(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_corrections(write(tmp_path / "c.csv", line), FACES)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_corrections(tmp_path / "absent.csv", FACES)
    with pytest.raises(DataError, match="contains no correction"):
        read_corrections(write(tmp_path / "empty.csv"), FACES)
    with pytest.raises(DataError, match="lacks the column keypoint"):
        read_corrections(write(tmp_path / "c.csv", header="row,x,y\n"), FACES)
    with pytest.raises(DataError, match="unknown column 'nose'"):
        read_corrections(write(tmp_path / "c.csv", header="row,keypoint,x,y,nose\n"), FACES)
    twice = ("1,nose_tip,1,1,moved,,", "1,nose_tip,2,2,moved,,")
    with pytest.raises(DataError, match=r"line 3: corrects nose_tip of row 1 again \(see line 2\)"):
        read_corrections(write(tmp_path / "twice.csv", *twice), FACES)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_corrections(tmp_path / "binary.csv", FACES)
