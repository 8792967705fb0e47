"""Tests of reading CVAT annotation files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.annotations.cvat import read_cvat

POINTS = ";".join(f"{10 + 3 * n}.00,{20 + (7 * n) % 11}.50" for n in range(15))


def write_xml(tmp_path: Path, body: str, head: str = "") -> Path:
    """Write an annotation file with the elements of ``body``."""
    path = tmp_path / "annotations.xml"
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n{head}<annotations>\n{body}\n</annotations>\n'
    )
    return path


def image(shapes: str, name: str = "a.jpg") -> str:
    """Return an <image> element of a photo with these shapes."""
    return f'<image id="0" name="{name}" width="60" height="40">{shapes}</image>'


def points(text: str = POINTS, label: str = "face") -> str:
    """Return a <points> element."""
    return f'<points label="{label}" source="manual" occluded="0" points="{text}"></points>'


def test_each_shape_of_fifteen_points_is_a_face(tmp_path: Path) -> None:
    annotations = read_cvat(write_xml(tmp_path, image(points() * 2) + image(points(), "b/c.png")))
    assert [(photo.name, len(photo.faces)) for photo in annotations.photos] == [
        ("a.jpg", 2),
        ("b/c.png", 1),
    ]
    assert annotations.photos[0].size == (60, 40)
    assert annotations.photos[0].faces[0].shape == (15, 2)
    assert annotations.photos[0].faces[0][1].tolist() == [13.0, 27.5]
    assert not annotations.skipped


def test_a_skeleton_of_fifteen_points_is_a_face(tmp_path: Path) -> None:
    parts = "".join(points(pair, label=str(n)) for n, pair in enumerate(POINTS.split(";")))
    skeleton = image(f'<skeleton label="face">{parts}</skeleton>')
    annotations = read_cvat(write_xml(tmp_path, skeleton))
    assert annotations.photos[0].faces[0].shape == (15, 2)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (points("1,2;3,4"), "2 points where a face has 15"),
        (points(POINTS + ";1,2"), "16 points"),
        (points(label="fase"), "'fase' are not 'face'"),
        (points(POINTS.replace("10.00", "ten")), "not pairs of numbers"),
        (points(POINTS.replace("10.00", "nan")), "not pairs of numbers"),
        (points(POINTS.replace(",", ";")), "not pairs of numbers"),
        (points(";".join(["5,5"] * 15)), "on one line"),
        ("", "no points"),
    ],
)
def test_unusable_shapes_are_reported(tmp_path: Path, shape: str, reason: str) -> None:
    body = image(points(), "good.jpg") * 2 + image(shape, "odd.jpg")
    annotations = read_cvat(write_xml(tmp_path, body))
    assert [photo.name for photo in annotations.photos] == ["good.jpg"] * 2
    (skipped,) = annotations.skipped
    assert skipped.name == "odd.jpg"
    assert reason in skipped.reason


def test_only_shapes_with_the_chosen_label_are_used(tmp_path: Path) -> None:
    path = write_xml(tmp_path, image(points() * 2 + points(label="statue")))
    assert len(read_cvat(path).photos[0].faces) == 2
    assert len(read_cvat(path, "statue").photos[0].faces) == 1
    with pytest.raises(DataError, match="did you mean 'statue'"):
        read_cvat(path, "statu")


def test_error_for_broken_xml_names_line_and_column(tmp_path: Path) -> None:
    path = write_xml(tmp_path, image(points()) + "\n<image name='b.jpg'")
    with pytest.raises(DataError, match=r"annotations\.xml, line 5, column 1: not well-formed"):
        read_cvat(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1, column 1: no element found"),
        ("<html></html>", "<html> where <annotations> belongs"),
        ("<annotations></annotations>", "names no image"),
        ('<annotations><track id="0"/></annotations>', "CVAT for video"),
        (
            '<?xml version="1.0" encoding="nonsense"?><annotations/>',
            "cannot be read: unknown encoding: nonsense",
        ),
    ],
)
def test_other_formats_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_cvat(tmp_path / "a.xml")


def test_error_without_a_usable_face_names_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no face with 15 points \(a\.jpg: 1 points where"):
        read_cvat(write_xml(tmp_path, image(points("1,2"))))


def test_a_file_with_entities_is_refused(tmp_path: Path) -> None:
    entities = '<!DOCTYPE a [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'
    path = write_xml(tmp_path, image(points(), "&b;"), head=entities)
    with pytest.raises(DataError, match="DOCTYPE"):
        read_cvat(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_cvat(tmp_path / "none.xml")
    with pytest.raises(DataError, match="is a folder"):
        read_cvat(tmp_path)
