"""Run built kernels with the package versions of Kaggle's images: ``tests/image_versions.py``.

For each image it creates a virtual environment with the image's Python and these packages only, and

1. runs a kernel that trains the smoke ensemble for one epoch with two simulated GPUs;
2. runs a kernel that trains one network on both GPUs together in mixed float16;
3. predicts with the weights of kernel 1 in the development environment, whose Keras is newer, and
   compares the predictions with those of the kernel;
4. trains in the development environment and predicts with these weights in the image.

It is not part of the test suite, because it installs TensorFlow for each image. Run it in the
development environment; arguments are names of images. The environments stay in the folder
``FKD_IMAGES`` (default: ``fkd-images`` in the folder for temporary files) and are used again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from conftest import write_competition

from fkd_kaggle.kernel import build, names
from fkd_kaggle.kernel.environment import OLDEST
from fkd_kaggle.kernel.job import KernelTask, shard_tasks
from fkd_kaggle.kernel.packing import pack_package
from fkd_kaggle.recipes import plans

PIP_NAMES = {"sklearn": "scikit-learn", "tensorflow": "tensorflow-cpu"}

TOLERANCE = 2e-2
"""Largest difference in pixels between predictions of the same weights in two environments."""

COMPETITION = "facial-keypoints-detection"


@dataclass(frozen=True)
class Image:
    """The Python and the packages of an image."""

    python: str
    """Version, such as "3.12"; the patch version is that of the machine."""
    packages: Mapping[str, str]
    """Version by import name."""


_MID_2026 = {
    "keras": "3.13.2", "tensorflow": "2.20.0", "numpy": "2.0.2", "pandas": "2.2.2",
    "scipy": "1.16.3", "sklearn": "1.6.1", "rich": "13.9.4", "matplotlib": "3.10.0",
    "protobuf": "5.29.5",
}  # fmt: skip

IMAGES = {
    # The oldest supported versions, with matplotlib as Kaggle pinned it in 2025.
    "oldest": Image(
        "3.11", {**OLDEST, "numpy": "1.26.4", "pandas": "2.2.0", "matplotlib": "3.7.5"}
    ),
    # Kaggle's image of mid-2026 is built on Colab's; Kaggle forces protobuf 5.29.5
    # (github.com/googlecolab/backend-info, github.com/Kaggle/docker-python).
    "2026-06": Image("3.12", _MID_2026),
    # Colab's next image, on which Kaggle's next image will be built.
    "next": Image("3.13", {**_MID_2026, "numpy": "2.1.3", "pandas": "2.2.3"}),
}

PREDICT = """
import sys
from pathlib import Path
import numpy as np
from fkd_kaggle.data import dataset
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.training.inference import predict_keypoints
from fkd_kaggle.training.network import load_network
run, data, target = Run.open(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
test, lookup = dataset.read_test_and_lookup(data)
images, annotators = test.images[:40], lookup.annotators(test.ids)[:40]
points = []
for member in run.plan.members:
    network = load_network(member.recipe, run.member_folder(member.name))
    points.append(predict_keypoints(
        network, member.recipe, images, annotators, crop_search=False
    ))
np.save(target, np.stack(points))
"""
"""Predicts test faces with the weights of each member of a run; arguments: run, data, target."""


def main() -> int:
    """Check the named images, or all of them; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=", ".join(IMAGES))
    chosen = parser.parse_args().images or list(IMAGES)
    unknown = [name for name in chosen if name not in IMAGES]
    if unknown:
        parser.error(f"no image {unknown[0]!r}: known are {', '.join(IMAGES)}")
    failed = [name for name in chosen if not check_image(name)]
    print(f"failed: {', '.join(failed)}" if failed else f"all passed: {', '.join(chosen)}")
    return bool(failed)


def check_image(name: str) -> bool:
    """Run all checks of an image; return whether they passed."""
    root = Path(os.environ.get("FKD_IMAGES", Path(tempfile.gettempdir()) / "fkd-images"))
    python = install(root / name, IMAGES[name])
    with tempfile.TemporaryDirectory(prefix="fkd-image-") as folder:
        passed = True
        for task in tasks():
            began = time.monotonic()
            code = run_kernel(python, task, Path(folder) / f"kernel-{task.run_name}")
            seconds = time.monotonic() - began
            print(f"== {name}, {task.run_name}: exit {code}, {seconds:.0f} s", flush=True)
            passed &= code == 0
        return passed and check_weights(name, python, Path(folder))


def install(folder: Path, image: Image) -> Path:
    """Create a virtual environment with the image's packages; return the path of its Python."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = [f"{PIP_NAMES.get(name, name)}=={version}" for name, version in image.packages.items()]
    marker = folder / "installed.txt"
    if marker.exists() and marker.read_text() == "\n".join(wanted):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([find_python(image.python), "-m", "venv", folder], check=True)
    print(f"== installing {' '.join(wanted)}", flush=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*map(str, pip), *wanted], check=True)
    marker.write_text("\n".join(wanted))
    return python


def find_python(version: str) -> str:
    """Return a Python of a version, from pyenv or the PATH; otherwise this Python."""
    for folder in sorted(Path.home().glob(f".pyenv/versions/{version}.*"), reverse=True):
        if (folder / "bin" / "python").exists():
            return str(folder / "bin" / "python")
    found = shutil.which(f"python{version}")
    if found is None and sys.version_info[:2] != tuple(map(int, version.split("."))):
        print(f"== no Python {version} on this machine: using {sys.version.split()[0]}", flush=True)
    return found or sys.executable


def tasks() -> list[KernelTask]:
    """Return the tasks of the kernels: two networks side by side, and one on both GPUs."""
    smoke = plans.make_plan(
        plans.TrainingOptions(["smoke"], folds=2, epochs=1, batch_size=8, precision="float32")
    )
    alone = plans.make_plan(
        plans.TrainingOptions(
            ["heatmap-small"], folds=2, epochs=1, batch_size=8, precision="float16"
        )
    )
    together = shard_tasks(KernelTask(alone, "together"), 2)[0]
    return [KernelTask(smoke, "smoke"), replace(together, run_name="together")]


def run_kernel(python: Path | str, task: KernelTask, root: Path) -> int:
    """Build a kernel and run it as Kaggle does; return its exit code."""
    write_competition(root / "input" / "competitions" / COMPETITION, train=40, test=12)
    (root / "working").mkdir()
    slug = names.slug_for(task.run_name, task.shard)
    folder = build.write_kernel(
        root / "src", task, owner="someone", slug=slug, title=names.title_for(slug)
    )
    return subprocess.run(
        [python, "-I", folder / "train_ensemble.py"],
        cwd=root / "working",
        env=clean_environment({"FKD_KAGGLE_ROOT": str(root), "FKD_SIMULATED_GPUS": "2"}),
        check=False,
    ).returncode


def check_weights(name: str, python: Path, folder: Path) -> bool:
    """Load the image's weights in the development environment, and the other way round."""
    package = folder / "package"
    zipfile.ZipFile(BytesIO(pack_package())).extractall(package)
    smoke = tasks()[0]
    code = run_kernel(sys.executable, smoke, folder / "own")
    data = folder / "kernel-smoke" / "input" / "competitions" / COMPETITION
    passed = code == 0
    for where, run in (("image", folder / "kernel-smoke"), ("own", folder / "own")):
        stored = run / "working" / "smoke"
        predicted = []
        for what, interpreter in (("image", python), ("own", Path(sys.executable))):
            target = folder / f"{where}-in-{what}.npy"
            done = subprocess.run(
                [interpreter, "-c", PREDICT, stored, data, target],
                env=clean_environment({"PYTHONPATH": str(package)}),
                check=False,
            )
            predicted.append(np.load(target) if done.returncode == 0 else np.array(np.nan))
        difference = float(np.nanmax(np.abs(predicted[0] - predicted[1])))
        print(f"== {name}, weights of {where}: predictions differ by {difference:.1e} px at most")
        passed &= difference <= TOLERANCE
    return passed


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables without those that select packages, and ``more``."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    outside = {key: value for key, value in os.environ.items() if key not in hidden}
    return {**outside, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", **more}


if __name__ == "__main__":
    sys.exit(main())
