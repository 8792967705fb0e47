"""Tests of finding the photos of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.images import save_picture
from fkd_kaggle.photos.photo_folder import list_photos, scan_folder


def write_photo(path: Path, kind: str = "JPEG") -> None:
    """Write a small photo in a format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, kind)


def found(folder: Path) -> list[str]:
    """Return the paths of a folder's photos below the folder."""
    return [path.relative_to(folder).as_posix() for path in scan_folder(folder).photos]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jfif", "JPEG"),
        ("a.JPE", "JPEG"),
        ("a.jp2", "JPEG2000"),
        ("a.avif", "AVIF"),
        ("a.Png", "PNG"),
        ("a.mpo", "MPO"),
        ("a.webp", "WEBP"),
        ("below/deep/a.tiff", "TIFF"),
        ("a", "JPEG"),
        ("写真 é.jpg", "JPEG"),
    ],
)
def test_photos_of_every_named_format_are_found(tmp_path: Path, name: str, kind: str) -> None:
    write_photo(tmp_path / name, kind)
    assert found(tmp_path) == [name]


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.jpg",
        ".ipynb_checkpoints/a-checkpoint.jpg",
        "__MACOSX/a.jpg",
        "@eaDir/a.jpg",
        "below/.thumbnails/a.jpg",
    ],
)
def test_files_of_notebooks_and_operating_systems_are_left_out(tmp_path: Path, name: str) -> None:
    write_photo(tmp_path / name)
    assert scan_folder(tmp_path).photos == ()
    assert scan_folder(tmp_path).skipped == ()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("IMG_1.HEIC", b"\0\0\0\x18ftypheic", "HEIC: convert it to JPEG, or pip install"),
        ("IMG_1", b"\0\0\0\x18ftypheic", "HEIC"),
        ("a.CR2", b"II*\0", "raw file"),
        ("a.svg", b"<svg/>", "SVG is not read"),
        ("a.jxl", b"", "JXL is not read"),
        ("a.jpg.part", b"\xff\xd8\xff\xe0", "a JPEG by its content, but its name ends in .part"),
    ],
)
def test_pictures_that_cannot_be_used_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, reason: str
) -> None:
    monkeypatch.setattr("fkd_kaggle.photos.photo_folder.reads_heic", lambda: False)
    (tmp_path / name).write_bytes(content)
    (skipped,) = scan_folder(tmp_path).skipped
    assert skipped.name == name
    assert reason in skipped.reason
    with pytest.raises(DataError, match="no photo that can be used"):
        list_photos(tmp_path)


def test_a_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    try:
        Path(os.fsdecode(path)).write_bytes(b"\xff\xd8\xff")
    except OSError:
        pytest.skip("this file system accepts UTF-8 only")
    (skipped,) = scan_folder(tmp_path).skipped
    assert str(skipped) == r"caf\xe9.jpg: its name is not UTF-8: rename it"


def test_own_pictures_are_left_out(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    picture = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    save_picture(picture, tmp_path / "renamed sheet.png")
    # Contact sheets of version 0.1.0 have no mark.
    write_photo(tmp_path / "old.png", "PNG")
    (tmp_path / "old.csv").write_text("image_name,point_1_x,point_1_y\na.jpg,1,1\n")
    write_photo(tmp_path / "runs/base/faces.png", "PNG")
    (tmp_path / "runs/base/run.json").write_text("{}")
    assert found(tmp_path) == ["a.jpg"]


def test_a_cycle_of_links_ends(tmp_path: Path) -> None:
    write_photo(tmp_path / "below/a.jpg")
    (tmp_path / "below/up").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "none.jpg")
    assert found(tmp_path) == ["below/a.jpg"]
    (skipped,) = scan_folder(tmp_path).skipped
    assert "a link to a file that does not exist" in skipped.reason


def test_a_file_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="is a file, not a folder"):
        scan_folder(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="is not a folder"):
        scan_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photo"):
        list_photos(tmp_path / "empty")
