"""Tests of the face detector on real photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fkd_kaggle.photos.annotations.cvat import read_cvat
from fkd_kaggle.photos.detection import detect_faces
from fkd_kaggle.photos.images import read_photo
from fkd_kaggle.photos.mean_face import point_radius


@pytest.mark.slow
def test_a_real_face_is_detected_in_a_rotated_photo(portrait: Path) -> None:
    photo = read_photo(portrait)
    (upright,) = detect_faces(photo)
    left_eye, right_eye, nose, left_mouth, right_mouth = upright.points
    assert left_eye[0] > nose[0] > right_eye[0]  # the subject's left is the image's right
    assert left_mouth[0] > right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    width = photo.shape[1]
    (rotated,) = detect_faces(np.rot90(photo))
    points = np.stack([width - 1 - rotated.points[:, 1], rotated.points[:, 0]], 1)
    # An approximate position is sufficient: `locate_keypoints` refines it.
    assert np.abs(points - upright.points).max() < 0.1 * upright.box[2]


@pytest.mark.slow
def test_every_annotated_face_of_real_photos_is_detected(optional_data: Path) -> None:
    folder = optional_data / "photos"
    missed = []
    for photo in read_cvat(folder / "annotations.xml").photos[::6]:
        centre = photo.faces[0].mean(0)
        faces = detect_faces(read_photo(folder / photo.name))
        distances = [np.hypot(*(face.points.mean(0) - centre)) for face in faces]
        if not distances or min(distances) > point_radius(photo.faces[0], centre):
            missed.append(photo.name)
    assert not missed
