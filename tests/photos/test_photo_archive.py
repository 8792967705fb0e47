"""Zips of photos, such as CVAT's export with images."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.photo_archive import unpacked_folder


def write_zip(path: Path, names: list[str]) -> Path:
    """Write a zip whose files contain their own names."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    with unpacked_folder(tmp_path) as folder:
        assert folder == tmp_path
    assert tmp_path.is_dir()


def test_pictures_and_annotations_of_a_zip_lie_in_a_folder_that_is_removed(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "export.zip",
        [
            "annotations.xml",
            "images/A.JPG",
            "images/below/b.png",
            "readme.txt",
            "__MACOSX/images/._A.JPG",
        ],
    )
    with unpacked_folder(path) as folder:
        found = {
            file.relative_to(folder).as_posix(): file.read_text()
            for file in folder.rglob("*")
            if file.is_file()
        }
        names = ("annotations.xml", "images/A.JPG", "images/below/b.png")
        assert found == {name: name for name in names}
    assert not folder.exists()
    assert path.exists()


def test_the_folder_of_a_zip_is_removed_after_an_error(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "export.zip", ["a.png"])
    with pytest.raises(KeyError), unpacked_folder(path) as folder:
        raise KeyError
    assert not folder.exists()


def test_names_that_leave_the_folder_are_not_unpacked(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "export.zip", ["../out.png", "a/../../out.png", "/in.png"])
    with unpacked_folder(path) as folder:
        assert [file.name for file in folder.rglob("*")] == ["in.png"]
        assert not (folder.parent / "out.png").exists()


def test_what_is_no_zip_of_photos_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no zip")
    empty = write_zip(tmp_path / "empty.zip", [])
    without = write_zip(tmp_path / "without.zip", ["annotations.xml"])
    for path, reason in (
        (tmp_path / "none.zip", "does not exist: give the folder of the photos, or a zip"),
        (text, "is not a folder of photos, and not a zip of one"),
        (empty, "holds no photo: export with images"),
        (without, "holds no photo: export with images"),
    ):
        with pytest.raises(DataError, match=reason), unpacked_folder(path):
            pass


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "export.zip", ["a.png", "b.png"])
    path.write_bytes(path.read_bytes().replace(b"b.png", b"b.pnG", 1)[:-30])
    with pytest.raises(DataError) as error, unpacked_folder(path):
        pass
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_zip_that_the_disk_cannot_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "export.zip", ["a.png"])
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=2))
    with pytest.raises(DataError, match="unpack it elsewhere"), unpacked_folder(path):
        pass
