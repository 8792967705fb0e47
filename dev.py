#!/usr/bin/env python3
"""Set everything up in .venv, then run one thing: ``python3 dev.py rehearse`` or ``… test``.

Needs Python 3.11, 3.12 or 3.13 and nothing else. The first call installs the locked packages; later
calls go straight to work. What follows ``test`` is passed to pytest, any other command line to
fkd-kaggle: ``python3 dev.py train-ensemble --help``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
LOCK = HERE / "requirements.lock"
STAMP = VENV / ".installed"
CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
)


def main() -> int:
    """Install what is missing, then run the checks or the command; return its exit code."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0 if len(sys.argv) > 1 else 2
    if not (3, 11) <= sys.version_info < (3, 14):
        print(
            f"error: this is Python {sys.version.split()[0]}, and TensorFlow comes for 3.11, 3.12 "
            "and 3.13 here: run dev.py with one of them, for instance python3.13 dev.py",
            file=sys.stderr,
        )
        return 2
    set_up()
    if sys.argv[1] == "test":
        codes = [run(python(), "-m", *check) for check in (*CHECKS, ("pytest", *sys.argv[2:]))]
        return next((code for code in codes if code), 0)
    return run(python(), "-m", "fkd_kaggle", *sys.argv[1:], cwd=None)


def set_up() -> None:
    """Make .venv as the lock file says, unless it already is."""
    wanted = hashlib.sha256(LOCK.read_bytes() + (HERE / "pyproject.toml").read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted and Path(python()).exists():
        return
    print("setting up .venv (once; a few minutes and about 3 GB)", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False).returncode:
        sys.exit("error: python3 -m venv failed: install your system's python3-venv package")
    pip = (python(), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    steps = (
        # Every package is checked against the lock file's hashes.
        (*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)),
        # The build tool is in the lock file too, so nothing unlocked is fetched to build with.
        (*pip, "--no-deps", "--no-build-isolation", "--editable", str(HERE)),
    )
    for step in steps:
        if subprocess.run(step, check=False).returncode:
            sys.exit("error: installing failed; see the lines above, then run this again")
    STAMP.write_text(wanted)


def run(*command: str, cwd: Path | None = HERE) -> int:
    """Run a command and return its exit code; Ctrl-C is the command's to handle."""
    print("$", *("python" if part == python() else part for part in command), flush=True)
    with subprocess.Popen(command, cwd=cwd) as process:
        while True:
            try:
                code = process.wait()
                return code if code >= 0 else 128 - code  # as shells say that a signal ended it
            except KeyboardInterrupt:
                continue


def python() -> str:
    """Return the path of .venv's Python."""
    return str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


if __name__ == "__main__":
    sys.exit(main())
