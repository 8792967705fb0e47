"""Faces for the Python API: read from the competition's files, or checked arrays.

Values are refused instead of corrected: each message names the argument, its value and what is
expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import IMAGE_SIZE, NUM_KEYPOINTS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Images with the keypoints that are known.

    Examples
    --------
    >>> import fkd_kaggle as fkd
    >>> faces = fkd.load_faces("data")
    >>> faces.images.shape, faces.keypoints.shape
    ((7049, 96, 96), (7049, 15, 2))
    """

    images: np.ndarray
    """(N, 96, 96) uint8."""
    keypoints: np.ndarray
    """(N, 15, 2) float32 pixels, x before y, in the order of ``keypoints.KEYPOINT_NAMES``; NaN
    where unlabelled."""
    annotators: np.ndarray
    """(N,) uint8: 0 for the complete annotator, 1 for the partial one."""
    ids: np.ndarray
    """(N,) int64: row number from 1 of a training face, ImageId of a test face."""
    folder: Path | None = None
    """Folder of the competition's files if these are all its training faces, otherwise None."""

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.images)

    def take(self, rows: ArrayLike) -> FaceSet:
        """Return the faces at ``rows``: (K,) positions or an (N,) boolean mask."""
        rows = np.asarray(rows)
        if not rows.size:
            rows = rows.astype(np.intp)  # numpy reads [] as floats
        arrays = (self.images, self.keypoints, self.annotators, self.ids)
        return FaceSet(*(array[rows] for array in arrays))


def load_faces(folder: str | Path = "data", *, test: bool = False) -> FaceSet:
    """Read the faces of a folder that ``fkd-kaggle fetch`` filled.

    The files are parsed once; later calls read a cache.

    Parameters
    ----------
    folder
        Folder of training.csv, test.csv and IdLookupTable.csv.
    test
        Whether to return the test faces. Their keypoints are NaN, and their annotators are those
        that the lookup table asks for.

    Returns
    -------
    FaceSet
        All training faces, or all test faces.

    Raises
    ------
    DataError
        A file is missing or not in the competition's format; names the position.

    Examples
    --------
    >>> import fkd_kaggle as fkd
    >>> faces = fkd.load_faces("data")
    >>> test = fkd.load_faces("data", test=True)
    """
    folder = Path(folder)
    if test:
        faces, lookup = dataset.read_test_and_lookup(folder)
        annotators = lookup.annotators(faces.ids)
        return FaceSet(faces.images, faces.keypoints, annotators, faces.ids)
    faces = dataset.read_training(folder)
    return FaceSet(faces.images, faces.keypoints, faces.annotators, faces.ids, folder)


def make_faces(count: int = 600, *, seed: int = 0) -> FaceSet:
    """Draw synthetic faces, to try the package without the competition's data.

    They have the properties of the competition: two annotators with different conventions, missing
    labels, near-duplicates and a few wrong labels.

    Parameters
    ----------
    count
        Number of faces; 30 % have labels of all 15 keypoints, the others of 4.
    seed
        Random seed.

    Raises
    ------
    DataError
        ``count`` is less than 1.

    Examples
    --------
    >>> faces = fkd.make_faces(600)
    >>> model = fkd.train(faces, recipe="smoke", time_limit="2m")
    """
    from fkd_kaggle.practice.synthetic_dataset import make_training_faces

    if count < 1:
        raise DataError(f"count must be at least 1, not {count}")
    faces = make_training_faces(count, seed)
    return FaceSet(faces.images, faces.keypoints, faces.annotators, faces.ids)


def as_images(images: ArrayLike | FaceSet) -> np.ndarray:
    """Return images as (N, 96, 96) uint8.

    Parameters
    ----------
    images
        (N, 96, 96) or (N, 9216) grey values from 0 to 255, or faces.

    Raises
    ------
    DataError
        Another shape, or values that are not grey values.
    """
    try:
        array = images.images if isinstance(images, FaceSet) else np.asarray(images)
    except ValueError:
        raise DataError("images must all have the same shape") from None
    if array.ndim == 2 and array.shape[1] == IMAGE_SIZE * IMAGE_SIZE:
        array = array.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    if array.ndim != 3 or array.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        hint = "; pass one image as image[None]" if array.shape == (IMAGE_SIZE,) * 2 else ""
        raise DataError(
            f"images has shape {array.shape}, but must have (N, 96, 96) or (N, 9216){hint}"
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise DataError(f"images has type {array.dtype}, but must have grey values from 0 to 255")
    if array.size == 0:
        return array.astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 255):  # also refuses NaN
        raise DataError(f"images has values from {low:g} to {high:g}, but must have 0 to 255")
    if array.dtype.kind == "f" and 0 < high <= 1:
        raise DataError(f"images has values from {low:g} to {high:g}: pass images * 255")
    return np.rint(array).astype(np.uint8)


def as_keypoints(keypoints: ArrayLike, count: int) -> np.ndarray:
    """Return keypoints as (N, 15, 2) float32 pixels.

    Parameters
    ----------
    keypoints
        (N, 15, 2) or (N, 30) pixels; NaN where unlabelled.
    count
        N, the number of images.

    Raises
    ------
    DataError
        Another shape, values that are not numbers, a point with one coordinate, or no label.
    """
    try:
        array = np.asarray(keypoints, np.float32)
    except (TypeError, ValueError):
        raise DataError("keypoints must be numbers in pixels, NaN where unlabelled") from None
    if array.ndim == 2 and array.shape[1] == 2 * NUM_KEYPOINTS:
        array = array.reshape(-1, NUM_KEYPOINTS, 2)
    if array.shape != (count, NUM_KEYPOINTS, 2):
        raise DataError(
            f"keypoints has shape {array.shape}, but must have ({count}, 15, 2) or ({count}, 30) "
            f"for {count} images"
        )
    if np.isinf(array).any():
        raise DataError(f"keypoints is infinite in row {int(np.isinf(array).any((1, 2)).argmax())}")
    missing = np.isnan(array)
    if (missing[..., 0] != missing[..., 1]).any():
        row, point = np.argwhere(missing[..., 0] != missing[..., 1])[0]
        raise DataError(f"keypoints[{row}, {point}] has only one coordinate: x and y, or neither")
    if missing.all():
        raise DataError("keypoints has no label: all values are NaN")
    return array


def as_faces(faces: FaceSet | ArrayLike, keypoints: ArrayLike | None) -> FaceSet:
    """Return checked faces; ``faces`` are images if ``keypoints`` are given.

    Raises
    ------
    DataError
        The arrays are not faces; see ``as_images`` and ``as_keypoints``.
    """
    if keypoints is None:
        if isinstance(faces, FaceSet):
            return faces
        raise DataError("keypoints is missing: train(images, keypoints) or train(load_faces(…))")
    images = as_images(faces)
    if not len(images):
        raise DataError("images has no face")
    points = as_keypoints(keypoints, len(images))
    made = Faces(images, points, np.arange(1, len(images) + 1))
    return FaceSet(made.images, made.keypoints, made.annotators, made.ids)
