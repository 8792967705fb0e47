#!/usr/bin/env python3
"""Install the locked packages in .venv, then run one command.

``python3 dev.py test`` runs all checks; further arguments are passed to pytest. Any other arguments
are passed to fkd-kaggle: ``python3 dev.py rehearse``, ``python3 dev.py train-ensemble --help``.
Needs Python 3.11, 3.12 or 3.13 and nothing else. Only the first call installs packages, and the
first one after requirements.lock or pyproject.toml has changed.
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
    ("-m", "ruff", "check"),
    ("-m", "ruff", "format", "--check"),
    ("-m", "mypy"),
    # import-linter has no __main__ module.
    ("-c", "import importlinter.cli as cli; cli.lint_imports_command()"),
)


def main() -> int:
    """Install what is missing, then run the checks or the command; return its exit code."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0 if len(sys.argv) > 1 else 2
    if not (3, 11) <= sys.version_info < (3, 14):
        print(
            f"error: this is Python {sys.version.split()[0]}, but the locked packages need 3.11, "
            "3.12 or 3.13: run dev.py with one of these, for example python3.13 dev.py",
            file=sys.stderr,
        )
        return 2
    set_up()
    if sys.argv[1] == "test":
        checks = (*CHECKS, ("-m", "pytest", *sys.argv[2:]))
        codes = [run(python(), *check) for check in checks]
        return next((code for code in codes if code), 0)
    return run(python(), "-m", "fkd_kaggle", *sys.argv[1:], cwd=None)


def set_up() -> None:
    """Install the packages of the lock file in .venv, unless they are installed."""
    wanted = hashlib.sha256(LOCK.read_bytes() + (HERE / "pyproject.toml").read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted and Path(python()).exists():
        return
    print("installing packages in .venv (once: a few minutes, about 3 GB)", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False).returncode:
        sys.exit("error: python3 -m venv failed: install the system package python3-venv")
    pip = (python(), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    steps = (
        # pip checks every package against the hashes of the lock file.
        (*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)),
        # The lock file includes the build tool, so that pip downloads no unlocked package.
        (*pip, "--no-deps", "--no-build-isolation", "--editable", str(HERE)),
    )
    for step in steps:
        if subprocess.run(step, check=False).returncode:
            sys.exit("error: the installation failed: see the lines above, then run this again")
    STAMP.write_text(wanted)


def run(*command: str, cwd: Path | None = HERE) -> int:
    """Run a command and return its exit code; the command handles Ctrl-C."""
    print("$", *("python" if part == python() else part for part in command), flush=True)
    with subprocess.Popen(command, cwd=cwd) as process:
        while True:
            try:
                code = process.wait()
                return code if code >= 0 else 128 - code  # a shell's code for a signal
            except KeyboardInterrupt:
                continue


def python() -> str:
    """Return the path of the Python in .venv."""
    return str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


if __name__ == "__main__":
    sys.exit(main())
