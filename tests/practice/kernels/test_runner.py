"""The programs that run a kernel and a notebook, as processes of their own, without a server.

The practice Kaggle starts the runner with ``python -S``, under which coverage.py measures nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import pytest

from fkd_kaggle.practice.kernels import notebook_runner, runner

pytestmark = pytest.mark.slow

ORPHAN = """
import os, subprocess, sys, time
command = [sys.executable, "-c", "import time; time.sleep(300)"]
child = subprocess.Popen(command, start_new_session=True)
open("orphan.txt", "w").write(str(child.pid))
os.rename("orphan.txt", "orphan")
"""
"""Leaves a process in a group of its own, which a signal to the kernel's group does not reach."""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts the runner with a kernel's script, in ``tmp_path``."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str, limit: float = 60.0) -> subprocess.Popen[bytes]:
        job = {
            "command": [sys.executable, "-I", "-S", "-u", "-c", script],
            "cwd": str(tmp_path),
            "environment": {"PATH": os.environ["PATH"], "GREETING": "hello"},
            "log": str(tmp_path / "log"),
            "limit": limit,
        }
        (tmp_path / runner.JOB).write_text(json.dumps(job))
        command = [sys.executable, "-m", runner.__name__, str(tmp_path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        with process:  # closes its standard input
            process.kill()


def outcome(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    """Wait for the runner's end and return the outcome; nothing else is left of its writing."""
    process.wait(60)
    assert not (folder / f".{runner.OUTCOME}").exists()
    found: dict[str, Any] = json.loads((folder / runner.OUTCOME).read_text())
    return found


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def wait_for_file(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.01)
    return path.read_text()


def has_ended(process_id: int) -> bool:
    """Tell whether a process has ended; a zombie, which nobody waits for, has."""
    with suppress(OSError):
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def test_the_log_has_a_record_for_each_line_with_stream_and_time(
    start: Start, tmp_path: Path
) -> None:
    script = """
import os, sys
print(os.environ["GREETING"], sorted(os.environ)[0])
sys.stdout.buffer.write(b"caf\\xe9\\n" + b"x" * 70000 + b"\\n")
print("careful", file=sys.stderr)
"""
    ended = outcome(start(script), tmp_path)
    assert (ended["status"], ended["failure"]) == ("complete", "")
    records = log(tmp_path)
    out = [record["data"] for record in records if record["stream_name"] == "stdout"]
    assert out[:2] == ["hello GREETING\n", "caf\N{REPLACEMENT CHARACTER}\n"]
    assert out[2:] == ["x" * (1 << 16), "x" * (70000 - (1 << 16)) + "\n"]
    assert [one["data"] for one in records if one["stream_name"] == "stderr"] == ["careful\n"]
    times = [record["time"] for record in records]
    assert all(0 < one <= ended["seconds"] for one in times)


@pytest.mark.parametrize(
    ("ending", "failure"),
    [("sys.exit(3)", ""), ("os.kill(os.getpid(), 9)", runner.OUT_OF_MEMORY)],
    ids=["exit code", "killed"],
)
def test_a_kernel_that_fails_is_an_error(
    start: Start, tmp_path: Path, ending: str, failure: str
) -> None:
    ended = outcome(start(f"import os, sys\n{ending}"), tmp_path)
    assert (ended["status"], ended["failure"]) == ("error", failure)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="adopts orphans on Linux only")
def test_processes_that_a_kernel_leaves_end_with_it(start: Start, tmp_path: Path) -> None:
    ended = outcome(start(ORPHAN), tmp_path)
    assert ended["status"] == "complete"
    assert has_ended(int((tmp_path / "orphan").read_text()))


def test_a_kernel_ends_at_its_limit(start: Start, tmp_path: Path) -> None:
    process = start("print('awake')\nimport time\ntime.sleep(300)", limit=0.5)
    ended = outcome(process, tmp_path)
    assert (ended["status"], ended["failure"]) == ("cancel_acknowledged", "")
    assert 0.5 <= ended["seconds"] < 60


@pytest.mark.parametrize(
    ("message", "status", "failure"),
    [
        (runner.CANCEL, "cancel_acknowledged", ""),
        (b"", "error", runner.STOPPED),
    ],
    ids=["cancelled", "server ended"],
)
def test_the_servers_last_message_decides_how_a_kernel_ends(
    start: Start, tmp_path: Path, message: bytes, status: str, failure: str
) -> None:
    process = start("open('ready', 'w')\nimport time\ntime.sleep(300)")
    wait_for_file(tmp_path / "ready")
    assert process.stdin is not None
    process.stdin.write(message)
    process.stdin.close()
    ended = outcome(process, tmp_path)
    assert (ended["status"], ended["failure"]) == (status, failure)


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True], ids=["complete", "failed"])
def test_a_notebook_is_executed_and_stored_with_its_outputs(tmp_path: Path, fails: bool) -> None:
    cells = ["import sys\nprint('out')\nprint('careful', file=sys.stderr)", "1 + 1"]
    if fails:
        cells[1] = "raise ValueError('no faces')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    nbformat.write(notebook, tmp_path / "source.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", notebook_runner.__name__, "source.ipynb", "executed.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == int(fails), done.stderr
    assert done.stdout == "out\n"
    assert "careful\n" in done.stderr
    assert ("ValueError" in done.stderr) == fails
    executed = nbformat.read(tmp_path / "executed.ipynb", as_version=4)
    first, second = (cell.outputs for cell in executed.cells)
    assert {output.name: output.text for output in first} == {
        "stdout": "out\n", "stderr": "careful\n"
    }  # fmt: skip
    (output,) = second
    if fails:
        assert (output.ename, output.evalue) == ("ValueError", "no faces")
    else:
        assert output.data["text/plain"] == "2"
