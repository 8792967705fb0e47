#!/usr/bin/env python3
"""Install the locked packages in .venv, then run one command.

    python3 dev.py test            all checks and tests; further arguments go to pytest
    python3 dev.py test --fast     all checks, and beside them the tests that are not slow
    python3 dev.py coverage        the lines that all tests run, subprocesses included
    python3 dev.py docs            serve the documentation on http://localhost:8000
    python3 dev.py release-check   install the wheel in empty environments with pip and uv
    python3 dev.py rehearse        any other arguments are a command of fkd-kaggle

Needs Python 3.11, 3.12 or 3.13 and nothing else. Only the first call installs packages, and the
first one after requirements.lock or pyproject.toml has changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
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
    ("-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", "build/site"),
)
COVERED = 95
"""Lines of the package that the tests run, in per cent."""


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
    command, arguments = sys.argv[1], sys.argv[2:]
    own = {"test": test, "coverage": coverage, "docs": docs, "release-check": release_check}
    if command in own:
        # Material for MkDocs prints an advertisement without this variable.
        os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")
        return own[command](arguments)
    return run(python(), "-m", "fkd_kaggle", command, *arguments, cwd=None)


def test(arguments: list[str]) -> int:
    """Run all checks and the tests; return the first exit code that is not 0."""
    fast = "--fast" in arguments
    options = [each for each in arguments if each != "--fast"]
    if fast:
        # Some tests wait: one process more than cores.
        processes = str((os.cpu_count() or 1) + 1)
        options = ["-m", "not slow", "-n", processes, *options]
    # Without bytecode, each process of the tests compiles the package and rewrites all assertions.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            checks = [pool.submit(check, command) for command in CHECKS]
            if fast:
                # Beside the checks, because without a cache mypy takes longer than half the tests.
                tests = run(python(), "-m", "pytest", *options)
            codes = [report(each.result()) for each in checks]
    except KeyboardInterrupt:
        return 130  # a shell's code for Ctrl-C
    if not fast:
        tests = run(python(), "-m", "pytest", *options)
    return next((code for code in (*codes, tests) if code), 0)


def check(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run a check, which runs beside others, and keep its output."""
    return subprocess.run(
        [python(), *command],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def report(done: subprocess.CompletedProcess[str]) -> int:
    """Print a check and its output; return its exit code."""
    print("$ python", *done.args[1:], "\n" + done.stdout, end="", flush=True)
    return done.returncode


def coverage(arguments: list[str]) -> int:
    """Run the tests under coverage and print the share of lines; return an exit code."""
    run(python(), "-m", "coverage", "erase")
    code = run(python(), "-m", "coverage", "run", "-m", "pytest", *arguments)
    run(python(), "-m", "coverage", "combine", "--quiet")
    report = run(python(), "-m", "coverage", "report", "--fail-under", str(COVERED))
    return code or report


def docs(arguments: list[str]) -> int:
    """Serve the documentation until Ctrl-C."""
    return run(python(), "-m", "mkdocs", "serve", *arguments)


def release_check(arguments: list[str]) -> int:
    """Build the wheel, install it in empty environments with pip and uv, and run the command.

    Not part of CI, because it installs packages that no lock file names.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        code = run(python(), "-m", "hatchling", "build", "-d", str(folder / "dist"))
        if code:
            return code
        (wheel,) = (folder / "dist").glob("*.whl")
        venv = folder / "venv"
        fkd = str(venv / ("Scripts/fkd-kaggle.exe" if os.name == "nt" else "bin/fkd-kaggle"))
        pip = str(Path(fkd).with_name("pip"))
        steps = [
            (sys.executable, "-m", "venv", str(venv)),
            (pip, "install", "--quiet", str(wheel)),
            (fkd, "--version"),
            (fkd, "recipes"),
            (fkd, "rehearse", "--time-limit", "1m"),
        ]
        if shutil.which("uv"):
            tools = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
            os.environ.update(tools)
            steps += [
                ("uv", "tool", "install", "--quiet", "--python", sys.executable, str(wheel)),
                (str(folder / "bin" / Path(fkd).name), "--version"),
            ]
        else:
            print("note: uv is not installed: `uv tool install` is not checked")
        for step in steps:
            code = run(*step, cwd=folder)
            if code:
                print("error: the release check failed at the step above", file=sys.stderr)
                return code
    print("release check: passed")
    return 0


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
