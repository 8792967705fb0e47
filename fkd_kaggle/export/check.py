"""The check of an exported file: another process runs it with its runtime only.

The process reads nothing of this package but the export folder, as a user of the file does.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.errors import FkdError

FILE_NAME = "check.json"

LIMIT = 0.02
"""Pixels: largest accepted difference from ``predict``."""

_TIMEOUT = 900
"""Seconds."""


@dataclass(frozen=True)
class Check:
    """What was measured of an exported file."""

    largest_difference: float
    """Pixels, over all coordinates of the held-out faces."""
    mean_difference: float
    """Pixels."""
    faces: int
    bytes: int
    """Size of the model's files."""
    milliseconds_batch_1: float
    """Per face, median of 200 predictions of one face."""
    milliseconds_batch_64: float
    """Per face."""
    threads: int
    start_up_seconds: float
    """Import of the runtime, loading of the file and the first prediction."""
    memory_mib: int
    """Largest resident memory of the process; 0 where the system does not say."""
    runtime: str


def check_export(
    folder: Path, model_file: str, images: np.ndarray, expected: np.ndarray, *, threads: int = 1
) -> Check:
    """Run the exported file on faces and compare its points with those of ``predict``.

    Parameters
    ----------
    folder
        The export folder, with example.py.
    model_file
        Name of the model's file or folder in it.
    images
        (N, 96, 96) uint8 held-out faces.
    expected
        (N, 15, 2) float32 pixels, what ``predict`` returns for them.
    threads
        Number of CPU threads for the measurement.

    Raises
    ------
    FkdError
        The runtime cannot read the file, or a coordinate differs by more than ``LIMIT`` pixels.
    """
    facts, points = _measure(folder, images, threads)
    difference = np.abs(points - expected)
    largest = max(float(difference.max()), float(facts["single"]))
    if not largest <= LIMIT:
        raise FkdError(
            f"the exported file differs from `predict` by {largest:.3f} px on held-out faces, more "
            f"than {LIMIT} px ({facts['runtime']}): nothing was exported"
        )
    return Check(
        largest_difference=round(largest, 6),
        mean_difference=round(float(difference.mean()), 7),
        faces=len(images),
        bytes=size_of(folder, model_file),
        milliseconds_batch_1=round(facts["batch_1"], 3),
        milliseconds_batch_64=round(facts["batch_64"], 3),
        threads=threads,
        start_up_seconds=facts["start_up_seconds"],
        memory_mib=facts["memory_mib"],
        runtime=facts["runtime"],
    )


def write_check(folder: Path, check: Check, about: Mapping[str, Any]) -> None:
    """Write check.json.

    Parameters
    ----------
    folder
        The export folder.
    check
        The measurement.
    about
        Further facts: run, format, annotator.
    """
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    files.write_json(
        folder / FILE_NAME,
        {**about, **asdict(check), "limit_pixels": LIMIT, "machine": machine},
    )


def size_of(folder: Path, model_file: str) -> int:
    """Return the bytes of a model's files: the file, the folder, or .xml and .bin."""
    path = folder / model_file
    if path.is_dir():
        return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if weights.exists() else 0)


def _measure(folder: Path, images: np.ndarray, threads: int) -> tuple[dict[str, Any], np.ndarray]:
    """Return what the other process measured, and the (N, 15, 2) points."""
    script = resources.files("fkd_kaggle.export") / "templates" / "measure.py.txt"
    with tempfile.TemporaryDirectory() as temporary:
        faces, result, program = (
            Path(temporary, name) for name in ("faces.npy", "result.npz", "measure.py")
        )
        np.save(faces, images)
        program.write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
        names = [str(path) for path in (program, folder.resolve(), faces, result)]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        try:
            done = subprocess.run(
                [sys.executable, "-B", *names, str(threads)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FkdError("the exported file did not answer within 15 minutes") from None
        if done.returncode or not result.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            reason = lines[-1] if lines else f"exit code {done.returncode}"
            raise FkdError(f"the runtime cannot run the exported file: {reason}")
        with np.load(result) as stored:
            return json.loads(str(stored["facts"])), stored["points"]
