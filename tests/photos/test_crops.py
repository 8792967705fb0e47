"""Tests of placing and sampling crops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.photos.crops import Crop, crop_aligned, crop_around
from fkd_kaggle.photos.mean_face import MeanFace, point_radius
from fkd_kaggle.practice import synthetic_faces


def to_crop(crop: Crop, points: np.ndarray) -> np.ndarray:
    """Map (…, 2) photo pixels to crop pixels."""
    return (points - crop.matrix[:, 2]) @ np.linalg.inv(crop.matrix[:, :2]).T


@given(
    angle=st.floats(-3, 3), scale=st.floats(0.2, 8), x=st.floats(-50, 900), y=st.floats(-50, 900)
)
def test_scale_is_photo_pixels_per_crop_pixel(
    angle: float, scale: float, x: float, y: float
) -> None:
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    crop = Crop(np.column_stack([linear, [x, y]]))
    assert crop.scale == pytest.approx(scale)


@given(angle=st.floats(-3, 3), scale=st.floats(0.2, 8))
def test_an_aligned_crop_maps_the_mean_face_to_a_similar_face(angle: float, scale: float) -> None:
    mean = np.random.default_rng(1).uniform(0, 96, (15, 2))
    mean_face = MeanFace(mean, mean.mean(0), 20.0)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = mean @ linear.T + (40, 70)
    crop = crop_aligned(points, mean_face)
    np.testing.assert_allclose(to_crop(crop, points), mean, atol=1e-6)
    some = (3, 5, 9)
    np.testing.assert_allclose(
        crop_aligned(points[list(some)], mean_face, some).matrix, crop.matrix, atol=1e-6
    )


def test_a_crop_around_points_does_not_depend_on_their_order(mean_face: MeanFace) -> None:
    points = 2.5 * synthetic_faces.draw_faces(1, seed=5)[1][0].astype(float) + (30, 12)
    crop = crop_around(points, mean_face)
    reversed_crop = crop_around(points[::-1], mean_face)
    np.testing.assert_allclose(crop.matrix, reversed_crop.matrix)
    in_crop = to_crop(crop, points)
    np.testing.assert_allclose(in_crop.mean(0), mean_face.centre, atol=1e-6)
    assert point_radius(in_crop, in_crop.mean(0)) == pytest.approx(mean_face.radius)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.6, 9.0, 20.0])
def test_a_crop_shows_the_photo_at_any_scale(scale: float) -> None:
    size = round(IMAGE_SIZE * scale) + 40
    y, x = np.mgrid[:size, :size]
    photo = (x / size * 200 + y / size * 50).astype(np.float32)
    crop = Crop(np.array([[scale, 0, 11.0], [0, scale, 7.0]]))
    row, column = 30, 60
    photo_x, photo_y = crop.to_photo(np.array([column, row], float))
    expected = photo_x / size * 200 + photo_y / size * 50
    assert crop.extract(photo)[row, column] == pytest.approx(expected, abs=1.0)


def test_a_crop_outside_the_photo_repeats_the_edge() -> None:
    crop = Crop(np.array([[1.0, 0, -50.0], [0, 1.0, -50.0]]))
    assert (crop.extract(np.full((60, 60), 77, np.float32)) == 77).all()
