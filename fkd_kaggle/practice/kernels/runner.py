"""Runs one kernel: a program of its own that watches a process, its output and its time limit.

The server starts it as ``python -I -S kernel_runner.py FOLDER`` with a pipe as its input and may
then die: whatever way the pipe ends, so does the kernel with all its processes, and what it had
printed is on disk. Needs nothing but the standard library.
"""

from __future__ import annotations

import contextlib
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

JOB: Final = "job.json"

OUTCOME: Final = "outcome.json"

_LONGEST_LINE: Final = 1 << 16

_DRAIN: Final = 5.0

OUT_OF_MEMORY: Final = "Your notebook tried to allocate more memory than is available."

STOPPED: Final = "The practice Kaggle was stopped while the kernel ran."


def run_kernel(folder: Path) -> None:
    """Run ``folder``'s job to its end; leave its outcome as ``outcome.json``.

    The job is a command with its folder, environment, log and time limit in seconds.
    """
    job: dict[str, Any] = json.loads((folder / JOB).read_text(encoding="utf-8"))
    news: queue.Queue[str] = queue.Queue()
    started = time.monotonic()
    with Path(job["log"]).open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            job["command"], cwd=job["cwd"], env=job["environment"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        readers = [
            _in_background(_copy, "stdout", process.stdout, log, started),
            _in_background(_copy, "stderr", process.stderr, log, started),
        ]
        _in_background(_listen, news)
        _in_background(_await, process, news)
        try:
            told = news.get(timeout=job["limit"])
        except queue.Empty:
            told = "late"
        _end(process)
        for reader in readers:
            reader.join(_DRAIN)
    status, failure = _outcome(told, process.returncode)
    outcome = {"status": status, "failure": failure, "seconds": time.monotonic() - started}
    temporary = folder / f".{OUTCOME}"
    temporary.write_text(json.dumps(outcome), encoding="utf-8")
    temporary.replace(folder / OUTCOME)


def _outcome(told: str, returncode: int) -> tuple[str, str]:
    if told == "lost":
        return "error", STOPPED
    if told in ("late", "cancel"):
        return "cancel_acknowledged", ""  # what Kaggle answers in both cases
    if returncode == 0:
        return "complete", ""
    killed = returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    return "error", OUT_OF_MEMORY if killed else ""


def _copy(name: str, stream: IO[bytes], log: IO[str], started: float) -> None:
    """Write a stream's lines to the log as they come."""
    while data := stream.readline(_LONGEST_LINE):
        event = {
            "stream_name": name,
            "time": round(time.monotonic() - started, 6),
            "data": data.decode("utf-8", "replace"),
        }
        # On a full disk the kernel goes on, as far as it can.
        with _LOG_LOCK, contextlib.suppress(OSError):
            log.write(json.dumps(event) + "\n")
            log.flush()


def _listen(news: queue.Queue[str]) -> None:
    """Wait for the server to cancel, or to be gone."""
    said = sys.stdin.buffer.read()
    news.put("cancel" if said == CANCEL else "lost")


def _await(process: subprocess.Popen[bytes], news: queue.Queue[str]) -> None:
    process.wait()
    news.put("ended")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the kernel and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _in_background(work: Any, *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


_LOG_LOCK: Final = threading.Lock()

if __name__ == "__main__":
    run_kernel(Path(sys.argv[1]))
