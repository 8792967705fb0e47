"""Tests of finding the mirror pairs of points."""

from __future__ import annotations

from fkd_kaggle.photos.annotations.mirror_pairs import find_flip_order
from fkd_kaggle.practice import synthetic_faces

NUMBERED = tuple(f"point_{n}" for n in range(1, 6))


def test_mirror_pairs_follow_from_names() -> None:
    points = synthetic_faces.draw_faces(50, seed=1)[1] / 96
    five = points[:, [0, 1, 10, 11, 12]]  # eyes, nose, mouth corners
    names = ("left_eye", "right_eye", "nose", "mouth_right", "mouth_left")
    assert find_flip_order(names, five) == (1, 0, 2, 4, 3)


def test_mirror_pairs_follow_from_positions() -> None:
    points = synthetic_faces.draw_faces(50, seed=1)[1] / 96
    assert find_flip_order(NUMBERED, points[:, [0, 1, 10, 11, 12]]) == (1, 0, 2, 4, 3)


def test_points_of_half_a_face_have_no_mirror_pairs() -> None:
    points = synthetic_faces.draw_faces(50, seed=1)[1] / 96
    # One eye is symmetric, but its mirror image is the other eye.
    assert find_flip_order(NUMBERED[:3], points[:, [0, 2, 3]]) is None
    assert find_flip_order(NUMBERED[:3], points[:, [0, 10, 13]]) is None
