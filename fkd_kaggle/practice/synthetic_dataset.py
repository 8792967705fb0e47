"""The practice Kaggle's default data set: a competition of synthetic faces, with its solution.

It has the properties of the original: two annotators with different conventions, missing labels,
near-duplicates and a few wrong labels. ``synthetic_faces`` draws the faces.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data.csv_format import write_lookup_csv, write_test_csv, write_training_csv
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.data.submission import submission_text
from fkd_kaggle.keypoints import IMAGE_SIZE, NUM_KEYPOINTS, PARTIAL_KEYPOINTS
from fkd_kaggle.practice.synthetic_faces import draw_faces

_PARTIAL_OFFSETS: Final = np.array([[0.3, 0.3], [0.0, 0.2], [0.5, 3.0], [0.1, -0.4]], np.float32)
"""(4, 2) pixels by which the partial annotator's labels differ from the complete annotator's.

As in the original, nose tips are lower and lips slightly higher.
"""


def write_competition(
    folder: Path, training: int = 1200, test: int = 300, seed: int = 0
) -> tuple[Path, Path]:
    """Write the competition's zip as Kaggle packs it, and its solution.

    Parameters
    ----------
    folder
        Folder to write to; created when needed.
    training, test
        Numbers of faces; 30 % have labels of all 15 keypoints, the others of 4.
    seed
        Random seed.

    Returns
    -------
    Paths of ``facial-keypoints-detection.zip`` and of ``solution.csv`` (RowId,Location).
    """
    rng = np.random.default_rng(seed)
    training_faces = _draw_training_faces(rng, training, seed)
    # The solution is as noisy as the labels, as in the original.
    test_faces = _label(rng, test, seed + 2, label_noise=0.4, repeats=0.0)
    lookup, solution = _lookup_table(test_faces)
    target, solution_path = folder / "facial-keypoints-detection.zip", folder / "solution.csv"
    _write_archive(target, training_faces, test_faces, lookup)
    locations = [f"{value:.4f}" for value in solution]
    files.write_text(solution_path, submission_text(lookup.row_ids, locations))
    return target, solution_path


def make_training_faces(count: int, seed: int = 0) -> Faces:
    """Return the training faces of ``write_competition``, without writing files.

    Parameters
    ----------
    count
        Number of faces; 30 % have labels of all 15 keypoints, the others of 4.
    seed
        Random seed.
    """
    return _draw_training_faces(np.random.default_rng(seed), count, seed)


def _draw_training_faces(rng: np.random.Generator, count: int, seed: int) -> Faces:
    return _label(rng, count, seed + 1, label_noise=0.4, repeats=0.05)


def _write_archive(target: Path, training: Faces, test: Faces, lookup: Lookup) -> None:
    """Write the competition's files, the large ones zipped, to one zip."""
    writers: dict[str, tuple[str, Callable[[Path], None]]] = {
        "training.zip": ("training.csv", lambda path: write_training_csv(path, training)),
        "test.zip": ("test.csv", lambda path: write_test_csv(path, test)),
    }
    with (
        files.atomic_path(target) as outer_path,
        zipfile.ZipFile(outer_path, "w", zipfile.ZIP_STORED) as outer,
        tempfile.TemporaryDirectory(prefix=".csv-", dir=target.parent) as work,
    ):
        for name, (csv_name, write) in writers.items():
            path = Path(work) / csv_name
            write(path)
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as inner:
                inner.write(path, csv_name)
            outer.writestr(name, packed.getvalue())
        path = Path(work) / "IdLookupTable.csv"
        write_lookup_csv(path, lookup)
        outer.write(path, "IdLookupTable.csv")
        zeros = ["0"] * len(lookup.row_ids)
        outer.writestr("SampleSubmission.csv", submission_text(lookup.row_ids, zeros))


def _label(
    rng: np.random.Generator, count: int, seed: int, *, label_noise: float, repeats: float
) -> Faces:
    """Return faces with labels of both annotators, the complete annotator's first."""
    images, points = draw_faces(count, seed)
    copies = rng.choice(count, int(repeats * count), replace=False)
    for copy in copies:
        # A near-duplicate: another face, brighter and moved by a pixel.
        other = (copy + 1) % count
        images[copy] = np.clip(np.roll(images[other], 1, 1) * 1.05, 0, 255)
        points[copy] = np.minimum(points[other] + [1, 0], IMAGE_SIZE - 1)
    points = points + rng.normal(0, label_noise, points.shape)
    complete = round(0.3 * count)
    partial = points[complete:]
    partial[:, PARTIAL_KEYPOINTS] += _PARTIAL_OFFSETS
    others = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]
    partial[:, others] = np.nan
    # 7 % of the complete rows lack one or two labels; 1 % of all rows have wrong labels.
    for row in rng.choice(complete, int(0.07 * complete), replace=False):
        points[row, rng.choice(others, rng.integers(1, 3), replace=False)] = np.nan
    for row in rng.choice(count, int(0.01 * count), replace=False):
        points[row] += rng.normal(0, 5, 2)
    points = np.clip(points, 0, IMAGE_SIZE - 1).astype(np.float32)
    return Faces(images, np.round(points, 4), np.arange(1, count + 1))


def _lookup_table(test: Faces) -> tuple[Lookup, np.ndarray]:
    """Return the lookup table that queries every label, and the (M,) float32 solution."""
    rows, features = np.nonzero(~np.isnan(test.keypoints.reshape(len(test.ids), -1)))
    solution = test.keypoints.reshape(len(test.ids), -1)[rows, features]
    lookup = Lookup(np.arange(1, len(rows) + 1), test.ids[rows], features.astype(np.int16))
    return lookup, solution
