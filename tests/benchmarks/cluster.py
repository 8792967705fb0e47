"""Overhead of a Ray cluster on this machine against the local pool: seconds and memory.

    python tests/benchmarks/cluster.py [--recipe smoke] [--data-dir data] [--epochs 2]

Needs the extra ``cluster``. Trains the same ensemble with worker processes and with ``--cluster
auto``, and prints the duration and the largest resident memory of all processes that belong to the
command (Ray's own processes included).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def main() -> None:
    """Train both ways and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", default="smoke")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--epochs", default="2")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fkd-") as folder:
        for name, options in (("local pool", []), ("--cluster auto", ["--cluster", "auto"])):
            runs = Path(folder, name.strip("-").replace(" ", "-"))
            command = [
                sys.executable, "-m", "fkd_kaggle", "train-ensemble", "--recipe", arguments.recipe,
                "--epochs", arguments.epochs, "--precision", "float32", "--run", "run",
                "--data-dir", arguments.data_dir, "--runs-dir", str(runs), *options,
            ]  # fmt: skip
            seconds, memory, code = measure(command, Path(folder, "log"))
            digest = hashlib.sha256()
            for path in sorted(runs.rglob("test.npz")):
                digest.update(path.read_bytes())
            print(
                f"{name:16} {seconds:6.1f} s {memory / 2**20:7.0f} MiB, exit code {code}, "
                f"predictions {digest.hexdigest()[:12]}",
                flush=True,
            )
            if code:
                print(Path(folder, "log").read_text()[-2000:])


def measure(command: list[str], log: Path) -> tuple[float, int, int]:
    """Run a command; return its seconds, the largest memory of its processes, and its exit code."""
    before = set(all_processes())
    largest = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.wait(1.0):
            pids = set(all_processes()) - before
            largest = max(largest, sum(resident_memory(pid) for pid in pids))

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.monotonic()
    with log.open("w") as stream:
        code = subprocess.run(command, stdout=stream, stderr=stream, check=False).returncode
    done.set()
    thread.join()
    return time.monotonic() - began, largest, code


def all_processes() -> list[int]:
    """Return the processes that run Python or belong to Ray."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if b"fkd_kaggle" in line or b"ray" in line:
            found.append(int(path.parent.name))
    return found


def resident_memory(pid: int) -> int:
    """Return the memory of a process in bytes, shared memory excluded; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
