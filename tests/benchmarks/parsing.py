"""How fast the competition's CSVs are read, beside the way that notebooks read them.

    python tests/benchmarks/parsing.py [DATA_FOLDER]

Reads training.csv and test.csv three ways: a loop of ``np.fromstring`` over ``pandas.read_csv``,
``faces`` for the first time, and ``faces`` from its cache. Prints the times and the ratios of one
run and fails unless all give the same pixels. Draws faces where no folder is given.

The loop is timed as tutorials on this competition write it, where ``np.fromstring`` makes float64,
and with ``dtype=np.uint8``, which is faster and hardly ever seen.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from fkd_kaggle.data import archive, dataset
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.practice import synthetic_faces

TRAINING, TEST = 7049, 1783
"""The competition's own sizes."""

NAMES = ("training.csv", "test.csv")


def by_loop(folder: Path, dtype: type = np.float64) -> list[np.ndarray]:
    """Return the images of both files as (N, 96, 96) arrays, as notebooks read them."""
    return [
        np.array(
            [np.fromstring(text, dtype=dtype, sep=" ") for text in pd.read_csv(path)["Image"]]
        ).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
        for path in (folder / name for name in NAMES)
    ]


def by_loop_of_bytes(folder: Path) -> list[np.ndarray]:
    """Return the same as uint8."""
    return by_loop(folder, np.uint8)


def by_faces(folder: Path) -> list[np.ndarray]:
    """Return the same as this package reads it, from the cache where there is one."""
    return [dataset.read_training(folder).images, dataset.read_test(folder).images]


def timed(read: Callable[[Path], list[np.ndarray]], folder: Path) -> tuple[float, list[np.ndarray]]:
    """Return the seconds that ``read`` takes and what it returns."""
    began = time.perf_counter()
    images = read(folder)
    return time.perf_counter() - began, images


def main(source: Path | None) -> None:
    """Read three ways and print how they compare."""
    warnings.simplefilter("ignore", DeprecationWarning)  # np.fromstring is what is compared with
    with tempfile.TemporaryDirectory(prefix="fkd-parsing-") as name:
        folder = Path(name)
        if source is None:
            print(f"drawing {TRAINING} training and {TEST} test faces…", flush=True)
            packed, _ = synthetic_faces.write_competition(folder / "drawn", TRAINING, TEST)
            archive.unpack(packed, folder)
        else:
            for csv in NAMES:
                shutil.copyfile(source / csv, folder / csv)
        loop, as_floats = timed(by_loop, folder)
        loop_of_bytes, expected = timed(by_loop_of_bytes, folder)
        if not all(map(np.array_equal, as_floats, expected)):
            sys.exit("the pixels differ")
        del as_floats
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        first, parsed = timed(by_faces, folder)
        cached, again = min((timed(by_faces, folder) for _ in range(3)), key=lambda one: one[0])
        for images in (parsed, again):
            if not all(map(np.array_equal, images, expected)):
                sys.exit("the pixels differ")
    print(f"{'':38}{'seconds':>9}{'x float64':>11}{'x uint8':>9}")
    for name, seconds in (
        ("np.fromstring over pandas.read_csv", loop),
        ("the same with dtype=np.uint8", loop_of_bytes),
        ("faces, first read", first),
        ("faces, from the cache", cached),
    ):
        print(f"{name:38}{seconds:9.3f}{loop / seconds:11.1f}{loop_of_bytes / seconds:9.1f}")
    print(f"same bytes: {sum(images.nbytes for images in expected):,}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
