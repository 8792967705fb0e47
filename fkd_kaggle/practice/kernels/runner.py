"""The program that runs one kernel: writes its log, enforces its time limit, ends its processes.

The server starts it as ``python -I -S runner.py FOLDER`` with a pipe as standard input. When the
pipe closes, also because the server was killed, the runner kills the kernel with all its processes;
the log is on disk by then. Imports the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Final

CANCEL: Final = b"cancel"
"""Standard input that cancels the kernel."""

JOB: Final = "job.json"
"""File name of the job: command, cwd, environment, log and limit."""

OUTCOME: Final = "outcome.json"
"""File name of the outcome: status, failure and seconds."""

_MAX_LINE: Final = 1 << 16
"""Bytes after which a long line is split."""

_DRAIN: Final = 5.0
"""Seconds to wait for the rest of the output after the kernel's end."""

_SET_CHILD_SUBREAPER: Final = 36
"""Linux' PR_SET_CHILD_SUBREAPER."""

OUT_OF_MEMORY: Final = "Your notebook tried to allocate more memory than is available."

STOPPED: Final = "The practice Kaggle was stopped while the kernel ran."

_LOG_LOCK: Final = threading.Lock()


def run_kernel(folder: Path) -> None:
    """Run the job of a folder to its end and write the outcome.

    Parameters
    ----------
    folder
        Contains the job, and receives the outcome.
    """
    job: dict[str, Any] = json.loads((folder / JOB).read_text(encoding="utf-8"))
    events: queue.Queue[str] = queue.Queue()
    started = time.monotonic()
    adopts = _adopt_orphans()
    with Path(job["log"]).open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            job["command"],
            cwd=job["cwd"],
            env=job["environment"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        readers = [
            _in_background(_copy, "stdout", process.stdout, log, started),
            _in_background(_copy, "stderr", process.stderr, log, started),
        ]
        _in_background(_listen, events)
        _in_background(_wait_for_end, process, events)
        try:
            event = events.get(timeout=job["limit"])
        except queue.Empty:
            event = "late"
        _end(process)
        if adopts:
            _end_descendants()
        for reader in readers:
            reader.join(_DRAIN)
    status, failure = _outcome(event, process.returncode)
    outcome = {"status": status, "failure": failure, "seconds": time.monotonic() - started}
    temporary = folder / f".{OUTCOME}"
    temporary.write_text(json.dumps(outcome), encoding="utf-8")
    temporary.replace(folder / OUTCOME)


def _outcome(event: str, returncode: int) -> tuple[str, str]:
    """Return Kaggle's status and failure message."""
    if event == "lost":
        return "error", STOPPED
    if event in ("late", "cancel"):
        return "cancel_acknowledged", ""  # Kaggle's status in both cases
    if returncode == 0:
        return "complete", ""
    killed = returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    return "error", OUT_OF_MEMORY if killed else ""


def _copy(name: str, stream: IO[bytes], log: IO[str], started: float) -> None:
    """Write a stream's lines to the log as JSON objects while they arrive."""
    while data := stream.readline(_MAX_LINE):
        record = {
            "stream_name": name,
            "time": round(time.monotonic() - started, 6),
            "data": data.decode("utf-8", "replace"),
        }
        # A full disk does not stop the kernel.
        with _LOG_LOCK, contextlib.suppress(OSError):
            log.write(json.dumps(record) + "\n")
            log.flush()


def _listen(events: queue.Queue[str]) -> None:
    """Wait until the server cancels the kernel, stops or is killed."""
    message = sys.stdin.buffer.read()
    events.put("cancel" if message == CANCEL else "lost")


def _wait_for_end(process: subprocess.Popen[bytes], events: queue.Queue[str]) -> None:
    process.wait()
    events.put("ended")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the kernel and its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _adopt_orphans() -> bool:
    """Make the kernel's processes children of this process when their parents end (Linux only).

    Without namespaces, a process in another process group would otherwise outlive the kernel.
    """
    try:
        return ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    except (OSError, AttributeError, TypeError):
        return False


def _end_descendants() -> None:
    """Kill all processes below this one until none is left."""
    deadline = time.monotonic() + _DRAIN
    while time.monotonic() < deadline:
        children = _children(os.getpid())
        if not children:
            return
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _children(parent: int) -> list[int]:
    """Return the ids of the living children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            # The name of the program, in brackets, can contain spaces.
            state, owner = stat.read_text().rpartition(")")[2].split()[:2]
            if int(owner) == parent and state != "Z":
                found.append(int(stat.parent.name))
    return found


def _in_background(work: Any, *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    run_kernel(Path(sys.argv[1]))
