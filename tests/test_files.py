"""Atomic writes with unusual names and contents."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from fkd_kaggle import files
from fkd_kaggle.errors import FkdError


def test_name_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FkdError, match=r"File name too long: choose a shorter name$") as caught:
        files.write_text(tmp_path / ("a.b" * 100 + ".toml"), "x")
    assert ".tmp-" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_name_with_many_dots_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("x." * 110 + "toml")
    files.write_text(target, "x")
    assert target.read_text() == "x"


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_file_in_place_of_a_folder_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FkdError, match=r"a file lies where|a file may lie where"):
        files.write_text(tmp_path / name / "x.txt", "x")


@pytest.mark.parametrize("name", [".", "new/..", ".."])
def test_the_current_folder_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with (
        pytest.raises(FkdError, match="name a new folder"),
        files.atomic_folder(Path(name), "marker"),
    ):
        pytest.fail("the work began")
    assert (tmp_path / "here").is_dir()


def test_an_interrupted_replacement_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "marker").write_text("old")
    replace = Path.replace

    def interrupt(path: Path, other: Path) -> Path:
        if path.name == "new":
            raise KeyboardInterrupt
        return replace(path, other)

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(target, "marker") as folder:
        (folder / "marker").write_text("new")
    assert (target / "marker").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_names_that_are_not_utf_8_are_written(tmp_path: Path) -> None:
    name = b"photo-\xff.jpg".decode("utf-8", "surrogateescape")
    files.write_json(tmp_path / "a.json", {"name": name})
    assert json.loads((tmp_path / "a.json").read_text()) == {"name": name}
    files.write_csv(tmp_path / "a.csv", ["name"], [[name]])
    assert b"photo-\xff.jpg" in (tmp_path / "a.csv").read_bytes()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_gets_the_content_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    files.write_csv(pipe, ["a"], [[1]])
    reader.join(10)
    assert received == [b"a\r\n1\r\n"]
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.csv"]


PRINT_A_TABLE = """
import sys
from pathlib import Path
from fkd_kaggle import files
print("before")
files.write_csv(Path(sys.argv[1]), ["a"], [[1]])
print("after")
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", ["/dev/fd/1", "/proc/self/fd/1"])
def test_redirected_output_gets_the_content_in_order(tmp_path: Path, name: str) -> None:
    # A link as /dev/stdout is, not /dev/stdout itself: a failure could replace it.
    link, target = tmp_path / "stdout", tmp_path / "out.csv"
    link.symlink_to(name)
    with target.open("wb") as output:
        command = [sys.executable, "-c", PRINT_A_TABLE, str(link)]
        subprocess.run(command, stdout=output, check=True)
    assert target.read_bytes() == b"before\na\r\n1\r\nafter\n"
    assert link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"stdout", "out.csv"}


def test_a_link_stays_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere/real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to("elsewhere/real.txt")
    files.write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    real.unlink()  # a link to nothing
    files.write_text(link, "again")
    assert real.read_text() == "again"
    assert {path.name for path in tmp_path.rglob("*")} == {"elsewhere", "real.txt", "link.txt"}


def test_a_link_to_a_folder_stays_and_the_folder_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    (real / "marker").write_text("old")
    link.symlink_to("real")
    with files.atomic_folder(link, "marker") as folder:
        (folder / "marker").write_text("new")
    assert link.is_symlink()
    assert (real / "marker").read_text() == "new"


def test_links_in_a_circle_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(FkdError, match=r"cannot write .*a: "):
        files.write_text(tmp_path / "a", "x")


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.fixture
def refused_cleanup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the deletion of temporary folders fail."""
    cleanup = tempfile.TemporaryDirectory.cleanup

    def clean(folder: tempfile.TemporaryDirectory[str]) -> None:
        cleanup(folder)
        refuse()

    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", clean)


@pytest.mark.parametrize(("owner", "function"), [(tempfile, "mkdtemp"), (Path, "replace")])
def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, function: str
) -> None:
    monkeypatch.setattr(owner, function, refuse)
    target = tmp_path / "target"
    with (
        pytest.raises(FkdError, match=r"^cannot write .*/target: Permission denied"),
        files.atomic_folder(target, "marker"),
    ):
        pass


@pytest.mark.usefixtures("refused_cleanup")
def test_a_temporary_folder_that_cannot_be_deleted_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(FkdError, match=r"^cannot write .*/target: Permission denied"),
        files.atomic_folder(tmp_path / "target", "marker"),
    ):
        pass


@pytest.mark.usefixtures("refused_cleanup")
def test_errors_of_the_work_are_not_about_the_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match="other"),
        files.atomic_folder(tmp_path / "target", "marker"),
    ):
        (tmp_path / "other").read_text()
    assert not (tmp_path / "target").exists()


def test_a_folder_without_all_markers_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "summary.json").write_text("theirs")
    with (
        pytest.raises(FkdError, match="contains other files"),
        files.atomic_folder(target, "summary.json", "table.csv"),
    ):
        pytest.fail("the work began")
    (target / "table.csv").write_text("")
    with files.atomic_folder(target, "summary.json", "table.csv") as folder:
        (folder / "summary.json").write_text("ours")
    assert [path.name for path in target.iterdir()] == ["summary.json"]


def test_a_lock_waits_for_its_owner(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("a") as owner, (tmp_path / "lock").open("a") as other:
        assert files.try_lock(owner)
        assert not files.try_lock(other)
        timer = threading.Timer(0.2, owner.close)
        timer.start()
        assert files.wait_for_lock(other, patience=30)
        timer.join()
