"""Atomic writes with unusual names and contents."""

from __future__ import annotations

import json
import os
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
