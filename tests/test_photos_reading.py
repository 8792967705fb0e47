"""Photos and annotation files as the world makes them: read, or named and explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos import images
from fkd_kaggle.photos.annotations import cvat

POINTS = ";".join(f"{10 + 3 * n}.00,{20 + (7 * n) % 11}.50" for n in range(15))


def ramp(width: int = 20, height: int = 12) -> np.ndarray:
    """Return (H, W) uint8, darker to the left, so that turning and mirroring show."""
    return np.tile(np.linspace(20, 230, width).astype(np.uint8), (height, 1))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
def test_a_photo_of_any_mode_is_rgb_of_its_size(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    Image.fromarray(ramp()).convert("RGB").convert(mode).save(tmp_path / f"a.{suffix}")
    photo = images.read_photo(tmp_path / f"a.{suffix}")
    assert photo.shape == (12, 20, 3)
    assert photo.dtype == np.uint8
    assert photo[:, 0].mean() < photo[:, -1].mean()


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (ramp().astype(np.uint16) * 257, "deep.png"),
        (ramp().astype(np.float32) / 255, "float.tif"),
        (ramp().astype(np.int32), "long.tif"),
    ],
)
def test_deep_grey_keeps_its_shades(tmp_path: Path, values: np.ndarray, name: str) -> None:
    Image.fromarray(values).save(tmp_path / name)
    assert np.abs(images.read_photo(tmp_path / name)[:, :, 0].astype(int) - ramp()).max() <= 1


def test_a_photo_stands_upright_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    Image.fromarray(ramp()).convert("RGB").save(tmp_path / "a.jpg", exif=exif)
    photo = images.read_photo(tmp_path / "a.jpg")
    assert photo.shape == (20, 12, 3)
    assert photo[0].mean() < photo[-1].mean()


def test_transparent_parts_are_mid_grey_whatever_colour_hides_there(tmp_path: Path) -> None:
    layers = np.zeros((8, 8, 4), np.uint8)
    layers[:4] = (250, 250, 250, 255)
    Image.fromarray(layers).save(tmp_path / "a.png")
    photo = images.read_photo(tmp_path / "a.png")
    assert (photo[:4] == 250).all()
    assert (photo[4:] == 128).all()


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.png: "):
        images.read_photo(tmp_path / "bad.png")


def test_a_truncated_photo_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with pytest.raises(DataError, match=r"cut\.jpg: damaged"):
        images.read_photo(tmp_path / "cut.jpg")


def test_a_folder_lists_its_photos_and_those_below(tmp_path: Path) -> None:
    for name in ("b.JPG", "below/a.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in images.list_photos(tmp_path)] == ["b.JPG", "a.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photo"):
        images.list_photos(tmp_path / "empty")


def xml(tmp_path: Path, body: str, head: str = "") -> Path:
    """Write an annotation file around ``body``."""
    path = tmp_path / "annotations.xml"
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n{head}<annotations>\n{body}\n</annotations>\n'
    )
    return path


def image(shapes: str, name: str = "a.jpg") -> str:
    """Return an <image> of a photo with ``shapes`` in it."""
    return f'<image id="0" name="{name}" width="60" height="40">{shapes}</image>'


def points(text: str = POINTS, label: str = "face") -> str:
    """Return a <points> shape."""
    return f'<points label="{label}" source="manual" occluded="0" points="{text}"></points>'


def test_each_shape_of_fifteen_points_is_a_face(tmp_path: Path) -> None:
    found = cvat.read_cvat(xml(tmp_path, image(points() * 2) + image(points(), "b/c.png")))
    assert [(photo.name, len(photo.faces)) for photo in found.photos] == [
        ("a.jpg", 2),
        ("b/c.png", 1),
    ]
    assert found.photos[0].size == (60, 40)
    assert found.photos[0].faces[0].shape == (15, 2)
    assert found.photos[0].faces[0][1].tolist() == [13.0, 27.5]
    assert not found.skipped


def test_a_skeleton_of_single_points_is_a_face(tmp_path: Path) -> None:
    parts = "".join(points(pair, label=str(n)) for n, pair in enumerate(POINTS.split(";")))
    found = cvat.read_cvat(xml(tmp_path, image(f'<skeleton label="face">{parts}</skeleton>')))
    assert found.photos[0].faces[0].shape == (15, 2)


@pytest.mark.parametrize(
    ("shape", "why"),
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
def test_what_is_no_face_is_reported_and_the_rest_is_used(
    tmp_path: Path, shape: str, why: str
) -> None:
    body = image(points(), "good.jpg") * 2 + image(shape, "odd.jpg")
    found = cvat.read_cvat(xml(tmp_path, body))
    assert [photo.name for photo in found.photos] == ["good.jpg"] * 2
    (skipped,) = found.skipped
    assert skipped.name == "odd.jpg"
    assert why in skipped.why


def test_a_label_can_be_chosen_and_a_misspelt_one_is_corrected(tmp_path: Path) -> None:
    path = xml(tmp_path, image(points() * 2 + points(label="statue")))
    assert len(cvat.read_cvat(path).photos[0].faces) == 2
    assert len(cvat.read_cvat(path, "statue").photos[0].faces) == 1
    with pytest.raises(DataError, match="did you mean 'statue'"):
        cvat.read_cvat(path, "statu")


def test_broken_xml_is_one_line_with_its_place(tmp_path: Path) -> None:
    path = xml(tmp_path, image(points()) + "\n<image name='b.jpg'")
    with pytest.raises(DataError, match=r"annotations\.xml, line 5, column 1: not well-formed"):
        cvat.read_cvat(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1, column 1: no element found"),
        ("<html></html>", "<html> where <annotations> belongs"),
        ("<annotations></annotations>", "names no image"),
        ('<annotations><track id="0"/></annotations>', "CVAT for video"),
        ('<?xml version="1.0" encoding="nonsense"?><annotations/>', "cannot be read|encoding"),
    ],
)
def test_other_files_are_refused_by_what_they_are(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=why):
        cvat.read_cvat(tmp_path / "a.xml")


def test_a_file_without_a_usable_face_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no face with 15 points \(a\.jpg: 1 points where"):
        cvat.read_cvat(xml(tmp_path, image(points("1,2"))))


def test_an_entity_bomb_is_not_even_read(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'
    path = xml(tmp_path, image(points(), "&b;"), head=bomb)
    with pytest.raises(DataError, match="DOCTYPE"):
        cvat.read_cvat(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        cvat.read_cvat(tmp_path / "none.xml")
    with pytest.raises(DataError, match="is a folder"):
        cvat.read_cvat(tmp_path)
