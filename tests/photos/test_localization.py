"""Tests of predicting keypoints in photos from rough crops."""

from __future__ import annotations

import numpy as np
import pytest

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.photos.crops import Crop, crop_aligned
from fkd_kaggle.photos.localization import BATCH_SIZE, Predict, locate_keypoints
from fkd_kaggle.photos.mean_face import MeanFace

pytestmark = pytest.mark.slow

EYES = (0, 1)


def draw_discs(mean_face: MeanFace, crop: Crop) -> np.ndarray:
    """Return a black (300, 300) grey photo with two discs at the eyes of the mean face in a crop.

    The first eye's disc is brighter.
    """
    y, x = np.mgrid[:300, :300]
    photo = np.zeros((300, 300), np.float32)
    for keypoint, grey in zip(EYES, (250, 120), strict=True):
        eye = crop.to_photo(mean_face.points[keypoint])
        photo[np.hypot(x - eye[0], y - eye[1]) < 4 * crop.scale] = grey
    return photo


def disc_predictor(mean_face: MeanFace) -> Predict:
    """Return a predictor that finds the two discs and aligns the mean face to them."""

    def predict(crops: np.ndarray) -> np.ndarray:
        predictions = np.tile(mean_face.points, (len(crops), 1, 1))
        y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
        for row, image in enumerate(crops.astype(int)):
            if image.max() < 200:
                continue
            bright = image > 185
            first = np.array([x[bright].mean(), y[bright].mean()])
            other = (image > 60) & (np.hypot(x - first[0], y - first[1]) > 9)
            if other.any():
                second = np.array([x[other].mean(), y[other].mean()])
                aligned = crop_aligned(np.stack([first, second]), mean_face, EYES)
                predictions[row] = aligned.to_photo(mean_face.points)
        return predictions

    return predict


@pytest.mark.parametrize("angle", [-35, 0, 20])
def test_a_rotated_face_is_located_from_a_rough_crop(mean_face: MeanFace, angle: float) -> None:
    true = Crop(np.array([[2.0, 0, 40.0], [0, 2.0, 30.0]])).transformed(
        np.radians(angle), 0.9, (4, -3)
    )
    photo = draw_discs(mean_face, true)
    rough = true.transformed(np.radians(-angle), 0.85, (6, 6))
    (located,) = locate_keypoints([photo], [rough], disc_predictor(mean_face), mean_face)
    errors = np.hypot(*(located.points - true.to_photo(mean_face.points)).T) / true.scale
    assert errors.max() < 0.5
    assert located.spread < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("angle", [90, 180, -135])
def test_a_face_in_another_orientation_is_located_where_the_views_agree(
    mean_face: MeanFace, angle: int
) -> None:
    true = Crop(np.array([[2.0, 0, 40.0], [0, 2.0, 30.0]]))
    photo = draw_discs(mean_face, true)
    predict = disc_predictor(mean_face)

    def predict_upright(images: np.ndarray) -> np.ndarray:
        # Predicts noise for faces rotated by more than 40°, as a network that was not trained on
        # such faces.
        predictions = predict(images)
        eyes = predictions[:, 0] - predictions[:, 1]
        rotated = np.abs(np.arctan2(eyes[:, 1], eyes[:, 0])) > np.radians(40)
        noise = np.random.default_rng(0).normal(0, 5, (rotated.sum(), 1, 2))
        predictions[rotated] = mean_face.points + noise
        return predictions

    rough = true.transformed(np.radians(angle), 1.0, (0, 0))
    (located,) = locate_keypoints([photo], [rough], predict_upright, mean_face)
    errors = np.hypot(*(located.points - true.to_photo(mean_face.points)).T) / true.scale
    assert errors.max() < 0.5


@pytest.mark.slow
def test_more_faces_than_a_batch_are_located_like_one_face(mean_face: MeanFace) -> None:
    crop = Crop(np.array([[2.0, 0, 40.0], [0, 2.0, 30.0]]))
    photo = draw_discs(mean_face, crop)
    count = BATCH_SIZE + 1
    predict = disc_predictor(mean_face)
    faces = locate_keypoints([photo] * count, [crop] * count, predict, mean_face)
    (one,) = locate_keypoints([photo], [crop], predict, mean_face)
    assert len(faces) == count
    assert all(np.allclose(face.points, one.points) for face in faces)


@pytest.mark.parametrize("offset", [(9.0, 0.0), (-5.0, 7.0), (0.0, -20.0), (40.0, 40.0)])
def test_crops_that_do_not_converge_are_not_used(
    mean_face: MeanFace, offset: tuple[float, float]
) -> None:
    # A network that always predicts the same points moves the face out of every new crop.
    crop = Crop(np.array([[2.0, 0, 40.0], [0, 2.0, 30.0]]))
    points = mean_face.points + offset

    def predict(images: np.ndarray) -> np.ndarray:
        return np.tile(points, (len(images), 1, 1))

    photo = draw_discs(mean_face, crop)
    (located,) = locate_keypoints([photo], [crop], predict, mean_face)
    errors = located.points - crop.to_photo(points)
    assert np.hypot(*errors.T).max() / crop.scale < 1
    assert located.crop is crop
    assert not located.converged


@pytest.mark.slow
def test_predictions_of_noise_stay_near_the_first_crop(mean_face: MeanFace) -> None:
    crop = Crop(np.array([[2.0, 0, 40.0], [0, 2.0, 30.0]]))
    photo = draw_discs(mean_face, crop)
    random = np.random.default_rng(0)

    def predict(images: np.ndarray) -> np.ndarray:
        factors = random.uniform(0.3, 1.5, (len(images), 1, 1))
        noise = random.normal(0, 12, (len(images), 15, 2))
        return (mean_face.points - 48) * factors + 48 + noise

    for located in locate_keypoints([photo] * 3, [crop] * 3, predict, mean_face):
        centre = located.points.mean(0) - crop.to_photo(mean_face.points).mean(0)
        assert np.hypot(*centre) / crop.scale < 25
