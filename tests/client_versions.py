"""Check this package with several versions of the official client: ``tests/client_versions.py``.

For each version it creates a virtual environment with the client and its SDK, which takes all other
packages from the development environment, and

1. pushes folders that ``kernel build`` wrote, a script and a notebook, with the plain ``kaggle``
   command to a practice Kaggle, and reads their status, log and output;
2. runs the tests of the session with Kaggle and of the practice Kaggle's kernels.

It is not part of the test suite, because it installs packages. Run it in the development
environment; arguments are versions of the client, by default those in ``CLIENTS``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from fkd_kaggle.kernel import build
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.practice.dataset import PracticeData, SyntheticSize
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.recipes import plans

ROOT = Path(__file__).parents[1]

CLIENTS = {"2.2.4": "kagglesdk==0.1.37", "2.2.5": "kagglesdk>=0.1.38"}

TESTS = ("tests/kaggle_api/test_kaggle_session.py", "tests/practice/kernels")

PUSHED = """\
import sys
print("version", sys.argv, flush=True)
open("submission.csv", "w").write("RowId,Location\\n1,2\\n")
"""
"""Replaces the script of one of the folders, because training takes minutes."""


def main() -> int:
    """Check the given versions; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=", ".join(CLIENTS))
    parser.add_argument("--no-tests", action="store_true", help="only push with the plain client")
    options = parser.parse_args()
    failed = []
    for version in options.versions or CLIENTS:
        with tempfile.TemporaryDirectory(prefix="fkd-client-") as folder:
            python = install(Path(folder) / "venv", version)
            passed = push_with(python, Path(folder))
            if passed and not options.no_tests:
                passed = run_tests(python)
        print(f"== client {version}: {'passed' if passed else 'FAILED'}", flush=True)
        failed += [] if passed else [version]
    return bool(failed)


def install(folder: Path, version: str) -> Path:
    """Create the virtual environment of a client; return the path of its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = [f"kaggle=={version}", CLIENTS.get(version, "kagglesdk"), "certifi>=2026.10.19"]
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", *wanted], check=True)
    find = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    packages = subprocess.run(find, check=True, capture_output=True, text=True).stdout.strip()
    # After the environment's own packages, so that only the others come from here.
    (Path(packages) / "zz_development.pth").write_text(sysconfig.get_paths()["purelib"])
    return python


def push_with(python: Path, folder: Path) -> bool:
    """Push a script and a notebook with the plain client; return whether all answers are right."""
    job = KernelJob(plans.make_plan(plans.TrainingOptions(["smoke"], epochs=1)), accelerator="None")
    source = PracticeData(synthetic=SyntheticSize(40, 12))
    state = folder / "practice"
    with PracticeKaggle(source, state_dir=state, port=0, kernels_at_once=3) as practice:
        environment = {
            **os.environ, "KAGGLE_API_ENVIRONMENT": "LOCALHOST", "http_proxy": practice.url,
            "KAGGLE_USERNAME": "ada", "KAGGLE_KEY": "any", "HOME": str(folder),
        }  # fmt: skip

        def kaggle(*arguments: str) -> str:
            command = [str(python), "-c", "from kaggle.cli import main; main()", *arguments]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=120, check=False
            )
            print(f"$ kaggle {' '.join(arguments)}\n{done.stdout}{done.stderr}", end="", flush=True)
            return done.stdout + done.stderr

        real = build.build_job_folder(job, folder / "real", "ada", "real")[0]
        pushed = [kaggle("kernels", "push", "-p", str(real))]
        notebook = KernelJob(job.plan, accelerator="None", notebook=True)
        pushed += [
            kaggle("kernels", "push", "-p", str(one))
            for one in build.build_job_folder(notebook, folder / "notebook", "ada", "notebook")
        ]
        short = build.build_job_folder(job, folder / "short", "ada", "short")[0]
        metadata = json.loads((short / "kernel-metadata.json").read_text())
        (short / metadata["code_file"]).write_text(PUSHED)
        pushed.append(kaggle("kernels", "push", "-p", str(short)))
        kernel = practice.kernels.versions.find("ada", "fkd-short")
        assert kernel is not None
        practice.kernels.wait(kernel, timeout=600)
        answers = kaggle("kernels", "status", "ada/fkd-short")
        answers += kaggle("kernels", "logs", "ada/fkd-short")
        kaggle("kernels", "output", "ada/fkd-short", "-p", str(folder / "out"))
        return (
            all("successfully pushed" in answer for answer in pushed)
            and "COMPLETE" in answers
            and "version ['" in answers
            and (folder / "out" / "submission.csv").is_file()
        )


def run_tests(python: Path) -> bool:
    """Run the tests that use the client; return whether they passed."""
    command = [str(python), "-m", "pytest", *TESTS, "-n", "0", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
