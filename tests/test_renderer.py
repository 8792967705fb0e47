"""Drawn faces: exact keypoints, the original's shape, hard enough to be worth learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fkd_kaggle.data import archive, dataset
from fkd_kaggle.keypoints import COMPLETE, KEYPOINT_NAMES, PARTIAL, index
from fkd_kaggle.practice import synthetic_dataset, synthetic_faces


def test_faces_are_drawn_where_their_keypoints_are() -> None:
    """Irises are the darkest spots of an eye, so a dark centre of mass must sit at eye centres."""
    images, keypoints = synthetic_faces.draw_faces(200, seed=3)
    y, x = np.mgrid[-4:5, -4:5]
    misses = []
    for image, points in zip(images, keypoints, strict=True):
        for eye in index("left_eye_center", "right_eye_center"):
            column, row = np.rint(points[eye]).astype(int)
            if not (4 <= column < 92 and 4 <= row < 92):
                continue
            patch = image[row - 4 : row + 5, column - 4 : column + 5].astype(float)
            dark = np.clip(90 - patch, 0, None)
            if dark.sum() > 0:
                centre = np.array([(dark * x).sum(), (dark * y).sum()]) / dark.sum()
                misses.append(centre + np.array([column, row]) - points[eye])
    assert len(misses) > 200
    assert np.abs(np.mean(misses, 0)).max() < 0.35
    assert np.median(np.abs(misses)) < 0.8


def test_the_same_seed_draws_the_same_faces() -> None:
    one, two, other = (synthetic_faces.draw_faces(5, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_a_rendered_competition_has_the_originals_shape(tmp_path: Path) -> None:
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
    # The mean predictor must have something to lose.
    labels = training.keypoints[:60]
    spread = np.sqrt(np.nanmean((labels - np.nanmean(labels, 0)) ** 2))
    assert spread > 3.5
    nose = index("nose_tip")[0]
    gap = np.nanmean(training.keypoints[60:, nose, 1]) - np.nanmean(labels[:, nose, 1])
    assert gap > 1.5, f"the second annotator's {KEYPOINT_NAMES[nose]} should be lower"
