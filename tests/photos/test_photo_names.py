"""Tests of matching the photo names of an annotation file with files."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest

from fkd_kaggle.photos.photo_folder import PhotoFolder
from fkd_kaggle.photos.photo_names import MISSING, PhotoName, find_photos

ROOT = Path("/data/photos")


def match(
    files: list[str],
    *names: PhotoName | str,
    root: Path = ROOT,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> list[str]:
    """Return the file of each name below ``root``, or why it has none."""
    folder = PhotoFolder(root, tuple(root / file for file in files), ())
    wanted = [PhotoName(name) if isinstance(name, str) else name for name in names]
    known = {root / name: size for name, size in (sizes or {}).items()}
    found = find_photos(folder, wanted, lambda path: (known[path],) if path in known else ())
    return [path.relative_to(root).as_posix() if isinstance(path, Path) else path for path in found]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("0.jpg", "0.jpg"),
        ("0.jpg", "images/0.jpg"),
        ("0.jpg", "images/Train/0.jpg"),
        ("a/0.jpg", "images/a/0.jpg"),
        ("/home/ada/faces/a/0.jpg", "a/0.jpg"),
        ("C:\\faces\\a\\0.jpg", "a/0.jpg"),
        ("a/0.jpg", "0.jpg"),
        ("frame_000000", "frame_000000.png"),
        ("frame.1", "frame.1.png"),
        ("0.jpg", "0.JPG"),
        ("0.jpg", "0.png"),
        ("A/Ä.jpg", unicodedata.normalize("NFD", "a/ä.jpg")),
        ("./0.jpg", "0.jpg"),
    ],
)
def test_names_of_other_machines_are_found(name: str, file: str) -> None:
    assert match([file, "other.jpg"], name) == [file]


@pytest.mark.parametrize(
    "name", ["../0.jpg", "a/../../0.jpg", "..\\0.jpg", "/etc/..", "", "/", "0.jpg\0"]
)
def test_a_name_never_leads_out_of_the_folder(name: str) -> None:
    (found,) = match(["0.jpg"], name)
    assert "leads out of the folder" in found or found == MISSING


def test_an_absolute_name_is_looked_for_inside_the_folder_only(tmp_path: Path) -> None:
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(b"")
    assert match(["0.jpg"], str(outside)) == [MISSING]


@pytest.mark.parametrize(
    ("files", "name"),
    [(["b/0.jpg"], "a/0.jpg"), (["1.jpg"], "0.jpg"), (["x/y/0.jpg"], "z/0.jpg")],
)
def test_a_photo_of_another_folder_is_not_taken(files: list[str], name: str) -> None:
    assert match(files, name) == [MISSING]


def test_a_file_is_used_for_the_name_that_fits_best() -> None:
    assert match(["a/0.jpg"], "a/0.jpg", "0.jpg") == ["a/0.jpg", MISSING]
    assert match(["0.jpg"], "a/0.jpg", "b/0.jpg", root=ROOT / "a") == ["0.jpg", MISSING]
    assert match(["0.jpg", "0.png"], "0.png", "0.jpg") == ["0.png", "0.jpg"]
    assert match(["0.jpg"], "0.jpg", "0.png") == ["0.jpg", MISSING]
    assert match(["A/0.jpg", "0.jpg"], "a/0.jpg") == ["A/0.jpg"]


def test_the_size_decides_between_names_of_one_file() -> None:
    names = (PhotoName("a/0.jpg", size=(10, 20)), PhotoName("b/0.jpg", size=(30, 20)))
    assert match(["0.jpg"], *names, sizes={"0.jpg": (30, 20)}) == [MISSING, "0.jpg"]
    first, second = match(["0.jpg"], *names)
    assert first == second
    assert "0.jpg can be a/0.jpg or b/0.jpg" in first


def test_the_size_decides_between_files_of_one_name() -> None:
    name = PhotoName("0.jpg", size=(10, 20))
    sizes = {"a/0.jpg": (10, 20), "b/0.jpg": (30, 20)}
    assert match(["a/0.jpg", "b/0.jpg"], name, sizes=sizes) == ["a/0.jpg"]
    assert match(["a/0.jpg", "b/0.jpg"], name) == ["can be a/0.jpg or b/0.jpg"]


def test_subsets_of_a_project_are_kept_apart() -> None:
    train, val = PhotoName("0.jpg", "train"), PhotoName("0.jpg", "val")
    files = ["images/train/0.jpg", "images/val/0.jpg"]
    assert match(files, train, val) == files
    assert match(files[:1], train, val) == [files[0], MISSING]


def test_equal_names_have_the_same_file() -> None:
    assert match(["0.jpg"], "0.jpg", "0.jpg") == ["0.jpg", "0.jpg"]
