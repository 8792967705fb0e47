"""Synthetic faces have exact keypoints and depend on the seed only."""

from __future__ import annotations

import numpy as np

from fkd_kaggle.keypoints import index
from fkd_kaggle.practice import synthetic_faces


def test_irises_are_at_the_eye_centres() -> None:
    """The iris is the darkest part of an eye: the dark pixels' centre of mass is the keypoint."""
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
