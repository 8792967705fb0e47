"""Tests of MediaPipe as a reference model, without MediaPipe."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fkd_kaggle.errors import FkdError
from fkd_kaggle.photos.mediapipe import MediaPipeReference
from fkd_kaggle.photos.references import load_reference


def test_error_without_mediapipe_names_the_other_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(FkdError, match="not installed: use --model run or --model mtcnn"):
        load_reference("mediapipe", None, None)


def test_keypoints_are_those_of_the_largest_mesh() -> None:
    mesh = np.random.default_rng(0).uniform(0.3, 0.7, (478, 2))
    mesh[468], mesh[473] = (0.4, 0.5), (0.6, 0.5)  # irises, the subject's right and left
    small = 0.5 + (mesh - 0.5) / 4
    model = MediaPipeReference(lambda photo: [small, mesh] if photo.any() else [])
    points, no_points = model([np.ones((50, 100, 3), np.uint8), np.zeros((50, 100, 3), np.uint8)])
    assert no_points is None
    assert points is not None
    names = model.point_names
    eyes = points[[names.index("left_eye_center"), names.index("right_eye_center")]]
    np.testing.assert_allclose(eyes, [[59.5, 24.5], [39.5, 24.5]])
