"""Processor time per face of exported files and of ``predict``, in turn in one process.

    python tests/benchmarks/export_pairs.py [--run RUN_FOLDER] [--batch 64] EXPORT...

Each round calls every model once, so that other work on the machine meets all of them alike. The
speed does not depend on the weights: untrained runs give the same figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def load_export(folder: Path, threads: int) -> Callable[[np.ndarray], Any]:
    """Return the function of an export folder's example.py that predicts."""
    spec = importlib.util.spec_from_file_location("example", folder / "example.py")
    assert spec and spec.loader
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example.load(threads)


def load_run(folder: Path, threads: int) -> Callable[[np.ndarray], Any]:
    """Return ``predict`` of a run."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    from fkd_kaggle.ensemble.prediction import Predictor
    from fkd_kaggle.runs.folder import Run

    return Predictor(Run.open(folder))


def main() -> None:
    """Print a line for each model; the first one is the reference of the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("exports", nargs="+", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    models = {}
    if options.run:
        models["predict"] = load_run(options.run, options.threads)
    models.update({str(path): load_export(path, options.threads) for path in options.exports})
    faces = np.random.default_rng(0).integers(0, 256, (options.batch, 96, 96), dtype=np.uint8)
    for model in models.values():
        model(faces)
    times = np.empty((options.rounds, len(models)))
    for row in times:
        for column, model in enumerate(models.values()):
            began = time.process_time()
            model(faces)
            row[column] = 1000 * (time.process_time() - began) / options.batch
    for name, own in zip(models, times.T, strict=True):
        ratio = np.median(own / times[:, 0])
        print(f"{name}: {np.median(own):.2f} ms per face, {ratio:.3f} of the first")


if __name__ == "__main__":
    main()
