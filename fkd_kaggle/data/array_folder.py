"""A data set from arrays: a folder with two ``.npy`` files instead of the competition's CSV files.

    images.npy      (N, 96, 96) uint8
    keypoints.npy   (N, 15, 2) float32 pixels, NaN where unlabelled

``dataset`` reads such a folder like one with training.csv. It has no test set and no lookup table.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data.cache import file_digest
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import IMAGE_SIZE, NUM_KEYPOINTS

_FILES = ("images.npy", "keypoints.npy")


def write_array_folder(folder: Path, faces: Faces) -> None:
    """Write images and keypoints of N faces to a folder, which is created if it does not exist.

    Raises
    ------
    FkdError
        The disk is full or the folder cannot be written.
    """
    arrays: tuple[np.ndarray, ...]
    arrays = (faces.images.astype(np.uint8), faces.keypoints.astype(np.float32))
    for name, array in zip(_FILES, arrays, strict=True):
        with files.atomic_path(folder / name) as path:
            np.save(path, array)


def is_array_folder(folder: Path) -> bool:
    """Return whether a folder contains a data set as arrays and no training.csv."""
    return (folder / _FILES[0]).is_file() and not (folder / "training.csv").exists()


def read_array_folder(folder: Path) -> Faces:
    """Return the faces of a folder that ``write_array_folder`` wrote.

    Raises
    ------
    DataError
        A file is missing, damaged or of another shape or type.
    """
    arrays = []
    shapes = ((IMAGE_SIZE, IMAGE_SIZE), (NUM_KEYPOINTS, 2))
    for name, shape, dtype in zip(_FILES, shapes, (np.uint8, np.float32), strict=True):
        path = folder / name
        try:
            with path.open("rb") as stream:
                array = np.lib.format.read_array(stream, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"cannot read {path}: {type(error).__name__}") from error
        if array.shape[1:] != shape or array.dtype != dtype:
            raise DataError(f"{path} has shape {array.shape} and type {array.dtype}: write it anew")
        arrays.append(array)
    images, keypoints = arrays
    if len(images) != len(keypoints):
        raise DataError(f"{folder} has {len(images)} images and {len(keypoints)} sets of keypoints")
    return Faces(images, keypoints, np.arange(1, len(images) + 1))


def array_fingerprint(folder: Path) -> str:
    """Return 32 hex digits that identify the content of both files.

    Raises
    ------
    DataError
        A file is missing or unreadable.
    """
    digests = "".join(file_digest(folder / name) for name in _FILES)
    return hashlib.sha256(digests.encode()).hexdigest()[:32]
