"""The synthetic competition has the properties of the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fkd_kaggle.data import archive, dataset
from fkd_kaggle.keypoints import COMPLETE, KEYPOINT_NAMES, PARTIAL, index
from fkd_kaggle.practice import synthetic_dataset


@pytest.mark.slow
def test_annotators_labels_and_spread_are_like_the_originals(tmp_path: Path) -> None:
    packed, solution = synthetic_dataset.write_competition(tmp_path, 200, 50, seed=0)
    archive.unpack(packed, tmp_path / "data")
    training = dataset.read_training(tmp_path / "data")
    test, lookup = dataset.read_test(tmp_path / "data"), dataset.read_lookup(tmp_path / "data")
    assert (training.annotators[:60] == COMPLETE).all()
    assert (training.annotators[60:] == PARTIAL).all()
    full = np.isfinite(training.keypoints).all((1, 2)).sum()
    assert 40 < full < 60  # a few complete rows miss a point
    assert (lookup.annotators(test.ids) == COMPLETE).sum() == 15
    assert len(solution.read_text().split("\n")) == len(lookup.row_ids) + 2
    # The mean predictor's error must not be small.
    labels = training.keypoints[:60]
    spread = np.sqrt(np.nanmean((labels - np.nanmean(labels, 0)) ** 2))
    assert spread > 3.5
    nose = index("nose_tip")[0]
    gap = np.nanmean(training.keypoints[60:, nose, 1]) - np.nanmean(labels[:, nose, 1])
    assert gap > 1.5, f"the second annotator's {KEYPOINT_NAMES[nose]} should be lower"
