"""Tests of finding the photos of a folder."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos import photo_folder
from fkd_kaggle.photos.images import read_photo, save_picture
from fkd_kaggle.photos.photo_folder import list_photos, scan_folder, unreadable_reason


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
    write_photo(tmp_path / "runs/ffhq/test.png", "PNG")
    (tmp_path / "runs/ffhq/photo_run.json").write_text("{}")
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


def heic(brand: bytes = b"heic") -> bytes:
    """Return the beginning of a HEIC file."""
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0" * 200


@pytest.fixture
def reader_of_heic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package ``pillow_heif`` that works, does not work, or is not installed."""
    calls: list[str] = []
    package = types.ModuleType("pillow_heif")

    def register() -> None:
        if request.param == "broken":
            raise ImportError("libheif.so.1: cannot open shared object file")
        calls.append("registered")

    package.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", None if request.param is None else package)
    photo_folder.reads_heic.cache_clear()
    monkeypatch.setattr(photo_folder, "reads_heic", photo_folder.reads_heic.__wrapped__)
    return calls


@pytest.mark.parametrize("reader_of_heic", [None, "broken"], indirect=True)
def test_heic_without_a_reader_is_named_with_what_to_do(
    tmp_path: Path, reader_of_heic: list[str]
) -> None:
    (tmp_path / "a.heic").write_bytes(heic())
    (tmp_path / "b.HIF").write_bytes(heic(b"hevc"))
    (tmp_path / "c").write_bytes(heic())
    write_photo(tmp_path / "chat.heic")  # a JPEG by its content
    folder = scan_folder(tmp_path)
    assert [path.name for path in folder.photos] == ["chat.heic"]
    assert [skipped.name for skipped in folder.skipped] == ["a.heic", "b.HIF", "c"]
    assert {skipped.reason for skipped in folder.skipped} == {
        "HEIC: convert it to JPEG, or pip install pillow-heif"
    }


@pytest.mark.parametrize("reader_of_heic", ["works"], indirect=True)
def test_heic_with_a_reader_is_a_photo(tmp_path: Path, reader_of_heic: list[str]) -> None:
    for name in ("a.heic", "b.HIF", "c"):
        (tmp_path / name).write_bytes(heic())
    assert found(tmp_path) == ["a.heic", "b.HIF", "c"]
    assert reader_of_heic
    assert unreadable_reason(tmp_path / "a.heic") == "a damaged HEIC file: copy or export it again"


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "JPEG", "WEBP", "GIF", "TIFF"])
def test_photo_that_is_cut_early_is_called_damaged(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a", kind)
    content = (tmp_path / "a").read_bytes()
    for length in (16, 40, len(content) // 2):
        (tmp_path / "cut.jpg").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.jpg: (a )?damaged"):
            read_photo(tmp_path / "cut.jpg")
