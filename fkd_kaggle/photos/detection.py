"""Finding faces in photos: MTCNN (Zhang et al. 2016) from the package of that name.

Its weights are in its wheel, so nothing is downloaded; it runs on the TensorFlow that is here
anyway; and with each face it gives five points, from which an upright crop can be cut at once.
It needs the TensorFlow backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

from fkd_kaggle.errors import FkdError
from fkd_kaggle.keypoints import index
from fkd_kaggle.nn import backend

POINTS = index(
    "left_eye_center", "right_eye_center", "nose_tip", "mouth_left_corner", "mouth_right_corner"
)
"""The keypoints a detection comes with, in its order."""

CONFIDENCE = 0.9
"""Below it a detection is not taken for a face; on ../shared/photos none of 60 is below 0.98."""

TURNS = (90.0, -90.0, 45.0, -45.0, 180.0, 135.0, -135.0)
"""Degrees by which a photo without an upright face is turned."""

_LARGEST = 1280
"""Longer sides are reduced to this before the search: faces below 1.5 % of it are not found."""


@dataclass(frozen=True)
class Detection:
    """A face in a photo."""

    box: tuple[float, float, float, float]
    """Left, top, width, height in photo pixels."""
    points: np.ndarray
    """(5, 2) float64 photo pixels, in the order of ``POINTS``."""
    confidence: float


def detect_faces(photo: np.ndarray) -> list[Detection]:
    """Return the faces in an (H, W, 3) uint8 photo, the largest first.

    Where none is upright, the photo is turned by eighths, and those turned faces are taken that
    the detector is surest of.
    """
    found = _upright(photo)
    if found:
        return found
    turned = [_turned(photo, angle) for angle in TURNS]
    return max(turned, key=lambda faces: max((one.confidence for one in faces), default=0.0))


def _upright(photo: np.ndarray) -> list[Detection]:
    height, width = photo.shape[:2]
    shrink = min(1.0, _LARGEST / max(height, width))
    size = max(round(width * shrink), 1), max(round(height * shrink), 1)
    image = Image.fromarray(np.ascontiguousarray(photo))
    small = np.asarray(image.resize(size, Image.Resampling.BOX)) if shrink < 1 else photo
    faces = []
    with backend.suppress_stderr():  # TensorFlow remarks on every photo without a face
        answers = _load_mtcnn().detect_faces(np.ascontiguousarray(small))
    for face in answers:
        if face["confidence"] < CONFIDENCE:
            continue
        # Its left and right are the picture's; ours are the subject's.
        marks = face["keypoints"]
        names = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
        points = np.array([marks[name] for name in names], np.float64)
        left, top, wide, high = (float(value) / shrink for value in face["box"])
        faces.append(Detection((left, top, wide, high), points / shrink, float(face["confidence"])))
    return sorted(faces, key=lambda face: -face.box[2] * face.box[3])


def _turned(photo: np.ndarray, angle: float) -> list[Detection]:
    """Return the faces that stand upright when the photo is turned by ``angle`` degrees."""
    turned = np.asarray(
        Image.fromarray(photo).rotate(angle, Image.Resampling.BILINEAR, expand=True)
    )
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    middle, here = (np.array(image.shape[1::-1]) / 2 - 0.5 for image in (photo, turned))

    def back(points: np.ndarray) -> np.ndarray:
        return (points - here) @ np.array([[cos, sin], [-sin, cos]]) + middle

    faces = []
    for face in _upright(turned):
        left, top, width, height = face.box
        corners = np.array([(left + x * width, top + y * height) for x in (0, 1) for y in (0, 1)])
        low, high = back(corners).min(0), back(corners).max(0)
        wide, tall = high - low
        box = (float(low[0]), float(low[1]), float(wide), float(tall))
        faces.append(Detection(box, back(face.points), face.confidence))
    return faces


@cache
def _load_mtcnn() -> Any:
    """Return the detector, made once."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise FkdError(
            "the face detector needs TensorFlow: set KERAS_BACKEND=tensorflow, "
            "or evaluate with --crop annotated"
        )
    try:
        from mtcnn import MTCNN
        from mtcnn.stages import StageONet, StagePNet, StageRNet
    except ImportError:
        raise FkdError(
            "the face detector is not installed: pip install mtcnn, "
            "or evaluate with --crop annotated"
        ) from None

    # A run may have set a narrower type for its own networks; these were trained in float32.
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        # By whole paths: given a bare name, it would unpickle a file of that name found in the
        # current folder.
        weights = resources.files("mtcnn.assets.weights")
        return MTCNN(
            stages=[
                StagePNet(weights=str(weights / "pnet.lz4")),
                StageRNet(weights=str(weights / "rnet.lz4")),
                StageONet(weights=str(weights / "onet.lz4")),
            ]
        )
    finally:
        keras.config.set_dtype_policy(policy)
