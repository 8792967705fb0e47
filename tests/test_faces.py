"""Faces: what the CSVs say arrives bit for bit, mistakes are named, the cache is never stale."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import make_faces
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd_kaggle.data import csv_format, dataset, faces
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COLUMNS, COMPLETE, PARTIAL

STAND_IN = Path(__file__).parents[2] / "shared" / "competition"


@pytest.fixture
def data(competition_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny competition that a test may spoil."""
    folder = tmp_path / "data"
    shutil.copytree(competition_dir, folder, ignore=shutil.ignore_patterns(".cache"))
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 70))
def test_training_csv_round_trips(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    folder = tmp_path_factory.mktemp("round")
    written = make_faces(count, seed)
    csv_format.write_training_csv(folder / "training.csv", written)
    for _ in range(2):  # parsed, then from the cache
        read = dataset.read_training(folder)
        np.testing.assert_array_equal(read.images, written.images)
        np.testing.assert_array_equal(read.keypoints, written.keypoints)
        np.testing.assert_array_equal(read.ids, np.arange(1, count + 1))


def test_every_pixel_value_survives(tmp_path: Path) -> None:
    images = np.arange(9216, dtype=np.int64).reshape(1, 96, 96).astype(np.uint8)
    one = make_faces(1, 0)
    csv_format.write_test_csv(tmp_path / "test.csv", Faces(images, one.keypoints, np.array([7])))
    read = dataset.read_test(tmp_path)
    np.testing.assert_array_equal(read.images, images)
    assert read.ids.tolist() == [7]
    assert np.isnan(read.keypoints).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: "\n".join(
            ",".join([f'"{cell}"' for cell in line.split(",")]) for line in text.split("\n") if line
        ),
        lambda text: "\n".join(
            ",".join(reversed(line.split(","))) for line in text.split("\n") if line
        ),
    ],
    ids=["crlf", "no last newline", "empty lines", "quoted", "columns in another order"],
)
def test_harmless_spellings_read_the_same(data: Path, change) -> None:  # type: ignore[no-untyped-def]
    before = dataset.read_training(data)
    images, keypoints = before.images.copy(), before.keypoints.copy()
    path = data / "training.csv"
    path.write_text(change(path.read_text()), newline="")
    after = dataset.read_training(data)
    np.testing.assert_array_equal(after.images, images)
    np.testing.assert_array_equal(after.keypoints, keypoints)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text.replace(",Image", ",Picture", 1), "no column Image"),
        (lambda text: text.replace("nose_tip_x", "nose_tp_x", 1), "no column nose_tip_x"),
        (lambda text: text.replace("Image", "Image,extra", 1), "unknown column 'extra'"),
        (lambda text: "", "is empty"),
        (lambda text: "  \n", "is empty"),
        (lambda text: text.split("\n")[0] + "\n", "has a header and no rows"),
    ],
)
def test_a_wrong_file_is_named(data: Path, spoil, says: str) -> None:  # type: ignore[no-untyped-def]
    path = data / "training.csv"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(DataError) as caught:
        dataset.read_training(data)
    assert says in str(caught.value)
    assert "training.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "value", "says"),
    [
        ("Image", lambda text: text.rsplit(" ", 1)[0], "9215 pixels where 9216 are due"),
        ("Image", lambda text: text + " 7", "9217 pixels where 9216 are due"),
        ("Image", lambda text: "256" + text[text.index(" ") :], "pixel 1 is '256'"),
        ("Image", lambda text: "1000" + text[text.index(" ") :], "pixel 1 is '1000'"),
        ("Image", lambda text: "-1" + text[text.index(" ") :], "pixel 1 is '-1'"),
        ("Image", lambda text: text.rsplit(" ", 1)[0] + " abc", "pixel 9216 is 'abc'"),
        ("Image", lambda text: "", "0 pixels where 9216 are due"),
        ("nose_tip_y", lambda text: "low", "'low' is not a number"),
        ("nose_tip_y", lambda text: "inf", "'inf' is not a number"),
        ("nose_tip_y", lambda text: "", "x and y must both be there"),
    ],
)
def test_a_wrong_cell_is_named(data: Path, cell: str, value, says: str) -> None:  # type: ignore[no-untyped-def]
    path = data / "training.csv"
    lines = path.read_text().split("\n")
    columns, row = lines[0].split(","), lines[5].split(",")
    place = columns.index(cell)
    row[place] = value(row[place])
    lines[5] = ",".join(row)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        dataset.read_training(data)
    assert f"training.csv, row 5, column {cell}: {says}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_with_too_few_fields_is_named(data: Path) -> None:
    path = data / "training.csv"
    lines = path.read_text().split("\n")
    lines[3] = lines[3].split(",", 1)[1]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"row 3.*30 fields where 31 are due"):
        dataset.read_training(data)


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fkd-kaggle fetch"):
        dataset.read_training(tmp_path)


def test_test_ids_are_unique_whole_numbers(data: Path) -> None:
    path = data / "test.csv"
    text = path.read_text()
    path.write_text(text.replace("\n2,", "\n1,", 1))
    with pytest.raises(DataError, match=r"row 2, column ImageId: 1 stands twice"):
        dataset.read_test(data)
    path.write_text(text.replace("\n2,", "\ntwo,", 1))
    with pytest.raises(DataError, match=r"row 2, column ImageId: 'two' is not a whole number"):
        dataset.read_test(data)


def test_sources_are_told_by_labels_and_by_questions(data: Path) -> None:
    training, test, lookup = (
        dataset.read_training(data),
        dataset.read_test(data),
        dataset.read_lookup(data),
    )
    assert training.annotators[:4].tolist() == [COMPLETE, PARTIAL] * 2
    assert lookup.annotators(test.ids)[:4].tolist() == [COMPLETE, PARTIAL] * 2


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 29)), min_size=1, max_size=50))
def test_the_lookup_table_round_trips(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("lookup")
    images, features = zip(*rows, strict=True)
    written = Lookup(
        np.arange(1, len(rows) + 1), np.array(images), np.array(features, dtype=np.int16)
    )
    csv_format.write_lookup_csv(folder / "IdLookupTable.csv", written)
    raw = (folder / "IdLookupTable.csv").read_bytes()
    assert raw.startswith(b"RowId,ImageId,FeatureName,Location\r\n1,")
    assert raw.split(b"\r\n")[1].count(b",") == 2  # three fields under four names, as Kaggle's
    read = dataset.read_lookup(folder)
    np.testing.assert_array_equal(read.row_ids, written.row_ids)
    np.testing.assert_array_equal(read.image_ids, written.image_ids)
    np.testing.assert_array_equal(read.features, written.features)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("left_eye_center_x", "left_eye_centre_x", "did you mean 'left_eye_center_x'"),
        ("FeatureName", "Feature", "no column FeatureName"),
        ("\n2,", "\n1,", "1 stands twice"),
        ("\n2,", "\nx,", "'x' is not a whole number"),
        ("\n2,1,left_eye_center_y", "\n2,1", "2 fields where at least 3"),
    ],
)
def test_a_wrong_lookup_table_is_named(data: Path, old: str, new: str, says: str) -> None:
    edit(data / "IdLookupTable.csv", old, new)
    with pytest.raises(DataError) as caught:
        dataset.read_lookup(data)
    assert says in str(caught.value)


def test_a_lookup_table_of_another_test_set_is_refused(data: Path) -> None:
    test, lookup = dataset.read_test(data), dataset.read_lookup(data)
    faces.check_lookup(lookup, test.ids)
    with pytest.raises(DataError, match=r"ImageId 1, which test\.csv lacks"):
        faces.check_lookup(lookup, test.ids[1:])


def test_a_changed_file_is_read_again_even_at_the_same_size(data: Path) -> None:
    path = data / "training.csv"
    before = dataset.read_training(data).images.copy()
    mark = dataset.fingerprint(data)
    status = path.stat()
    image = path.read_text().split("\n")[1].rsplit(",", 1)[1]
    first = image.split(" ")[0]
    edit(
        path, image[:30], str((int(first) + 1) % 10).rjust(len(first), "0") + image[len(first) : 30]
    )
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    assert path.stat().st_size == status.st_size
    assert (dataset.read_training(data).images != before).any()
    assert dataset.fingerprint(data) != mark


def test_a_touched_or_damaged_cache_changes_nothing(data: Path) -> None:
    before = dataset.read_training(data).images.copy()
    mark = dataset.fingerprint(data)
    (data / "training.csv").touch()
    np.testing.assert_array_equal(dataset.read_training(data).images, before)
    for cached in (data / ".cache").iterdir():
        cached.write_bytes(b"junk")
    np.testing.assert_array_equal(dataset.read_training(data).images, before)
    assert dataset.fingerprint(data) == mark


def test_a_folder_that_cannot_be_written_is_still_read(data: Path) -> None:
    (data / ".cache").write_text("a file where the cache folder would be")
    assert len(dataset.read_training(data).images) == len(dataset.read_test(data).images) + 8


@pytest.mark.skipif(not STAND_IN.exists(), reason="the stand-in competition is not here")
def test_the_stand_in_is_read_as_described(tmp_path: Path) -> None:
    from fkd_kaggle.data import archive

    archive.unpack(STAND_IN / "facial-keypoints-detection.zip", tmp_path)
    training, test = dataset.read_training(tmp_path), dataset.read_test(tmp_path)
    lookup = dataset.read_lookup(tmp_path)
    assert len(training.images) == 3663
    assert np.isfinite(training.keypoints).all((1, 2)).sum() == 1278
    assert len(test.images) == 1571
    assert len(lookup.row_ids) == 26340
    assert (lookup.annotators(test.ids) == COMPLETE).sum() == 626
    assert len(COLUMNS) == 30


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"\n2,", b"\n2\r2,", "is not a whole number"),
        (b"\n2,", b"\n\xff,", "is not a whole number"),
        (b"ImageId,Image", b"ImageId,ImageId,Image", "has column ImageId twice"),
    ],
)
def test_odd_bytes_are_one_clear_line(data: Path, old: bytes, new: bytes, says: str) -> None:
    path = data / "test.csv"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(DataError, match=says):
        dataset.read_test(data)


def test_a_folder_in_place_of_a_file_is_one_clear_line(data: Path) -> None:
    (data / "training.csv").unlink()
    (data / "training.csv").mkdir()
    with pytest.raises(DataError, match="cannot read"):
        dataset.read_training(data)


def test_a_stray_quote_in_a_long_file_is_one_short_line(data: Path) -> None:
    path = data / "IdLookupTable.csv"
    path.write_text(path.read_text() + '1,1,"' + "x" * 200_000)
    with pytest.raises(DataError) as caught:
        dataset.read_lookup(data)
    assert len(str(caught.value)) < 2000


def test_a_cache_note_without_its_keys_changes_nothing(data: Path) -> None:
    before = dataset.read_training(data).images.copy()
    for note in (data / ".cache").glob("*.json"):
        note.write_text('{"version": 2}')
    np.testing.assert_array_equal(dataset.read_training(data).images, before)
    assert dataset.fingerprint(data)
