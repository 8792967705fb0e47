"""The lock of a run folder, with an owner in another process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fkd_kaggle.errors import FkdError, RunError
from fkd_kaggle.runs import lock
from fkd_kaggle.runs.lock import is_locked, lock_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks with flock")

HOLDER = """
import fcntl, sys
stream = open(sys.argv[1], "a+")
fcntl.flock(stream, fcntl.LOCK_EX)
stream.write(sys.argv[2])
stream.flush()
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def owner(folder: Path, text: str) -> Iterator[int]:
    """Let another process hold the lock, with a text in its file; yields its id."""
    command = [sys.executable, "-I", "-c", HOLDER, str(folder / ".lock"), text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield process.pid
        process.communicate()


def test_a_lock_of_another_process_is_refused_with_its_owner(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with owner(tmp_path, '{"pid": 4711, "host": "far"}'):
        assert is_locked(tmp_path)
        with pytest.raises(RunError, match="is being trained by process 4711 on far: wait"):
            lock_run(tmp_path).__enter__()
    # The lock of a process that has ended is free, whatever its file says.
    assert not is_locked(tmp_path)
    with lock_run(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "host": "far"}', '{"pid": 1}'])
def test_an_owner_that_is_not_readable_is_another_process(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_PATIENCE", 0.0)
    with (
        owner(tmp_path, text),
        pytest.raises(RunError, match="is being trained by another process: wait"),
    ):
        lock_run(tmp_path).__enter__()


def test_the_file_names_the_owner_only_while_it_trains(tmp_path: Path) -> None:
    with lock_run(tmp_path):
        text = (tmp_path / ".lock").read_text()
        assert f'"pid": {os.getpid()}' in text
        assert socket.gethostname() in text
    assert (tmp_path / ".lock").read_text() == ""


def test_an_error_of_the_training_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock_run(tmp_path):
        raise KeyError
    assert not is_locked(tmp_path)
    assert (tmp_path / ".lock").read_text() == ""


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FkdError, match=r"cannot write .*No such file"), lock_run(tmp_path / "none"):
        pass


def test_a_file_system_without_locks_is_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(stream: object, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock_run(tmp_path):
        assert not is_locked(tmp_path)
