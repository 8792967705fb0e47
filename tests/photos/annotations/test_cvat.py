"""Tests of reading CVAT annotation files."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.annotations.cvat import find_annotations, read_cvat

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


def single_points(labels: Callable[[int], str], group: str = "") -> str:
    """Return 15 <points> elements of one point each."""
    attribute = f' group_id="{group}"' if group else ""
    return "".join(
        f'<points label="{labels(number)}"{attribute} points="{pair}"/>'
        for number, pair in enumerate(POINTS.split(";"))
    )


def parts_of_face(group: str = "") -> str:
    """Return the eyes, the nose and the mouth as four shapes with 15 points together."""
    pairs = POINTS.split(";")
    attribute = f' group_id="{group}"' if group else ""
    bounds = {"left": (0, 5), "right": (5, 10), "nose": (10, 11), "mouth": (11, 15)}
    return "".join(
        f'<points label="{label}"{attribute} points="{";".join(pairs[start:end])}"/>'
        for label, (start, end) in bounds.items()
    )


@pytest.mark.parametrize(
    ("shapes", "faces"),
    [
        (single_points(lambda number: f"point{number}"), 1),
        (single_points(lambda number: "point"), 1),
        (single_points(lambda number: f"point{number}", "7"), 1),
        (
            single_points(lambda number: f"point{number}", "7")
            + single_points(lambda number: f"point{number}", "8"),
            2,
        ),
        (parts_of_face(), 1),
        (parts_of_face("1") + parts_of_face("2") + parts_of_face("3"), 3),
        (points() + parts_of_face("1"), 2),
        (points() + points(label="FACE"), 2),
    ],
)
def test_faces_annotated_in_parts_are_assembled(tmp_path: Path, shapes: str, faces: int) -> None:
    (photo,) = read_cvat(write_xml(tmp_path, image(shapes))).photos
    assert len(photo.faces) == faces
    expected = sorted(tuple(map(float, pair.split(","))) for pair in POINTS.split(";"))
    for face in photo.faces:
        assert sorted(map(tuple, face.tolist())) == expected


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (single_points(lambda number: f"point{number}") * 2, "30 points in 30 shapes, as of 2"),
        (single_points(lambda number: f"p{number}").replace("<points", "<no", 1), "14 points in"),
        (single_points(lambda number: f"p{number // 2}"), "of which two are"),
        (parts_of_face("1").replace("<points", "<no", 1), "10 points in the 3 shapes of a group"),
        ('<box label="face" xtl="1"/>', "is annotated with a box"),
        (points(";".join(f"{n},{2 * n}" for n in range(15))), "on one line"),
        (points(POINTS.replace("10.00", "1_0")), "not pairs of numbers"),
        (points(POINTS.replace("10.00", "１０")), "not pairs of numbers"),
        (points(POINTS.replace("10.00", "inf")), "not pairs of numbers"),
    ],
)
def test_parts_that_are_no_face_are_reported(tmp_path: Path, shapes: str, reason: str) -> None:
    with pytest.raises(DataError, match="has no face with 15 points") as caught:
        read_cvat(write_xml(tmp_path, image(shapes)))
    assert reason in str(caught.value)


def test_fourteen_points_and_a_stray_one_are_no_face(tmp_path: Path) -> None:
    fourteen = points(POINTS.rpartition(";")[0]) + points("1,2", label="mole")
    annotations = read_cvat(write_xml(tmp_path, image(points(), "good.jpg") + image(fourteen)))
    assert [photo.name for photo in annotations.photos] == ["good.jpg"]


def test_labels_are_compared_without_letter_case(tmp_path: Path) -> None:
    path = write_xml(tmp_path, image(points(label="Face") + points(label="statue")))
    assert read_cvat(path, "fACE").label == "Face"


def test_the_most_relevant_reason_is_named_first(tmp_path: Path) -> None:
    body = "".join(image("", f"{n}.jpg") for n in range(9)) + image(points("1,2"), "z.jpg")
    with pytest.raises(
        DataError, match=r"\(z\.jpg: 1 points where a face has 15; 0\.jpg: no points"
    ):
        read_cvat(write_xml(tmp_path, body))


@pytest.mark.parametrize("name", ["a.xml.gz", "a.zip", "twice.zip", "nested.zip"])
def test_packed_files_are_read(tmp_path: Path, name: str) -> None:
    content = write_xml(tmp_path, image(points())).read_bytes()
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("annotations.xml", content)
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            if name == "nested.zip":
                archive.writestr("export.zip", inner.getvalue())
            else:
                archive.writestr("annotations.xml", content)
                archive.writestr("images/0.jpg", b"")
                archive.writestr("__MACOSX/annotations.xml", b"")
    assert len(read_cvat(path).photos) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": []}', "is JSON: export from CVAT as"),
        (gzip.compress(b"<annotations>" * 50)[:30], "is damaged"),
        (b"Rar!\x1a\x07\x01", "is a RAR archive"),
        (b"\xff\xfe\0", "a.xml"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_cvat(tmp_path / "a.xml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_subset_of_a_project_is_read(tmp_path: Path) -> None:
    body = image(points()).replace("<image", '<image subset="Train" task_id="4"')
    assert read_cvat(write_xml(tmp_path, body)).photos[0].subset == "Train"


def test_the_annotations_are_found_beside_the_images(tmp_path: Path) -> None:
    path = write_xml(tmp_path, image(points()))
    (tmp_path / "images").mkdir()
    assert find_annotations(tmp_path) == path
    assert find_annotations(tmp_path / "images").resolve() == path.resolve()
    assert find_annotations(tmp_path / "none").name == "annotations.xml"
