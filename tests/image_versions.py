"""Run a built kernel with the package versions of Kaggle's images: ``tests/image_versions.py``.

For each set of versions it creates a virtual environment with these packages only and runs two
kernels on a small data set: the smoke ensemble for one epoch with two simulated GPUs, and a network
on both GPUs in mixed float16. It is not part of the test suite, because it installs TensorFlow for
each set. Run it in the development environment; arguments are the names of the sets to run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import replace
from pathlib import Path

from conftest import write_competition

from fkd_kaggle.kernel import build, names
from fkd_kaggle.kernel.environment import OLDEST
from fkd_kaggle.kernel.job import KernelTask, shard_tasks
from fkd_kaggle.recipes import plans

PIP_NAMES = {"sklearn": "scikit-learn", "tensorflow": "tensorflow-cpu"}

SETS = {
    # The oldest supported versions, and scikit-learn and matplotlib as pinned by Kaggle in 2025
    # (github.com/Kaggle/docker-python, kaggle_requirements.txt).
    "oldest": {**OLDEST, "numpy": "1.26.4", "pandas": "2.2.0", "matplotlib": "3.7.5"},
    # Kaggle's base image is Colab's; versions of June 2026 (github.com/googlecolab/backend-info).
    "2026-06": {
        "keras": "3.13.2", "tensorflow": "2.20.0", "numpy": "2.0.2", "pandas": "2.2.2",
        "scipy": "1.16.3", "sklearn": "1.6.1", "rich": "13.9.4", "matplotlib": "3.10.0",
    },
}  # fmt: skip


def main() -> int:
    """Run the named sets, or all of them; return 1 if a kernel failed."""
    failed = []
    for name in sys.argv[1:] or SETS:
        with tempfile.TemporaryDirectory(prefix="fkd-image-") as folder:
            python = install(Path(folder) / "venv", SETS[name])
            for job, environment in jobs():
                began = time.monotonic()
                code = run(python, job, Path(folder) / f"kernel-{job.run_name}", environment)
                print(f"== {name}, {job.run_name}: exit {code}, {time.monotonic() - began:.0f} s")
                failed += [name] if code else []
    print(f"failed: {', '.join(failed)}" if failed else "all kernels ran")
    return bool(failed)


def install(folder: Path, versions: dict[str, str]) -> Path:
    """Create a virtual environment with these packages and return the path of its Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = [f"{PIP_NAMES.get(name, name)}=={version}" for name, version in versions.items()]
    print(f"== installing {' '.join(wanted)}", flush=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *wanted], check=True)
    return python


def jobs() -> list[tuple[KernelTask, dict[str, str]]]:
    """Return the task and the environment variables of each kernel."""
    smoke = plans.make_plan(plans.TrainingOptions(["smoke"], folds=2, epochs=1, batch_size=8))
    alone = plans.make_plan(
        plans.TrainingOptions(
            ["heatmap-small"], folds=2, epochs=1, batch_size=8, precision="float16"
        )
    )
    both = {"FKD_SIMULATED_GPUS": "2"}
    together = shard_tasks(KernelTask(alone, "together"), 2)[0]
    return [(KernelTask(smoke, "smoke"), both), (replace(together, run_name="together"), both)]


def run(python: Path, job: KernelTask, root: Path, environment: dict[str, str]) -> int:
    """Build a kernel and run it as Kaggle does; return its exit code."""
    write_competition(root / "input" / "facial-keypoints-detection", train=40, test=12)
    (root / "working").mkdir()
    slug = names.slug_for(job.run_name, job.shard)
    folder = build.write_kernel(
        root / "src", job, owner="someone", slug=slug, title=names.title_for(slug)
    )
    outside = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(python), "-I", str(folder / "train_ensemble.py")], cwd=root / "working",
        env={**outside, "FKD_KAGGLE_ROOT": str(root), **environment}, check=False,
    ).returncode  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
