"""Face images with their keypoints, and the lookup table that says what to submit.

Array types and the rules that derive a face's annotator from its labels or queries. Reads no file:
see ``dataset``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COMPLETE, IMAGE_SIZE, NUM_KEYPOINTS, PARTIAL, PARTIAL_KEYPOINTS

PIXELS: Final = IMAGE_SIZE * IMAGE_SIZE
"""Pixels of a face image."""


@dataclass(frozen=True)
class Faces:
    """Face images with what is known about their keypoints.

    A label outside the image is kept: the original data has none, and a robust loss handles them.
    """

    images: np.ndarray
    """(N, 96, 96) uint8."""
    keypoints: np.ndarray
    """(N, 15, 2) float32 pixels, x before y; NaN where unlabelled."""
    ids: np.ndarray
    """(N,) int64: ImageId of test faces, row number from 1 of training faces."""

    @property
    def annotators(self) -> np.ndarray:
        """Annotator of each row, (N,) uint8: 0 complete, 1 partial.

        A face with a label besides the partial annotator's four keypoints is the complete
        annotator's.
        """
        others = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]
        labelled = np.isfinite(self.keypoints[:, others, 0]).any(1)
        return np.where(labelled, COMPLETE, PARTIAL).astype(np.uint8)

    def take(self, rows: np.ndarray) -> Faces:
        """Return the faces at ``rows``, (K,) positions or an (N,) boolean mask."""
        return Faces(self.images[rows], self.keypoints[rows], self.ids[rows])


@dataclass(frozen=True)
class Lookup:
    """The lookup table: the coordinate that each row of a submission must give."""

    row_ids: np.ndarray
    """(M,) int64."""
    image_ids: np.ndarray
    """(M,) int64."""
    features: np.ndarray
    """(M,) int16: position among ``keypoints.COLUMNS``, that is keypoint · 2 + axis."""

    def annotators(self, ids: np.ndarray) -> np.ndarray:
        """Return the annotator of test faces, (N,) uint8: 0 complete, 1 partial.

        A face queried for the partial annotator's four keypoints only is the partial annotator's.

        Parameters
        ----------
        ids
            (N,) int64 ImageIds.
        """
        beyond = ~np.isin(self.features // 2, PARTIAL_KEYPOINTS)
        complete = np.isin(ids, np.unique(self.image_ids[beyond]))
        return np.where(complete, COMPLETE, PARTIAL).astype(np.uint8)


def check_lookup(lookup: Lookup, ids: np.ndarray) -> None:
    """Refuse a lookup table that queries faces missing from the test set.

    Parameters
    ----------
    lookup
        The lookup table.
    ids
        (N,) int64 ImageIds of the test set.

    Raises
    ------
    DataError
        Names the first such row.
    """
    absent = np.nonzero(~np.isin(lookup.image_ids, ids))[0]
    if len(absent):
        raise DataError(
            f"IdLookupTable.csv queries in RowId {lookup.row_ids[absent[0]]} the ImageId "
            f"{lookup.image_ids[absent[0]]}, which test.csv lacks: the files belong to different "
            "data sets; run `fkd-kaggle fetch --force`"
        )
