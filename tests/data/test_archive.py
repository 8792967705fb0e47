"""Unpacking: nested zips become plain files, a damaged zip leaves no partial file."""

from __future__ import annotations

import errno
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fkd_kaggle import files
from fkd_kaggle.data import archive
from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.practice import synthetic_dataset


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_dataset.write_competition(tmp_path_factory.mktemp("packed"), 12, 6, 0)[0]


def test_nested_zips_become_plain_files(packed: Path, tmp_path: Path) -> None:
    placed = archive.unpack(packed, tmp_path / "data")
    assert sorted(path.name for path in placed) == sorted(archive.CONTENTS)
    assert all(path.stat().st_size for path in placed)
    assert not [path for path in (tmp_path / "data").iterdir() if path.name.startswith(".tmp")]


def test_unpacking_again_replaces_changed_files_only(packed: Path, tmp_path: Path) -> None:
    archive.unpack(packed, tmp_path)
    before = (tmp_path / "training.csv").stat().st_mtime_ns
    original = (tmp_path / "test.csv").read_bytes()
    (tmp_path / "test.csv").write_bytes(b"x" * len(original))
    archive.unpack(packed, tmp_path)
    assert (tmp_path / "training.csv").stat().st_mtime_ns == before
    assert (tmp_path / "test.csv").read_bytes() == original


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text"])
def test_a_damaged_zip_is_refused_in_one_line(packed: Path, tmp_path: Path, damage: str) -> None:
    content = bytearray(packed.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        for position in range(len(content) // 4, len(content) // 4 + 400):
            content[position] ^= 0xFF
    else:
        content = bytearray(b"<html>Not found</html>")
    path = tmp_path / "bad.zip"
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"is damaged .*fetch --force") as caught:
        archive.unpack(path, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").glob(".tmp*"))


def test_another_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("IdLookupTable.csv", "RowId\n")
    with pytest.raises(DataError, match=r"holds no training\.csv, no test\.csv"):
        archive.unpack(path, tmp_path / "data")


@pytest.mark.parametrize("name", ["training.csv", "TRAINING.CSV"])
def test_a_csv_in_a_folder_of_its_own_name_is_found(tmp_path: Path, name: str) -> None:
    """As "Extract all" of Windows unpacks training.csv.zip."""
    path = tmp_path / "data" / name / name
    path.parent.mkdir(parents=True)
    path.write_text("Image\n")
    (tmp_path / "data" / "test.csv").mkdir()
    assert archive.find_csv_files(tmp_path / "data", tmp_path / "work") == {"training.csv": path}


@pytest.mark.parametrize("name", ["faces.zip", "FACES.ZIP", "inner/deep/Faces.Zip"])
def test_the_only_zip_of_a_folder_is_found_in_any_depth_and_letter_case(
    packed: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(packed.read_bytes())
    assert archive.data_files(tmp_path / "data") == [path]
    assert len(archive.find_csv_files(tmp_path / "data", tmp_path / "work")) == 4
    deeper = tmp_path / "data" / "inner" / "deep" / "deeper"
    deeper.mkdir(parents=True)
    (deeper / "other.zip").write_bytes(b"not read")
    assert archive.data_files(tmp_path / "data") == [path]


def test_a_folder_without_a_zip_and_one_with_several_have_separate_messages(
    packed: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"holds no training\.csv or training\.zip$"):
        archive.data_files(tmp_path)
    for name in ("a.zip", "B.ZIP"):
        (tmp_path / name).write_bytes(packed.read_bytes())
    with pytest.raises(DataError, match=r"and 2 other zips \(B\.ZIP, a\.zip\): name the zip"):
        archive.data_files(tmp_path)


def test_a_zip_of_several_zips_is_named(packed: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as several:
        several.write(packed, "a.zip")
        several.write(packed, "b.zip")
    outer = tmp_path / "outer.zip"
    with zipfile.ZipFile(outer, "w") as whole:
        whole.write(inner, "inner.zip")
    message = r"outer\.zip: inner\.zip holds .* and 2 other zips \(a\.zip, b\.zip\)"
    with pytest.raises(DataError, match=message):
        archive.find_csv_files(outer, tmp_path / "work")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "kept.txt"
    target.write_text("old")

    def write() -> Any:
        with files.atomic_path(target) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FkdError, match="disk full while writing"):
        write()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_leaves_no_file(packed: Path, tmp_path: Path) -> None:
    """Every write to /dev/full fails with ENOSPC; a link makes it the temporary file."""
    target = tmp_path / "kept.txt"

    def write() -> Any:
        with files.atomic_path(target) as temporary:
            temporary.unlink()
            temporary.symlink_to("/dev/full")
            temporary.write_text("more than fits")

    with pytest.raises(FkdError, match="disk full while writing"):
        write()
    assert not target.exists()


def test_an_encrypted_zip_is_refused(packed: Path, tmp_path: Path) -> None:
    content = bytearray(packed.read_bytes())
    # Set the flag "encrypted" of each entry, in its local header and in the central directory.
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(mark, start + 4)
    packed = tmp_path / "encrypted.zip"
    packed.write_bytes(content)
    with pytest.raises(DataError, match="is encrypted: unpack it with its password"):
        archive.unpack(packed, tmp_path / "data")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_entries_of_every_method_are_unpacked_and_damage_is_named(
    packed: Path, tmp_path: Path, method: int
) -> None:
    contents = archive.extract(packed, tmp_path / "plain")
    path = tmp_path / "again.zip"
    with zipfile.ZipFile(path, "w", method) as again:
        for name, source in contents.items():
            again.write(source, f"folder\\{name.upper()}")
    assert len(archive.unpack(path, tmp_path / "data")) == 4
    content = bytearray(path.read_bytes())
    content[400:800] = bytes(value ^ 0xFF for value in content[400:800])
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"is damaged .*fetch --force"):
        archive.unpack(path, tmp_path / "other")


def test_an_unknown_method_is_named(packed: Path, tmp_path: Path) -> None:
    content = bytearray(packed.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = content.find(mark)
        while start >= 0:
            content[start + offset] = 9  # Deflate64
            start = content.find(mark, start + 4)
    path = tmp_path / "deflate64.zip"
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="packed by a method that is not read"):
        archive.unpack(path, tmp_path / "data")


def test_zips_in_zips_in_zips_are_unpacked(packed: Path, tmp_path: Path) -> None:
    path = packed
    for depth in range(2):
        outer = tmp_path / f"outer{depth}.zip"
        with zipfile.ZipFile(outer, "w") as archive_file:
            archive_file.write(path, "inner.zip")
            archive_file.writestr("__MACOSX/._inner.zip", b"no zip")
        path = outer
    assert len(archive.unpack(path, tmp_path / "data")) == 4
    assert len(archive.find_csv_files(path, tmp_path / "work")) == 4


def test_the_file_that_a_link_leads_to_is_not_overwritten(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("other")
    data = tmp_path / "data"
    data.mkdir()
    (data / "training.csv").symlink_to(other)
    packed = tmp_path / "all.zip"
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr("training.csv", "new")
    archive.extract(packed, data)
    assert (data / "training.csv").read_text() == "new"
    assert other.read_text() == "other"
