"""Time to read the competition's CSVs, compared with the way that notebooks read them.

    python tests/benchmarks/parsing.py [DATA_FOLDER]

Reads training.csv and test.csv in three ways: a loop of ``np.fromstring`` over ``pandas.read_csv``,
``data.dataset`` without a cache, and ``data.dataset`` from its cache. Prints times and ratios, and
fails if the pixels differ. Without a folder, synthetic faces are read.

The loop is timed as tutorials on this competition write it, where ``np.fromstring`` makes float64,
and with ``dtype=np.uint8``, which is faster and rarely used.
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
from fkd_kaggle.practice import synthetic_dataset

TRAINING, TEST = 7049, 1783
"""Numbers of faces in the competition."""

NAMES = ("training.csv", "test.csv")


def read_by_loop(folder: Path, dtype: type = np.float64) -> list[np.ndarray]:
    """Return the images of both files as (N, 96, 96) arrays, as notebooks read them."""
    return [
        np.array(
            [np.fromstring(text, dtype=dtype, sep=" ") for text in pd.read_csv(path)["Image"]]
        ).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
        for path in (folder / name for name in NAMES)
    ]


def read_by_byte_loop(folder: Path) -> list[np.ndarray]:
    """Return the same images, parsed as uint8."""
    return read_by_loop(folder, np.uint8)


def read_by_dataset(folder: Path) -> list[np.ndarray]:
    """Return the same images as this package reads them, from the cache if there is one."""
    return [dataset.read_training(folder).images, dataset.read_test(folder).images]


def timed(read: Callable[[Path], list[np.ndarray]], folder: Path) -> tuple[float, list[np.ndarray]]:
    """Return the seconds that ``read`` takes and its result."""
    began = time.perf_counter()
    images = read(folder)
    return time.perf_counter() - began, images


def main(data_dir: Path | None) -> None:
    """Read in three ways and print the times and their ratios."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of np.fromstring
    with tempfile.TemporaryDirectory(prefix="fkd-parsing-") as name:
        folder = Path(name)
        if data_dir is None:
            print(f"generating {TRAINING} training and {TEST} test faces…", flush=True)
            packed, _ = synthetic_dataset.write_competition(folder / "synthetic", TRAINING, TEST)
            archive.unpack(packed, folder)
        else:
            for csv in NAMES:
                shutil.copyfile(data_dir / csv, folder / csv)
        loop, as_floats = timed(read_by_loop, folder)
        loop_of_bytes, expected = timed(read_by_byte_loop, folder)
        if not all(map(np.array_equal, as_floats, expected)):
            sys.exit("the pixels differ")
        del as_floats
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        first, parsed = timed(read_by_dataset, folder)
        cached, again = min(
            (timed(read_by_dataset, folder) for _ in range(3)), key=lambda item: item[0]
        )
        for images in (parsed, again):
            if not all(map(np.array_equal, images, expected)):
                sys.exit("the pixels differ")
    print(f"{'':38}{'seconds':>9}{'x float64':>11}{'x uint8':>9}")
    for name, seconds in (
        ("np.fromstring over pandas.read_csv", loop),
        ("the same with dtype=np.uint8", loop_of_bytes),
        ("data.dataset, first read", first),
        ("data.dataset, from the cache", cached),
    ):
        print(f"{name:38}{seconds:9.3f}{loop / seconds:11.1f}{loop_of_bytes / seconds:9.1f}")
    print(f"same bytes: {sum(images.nbytes for images in expected):,}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
