"""CSV formats: values survive writing and reading, and mistakes are named with their position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TEST, make_faces
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd_kaggle.data import csv_format, dataset
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.errors import DataError

Change = Callable[[str], str]


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 70))
def test_training_csv_round_trips(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    folder = tmp_path_factory.mktemp("round")
    written = make_faces(count, seed)
    csv_format.write_training_csv(folder / "training.csv", written)
    for _ in range(2):  # parsed, then read from the cache
        read = dataset.read_training(folder)
        np.testing.assert_array_equal(read.images, written.images)
        np.testing.assert_array_equal(read.keypoints, written.keypoints)
        np.testing.assert_array_equal(read.ids, np.arange(1, count + 1))


def test_every_grey_value_survives(tmp_path: Path) -> None:
    images = np.arange(9216, dtype=np.int64).reshape(1, 96, 96).astype(np.uint8)
    face = make_faces(1, 0)
    csv_format.write_test_csv(tmp_path / "test.csv", Faces(images, face.keypoints, np.array([7])))
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
def test_harmless_variants_of_a_file_are_read_the_same(data_dir: Path, change: Change) -> None:
    before = dataset.read_training(data_dir)
    images, keypoints = before.images.copy(), before.keypoints.copy()
    path = data_dir / "training.csv"
    path.write_text(change(path.read_text()), newline="")
    after = dataset.read_training(data_dir)
    np.testing.assert_array_equal(after.images, images)
    np.testing.assert_array_equal(after.keypoints, keypoints)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",Image", ",Picture", 1), "no column Image"),
        (lambda text: text.replace("nose_tip_x", "nose_tp_x", 1), "no column nose_tip_x"),
        (lambda text: text.replace("Image", "Image,extra", 1), "unknown column 'extra'"),
        (lambda text: "", "is empty"),
        (lambda text: "  \n", "is empty"),
        (lambda text: text.split("\n")[0] + "\n", "has a header and no rows"),
    ],
)
def test_a_wrong_header_is_named(data_dir: Path, change: Change, message: str) -> None:
    path = data_dir / "training.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError) as caught:
        dataset.read_training(data_dir)
    assert message in str(caught.value)
    assert "training.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "change", "message"),
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
def test_a_wrong_cell_is_named_by_row_and_column(
    data_dir: Path, column: str, change: Change, message: str
) -> None:
    path = data_dir / "training.csv"
    lines = path.read_text().split("\n")
    columns, row = lines[0].split(","), lines[5].split(",")
    position = columns.index(column)
    row[position] = change(row[position])
    lines[5] = ",".join(row)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        dataset.read_training(data_dir)
    assert f"training.csv, row 5, column {column}: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_with_too_few_fields_is_named(data_dir: Path) -> None:
    path = data_dir / "training.csv"
    lines = path.read_text().split("\n")
    lines[3] = lines[3].split(",", 1)[1]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"row 3.*30 fields where 31 are due"):
        dataset.read_training(data_dir)


def test_test_ids_are_unique_whole_numbers(data_dir: Path) -> None:
    path = data_dir / "test.csv"
    text = path.read_text()
    path.write_text(text.replace("\n2,", "\n1,", 1))
    with pytest.raises(DataError, match=r"row 2, column ImageId: 1 occurs twice"):
        dataset.read_test(data_dir)
    path.write_text(text.replace("\n2,", "\ntwo,", 1))
    with pytest.raises(DataError, match=r"row 2, column ImageId: 'two' is not a whole number"):
        dataset.read_test(data_dir)


@pytest.mark.parametrize("row", [2, TEST])
def test_a_missing_test_id_is_named(data_dir: Path, row: int) -> None:
    path = data_dir / "test.csv"
    lines = path.read_text().splitlines()
    lines[row] = lines[row][lines[row].index(",") :]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"row {row}, column ImageId: '' is not a whole number"):
        dataset.read_test(data_dir)


def test_a_missing_id_of_the_only_test_face_is_named(data_dir: Path) -> None:
    path = data_dir / "test.csv"
    header, face = path.read_text().splitlines()[:2]
    path.write_text(f"{header}\n{face[face.index(',') :]}\n")
    with pytest.raises(DataError, match="row 1, column ImageId: '' is not a whole number"):
        dataset.read_test(data_dir)


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
    ("old", "new", "message"),
    [
        ("left_eye_center_x", "left_eye_centre_x", "did you mean 'left_eye_center_x'"),
        ("FeatureName", "Feature", "no column FeatureName"),
        ("\n2,", "\n1,", "1 occurs twice"),
        ("\n2,", "\nx,", "'x' is not a whole number"),
        ("\n2,1,left_eye_center_y", "\n2,1", "2 fields where at least 3"),
    ],
)
def test_a_wrong_lookup_table_is_named(data_dir: Path, old: str, new: str, message: str) -> None:
    path = data_dir / "IdLookupTable.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        dataset.read_lookup(data_dir)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"\n2,", b"\n2\r2,", "is not a whole number"),
        (b"\n2,", b"\n\xff,", "is not a whole number"),
        (b"ImageId,Image", b"ImageId,ImageId,Image", "has column ImageId twice"),
    ],
)
def test_unexpected_bytes_are_named(data_dir: Path, old: bytes, new: bytes, message: str) -> None:
    path = data_dir / "test.csv"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        dataset.read_test(data_dir)


def test_the_error_for_a_stray_quote_is_short(data_dir: Path) -> None:
    path = data_dir / "IdLookupTable.csv"
    path.write_text(path.read_text() + '1,1,"' + "x" * 200_000)
    with pytest.raises(DataError) as caught:
        dataset.read_lookup(data_dir)
    assert len(str(caught.value)) < 2000


def as_excel(text: str) -> str:
    """Return a CSV as Excel saves it where the decimal point is a comma."""
    return "sep=;\r\n" + text.replace(",", ";").replace(".", ",").replace("\n", "\r\n")


def with_index(text: str) -> str:
    """Return a CSV as pandas saves it with its index."""
    header, *rows = text.splitlines()
    return "\n".join([f",{header}", *(f"{number},{row}" for number, row in enumerate(rows))]) + "\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: as_excel(text).encode("utf-8-sig"),
        lambda text: with_index(text).encode(),
        lambda text: with_index(with_index(text)).encode(),
        lambda text: with_index(text).replace(",left_eye", "Unnamed: 0,left_eye", 1).encode(),
        lambda text: text.replace("\n", ",\n").encode(),
        lambda text: text.replace("left_eye_center_x", "Left_Eye_Center_X", 1).encode(),
        lambda text: text.replace(",,", ",NaN,").replace(",NaN,,", ",NaN,n/a,").encode(),
        lambda text: text.replace(",,", ",NULL,").replace(",NULL,,", ",NULL,<NA>,").encode(),
    ],
    ids=[
        "utf-16",
        "utf-16 without mark",
        "utf-8 with mark",
        "carriage returns",
        "unicode text of Excel",
        "semicolons and decimal commas",
        "pandas index",
        "two pandas indices",
        "unnamed column",
        "trailing comma",
        "letter case",
        "spellings of NaN",
        "spellings of NULL",
    ],
)
def test_files_of_other_programs_are_read_the_same(
    data_dir: Path, change: Callable[[str], bytes]
) -> None:
    before = dataset.read_training(data_dir)
    images, keypoints = before.images.copy(), before.keypoints.copy()
    path = data_dir / "training.csv"
    path.write_bytes(change(path.read_text()))
    after = dataset.read_training(data_dir)
    np.testing.assert_array_equal(after.images, images)
    np.testing.assert_array_equal(after.keypoints, keypoints)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 rest", "is a zip file: unpack it"),
        (b"\x1f\x8b\x08 rest", "packed with gzip: unpack it"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\xd0\xcf\x11\xe0 rest", "an Excel file: save it as CSV"),
        (b"\xff\xfea", "is not text"),
    ],
)
def test_files_that_are_no_csv_are_refused(data_dir: Path, content: bytes, message: str) -> None:
    for name in ("training", "test", "IdLookupTable"):
        (data_dir / f"{name}.csv").write_bytes(content)
    for read in (dataset.read_training, dataset.read_test, dataset.read_lookup):
        with pytest.raises(DataError, match=message):
            read(data_dir)


@pytest.mark.parametrize("value", ["1_0", "0x1F", "１２", "1,5", "1 000", "1e400", "--1", "true"])
def test_texts_that_only_look_like_numbers_are_refused(data_dir: Path, value: str) -> None:
    path = data_dir / "training.csv"
    lines = path.read_text().split("\n")
    lines[1] = f'"{value}"' + lines[1][lines[1].index(",") :]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"row 1, column left_eye_center_x: .* is not a number"):
        dataset.read_training(data_dir)


def test_test_and_lookup_with_a_pandas_index_are_read(data_dir: Path) -> None:
    before, lookup = dataset.read_test(data_dir), dataset.read_lookup(data_dir)
    path = data_dir / "test.csv"
    path.write_text(with_index(path.read_text()))
    table = data_dir / "IdLookupTable.csv"
    rows = table.read_text().replace("\r", "").splitlines()
    text = "\n".join([rows[0], *(f"{row}," for row in rows[1:])]) + "\n"
    table.write_text(with_index(text))
    np.testing.assert_array_equal(dataset.read_test(data_dir).images, before.images)
    np.testing.assert_array_equal(dataset.read_lookup(data_dir).features, lookup.features)


@pytest.mark.parametrize("line", ["x", "é", " ", "1,"])
def test_short_line_at_the_end_is_no_row(data_dir: Path, line: str) -> None:
    path = data_dir / "training.csv"
    path.write_text(path.read_text() + line)
    with pytest.raises(DataError, match=r"training\.csv, row "):
        dataset.read_training(data_dir)
