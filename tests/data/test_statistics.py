"""Statistics of a data set."""

from __future__ import annotations

import numpy as np
from conftest import make_faces

from fkd_kaggle.data import statistics


def test_label_patterns_are_sorted_by_frequency() -> None:
    data = make_faces(9, seed=1)
    data.keypoints[0, 3] = np.nan
    patterns, counts = statistics.label_patterns(data.keypoints)
    assert counts.tolist() == [4, 4, 1]
    assert (~patterns[2]).nonzero()[0].tolist() == [3]
    assert sorted(patterns[:2].sum(1)) == [4, 15]
