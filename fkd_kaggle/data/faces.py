"""The competition's CSV files → ``Faces`` and ``Lookup``, checked at the door and cached.

The only room that parses or writes the competition's formats. A CSV is parsed once, by whole-array
byte arithmetic instead of text splitting, into ``.cache`` beside it; afterwards it is mapped into
memory. A changed file is noticed by size, time and content and parsed again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COMPLETE, IMAGE_SIZE, NUM_KEYPOINTS, PARTIAL, PARTIAL_KEYPOINTS

PIXELS = IMAGE_SIZE * IMAGE_SIZE


@dataclass(frozen=True)
class Faces:
    """Face images with what is known about their keypoints.

    A label outside the frame is kept as it is: the original has none, and a loss that is robust
    copes better than a rule would.
    """

    images: np.ndarray
    """(N, 96, 96) uint8."""
    keypoints: np.ndarray
    """(N, 15, 2) float32 pixels, x before y; NaN where nobody labelled."""
    ids: np.ndarray
    """(N,) int64: ImageId of test faces, row number from 1 of training faces."""

    @property
    def annotators(self) -> np.ndarray:
        """Return (N,) uint8: whose habits each row follows, as its labels tell."""
        others = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]
        labelled = np.isfinite(self.keypoints[:, others, 0]).any(1)
        return np.where(labelled, COMPLETE, PARTIAL).astype(np.uint8)

    def take(self, rows: np.ndarray) -> Faces:
        """Return the faces at ``rows``: positions or a mask."""
        return Faces(self.images[rows], self.keypoints[rows], self.ids[rows])


@dataclass(frozen=True)
class Lookup:
    """What a submission must answer: one row a coordinate."""

    row_ids: np.ndarray
    """(M,) int64."""
    image_ids: np.ndarray
    """(M,) int64."""
    features: np.ndarray
    """(M,) int16: position among ``keypoints.COLUMNS``, that is keypoint · 2 + axis."""

    def annotators(self, ids: np.ndarray) -> np.ndarray:
        """Return (N,) uint8: whose habits the test faces ``ids`` were labelled by.

        A face asked for nothing beyond the four common keypoints comes from the partial source.
        """
        beyond = ~np.isin(self.features // 2, PARTIAL_KEYPOINTS)
        complete = np.isin(ids, np.unique(self.image_ids[beyond]))
        return np.where(complete, COMPLETE, PARTIAL).astype(np.uint8)


def check_lookup(lookup: Lookup, ids: np.ndarray) -> None:
    """Refuse a lookup table that asks for faces the test set lacks.

    Raises
    ------
    DataError
        Names the first such row.
    """
    absent = np.nonzero(~np.isin(lookup.image_ids, ids))[0]
    if len(absent):
        raise DataError(
            f"IdLookupTable.csv asks in RowId {lookup.row_ids[absent[0]]} for ImageId "
            f"{lookup.image_ids[absent[0]]}, which test.csv lacks: the two files are not of one "
            "competition; run `fkd-kaggle fetch --force`"
        )
