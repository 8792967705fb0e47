"""Tests of comparing predictions with annotated photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.photos.annotations.types import AnnotatedPhoto, Annotations
from fkd_kaggle.photos.evaluation import evaluate_photos, match_points
from fkd_kaggle.photos.mean_face import MeanFace
from fkd_kaggle.practice import synthetic_faces


def predict_zeros(images: np.ndarray) -> np.ndarray:
    """Predict all keypoints at the origin."""
    return np.zeros((len(images), 15, 2))


def test_matched_points_do_not_depend_on_their_order() -> None:
    face = synthetic_faces.draw_faces(1, seed=2)[1][0]
    shuffled = np.random.default_rng(3).permutation(face)
    np.testing.assert_array_equal(match_points(face + 0.3, shuffled), face)


def test_faces_that_cannot_be_scored_are_named(tmp_path: Path, mean_face: MeanFace) -> None:
    Image.new("RGB", (200, 180), "grey").save(tmp_path / "a.png")
    points = mean_face.points + 40.0
    faces = (points, points / 200, points + 500, points + 0.2)
    annotations = Annotations((AnnotatedPhoto("a.png", (200, 180), faces),), (), "face")
    evaluation = evaluate_photos(
        tmp_path,
        annotations,
        lambda images: np.tile(mean_face.points, (len(images), 1, 1)),
        mean_face,
    )
    assert [result.face for result in evaluation.faces] == [1]
    reasons = [skipped.reason for skipped in evaluation.skipped]
    assert "face 2 lies within 0." in reasons[0]
    assert "shares of the photo's size" in reasons[0]
    assert reasons[1:] == ["face 3 lies outside the photo (200×180)", "face 4 is face 1 again"]


def test_an_unknown_crop_and_a_missing_folder_are_refused(
    tmp_path: Path, mean_face: MeanFace
) -> None:
    nothing = Annotations((), (), "")
    with pytest.raises(FkdError, match="did you mean 'annotated'"):
        evaluate_photos(tmp_path, nothing, predict_zeros, mean_face, crop="anotated")
    with pytest.raises(DataError, match="not a folder of photos"):
        evaluate_photos(tmp_path / "x", nothing, predict_zeros, mean_face)
