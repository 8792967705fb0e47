"""Tests of reading and writing face_keypoints.csv."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.annotations.point_table import PointTable, read_table, write_table

TWO_POINTS = ("point_1", "point_2")

HEADER = "image_name,point_1_x,point_1_y,point_2_x,point_2_y\n"

coordinates = st.one_of(
    st.just(float("nan")), st.floats(0, 5000).map(lambda value: round(value, 2))
)


@given(st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=5))
def test_a_written_table_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, float, float]]
) -> None:
    points = np.array([[[x, x + 1], [y, z]] for x, y, z in values])
    points[np.isnan(points).any(2)] = np.nan
    names = tuple(f"a, “{n}”.jpg" for n in range(len(values)))
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    write_table(path, PointTable(names, points, TWO_POINTS))
    table = read_table(path)
    assert (table.image_names, table.point_names, table.skipped) == (names, TWO_POINTS, ())
    np.testing.assert_allclose(table.points, points, atol=0.005)


def test_minus_one_means_not_found_and_bad_rows_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        HEADER
        + "a.jpg,1,2,3,4\nb.jpg,1,2,-1,-1\n\nc.jpg,1,2,three,4\nd.jpg,1,2\n,1,2,3,4\ne.jpg,1,2,,\n"
    )
    table = read_table(path)
    assert table.image_names == ("a.jpg", "b.jpg", "e.jpg")
    assert np.isnan(table.points[1, 1]).all()
    assert [str(item) for item in table.skipped] == [
        "line 5: 'three' is not a number",
        "line 6: 3 cells where the header has 5",
        "line 7: names no image",
    ]
    assert table.complete_rows().image_names == ("a.jpg",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the header must be image_name, point_1_x, point_1_y"),
        ("image_name,p_x,p_z\n", "column 3 is 'p_z'"),
        ("image_name,p_x,p_y,p_x,p_y\n", "'p' is in the header twice"),
        (HEADER, "no row that can be read"),
        (HEADER + "a.jpg,1\n", r"no row that can be read \(line 2: 2 cells"),
    ],
)
def test_invalid_tables_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_table(tmp_path / "t.csv")


def test_shares_of_the_photo_are_normalized_coordinates() -> None:
    points = np.array([[[0.2, 0.9], [np.nan, np.nan]]])
    assert PointTable(("a",), points, TWO_POINTS).is_normalized()
    assert not PointTable(("a",), points * 50, TWO_POINTS).is_normalized()
    assert not PointTable(("a",), points * np.nan, TWO_POINTS).is_normalized()


@pytest.mark.parametrize("value", [-0.04, 1.02, 1.6])
def test_a_point_outside_of_the_photo_is_normalized_as_the_others_are(value: float) -> None:
    points = np.full((3, 2, 2), 0.5)
    points[1, 0, 0] = value
    assert PointTable(("a", "b", "c"), points, TWO_POINTS).is_normalized()


def test_a_row_in_pixels_among_normalized_rows_is_named() -> None:
    points = np.full((3, 2, 2), 0.5)
    points[1, 0, 0] = 35
    with pytest.raises(DataError, match=r"b: the coordinate 35 is no share .* correct this row"):
        PointTable(("a", "b", "c"), points, TWO_POINTS).is_normalized()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: text.replace(",", ";").replace(".5", ",5").encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
    ],
)
def test_tables_saved_by_excel_are_read(tmp_path: Path, change: Callable[[str], bytes]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(change(HEADER + "ä.jpg,1.5,2,3,4\nb.jpg,1.5,2,,\n"))
    table = read_table(path)
    assert table.image_names == ("ä.jpg", "b.jpg")
    assert table.points[0].tolist() == [[1.5, 2], [3, 4]]
    assert np.isnan(table.points[1, 1]).all()


@pytest.mark.parametrize("value", ["1_0", "１", "0x1", "1 0", "inf", "1,5"])
def test_texts_that_only_look_like_numbers_are_reported(tmp_path: Path, value: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(HEADER + f'a.jpg,"{value}",2,3,4\nb.jpg,1,2,3,4\n')
    (skipped,) = read_table(path).skipped
    assert skipped.reason == f"{value!r} is not a number"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "t.csv does not exist: `fkd-kaggle annotate FOLDER` makes one from photos"),
        ("folder", "t.csv is a folder: give the face_keypoints.csv in it"),
        (b"\x89PNG\r\n\xff\xfe\x00", "t.csv is not a CSV file"),
        (HEADER.encode() + b'a.jpg,"' + b"1" * 200_000 + b'",2,3,4\n', "t.csv is not a CSV file"),
        (HEADER.encode() + b"a.jpg,x,2,3,4\n", r"no row that can be read \(line 2: 'x' is not"),
    ],
    ids=["missing", "folder", "binary", "long cell", "no rows"],
)
def test_what_is_no_table_is_one_line(
    tmp_path: Path, content: bytes | str | None, message: str
) -> None:
    path = tmp_path / "t.csv"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)
