"""Face detection in photos with MTCNN (Zhang et al. 2016), from the package ``mtcnn``.

The weights are part of that package, so nothing is downloaded. A detection includes five keypoints,
from which an upright crop can be made. MTCNN needs Keras' TensorFlow backend.
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
from fkd_kaggle.nn import backend, keras_settings

DETECTED_KEYPOINTS = index(
    "left_eye_center", "right_eye_center", "nose_tip", "mouth_left_corner", "mouth_right_corner"
)
"""Indices of the keypoints of a detection, in its order."""

MIN_CONFIDENCE = 0.9
"""Detections with a lower confidence are dropped. The faces of the 60 photos of the external test
have at least 0.98."""

ROTATIONS = (90.0, -90.0, 45.0, -45.0, 180.0, 135.0, -135.0)
"""Degrees by which a photo without an upright face is rotated."""

_MAX_SIDE = 1280
"""Pixels. Larger photos are reduced to this size first, so that faces smaller than about 1.5 % of
the longer side are not found."""


@dataclass(frozen=True)
class Detection:
    """A face in a photo."""

    box: tuple[float, float, float, float]
    """Left, top, width and height in photo pixels."""
    points: np.ndarray
    """(5, 2) float64 photo pixels, in the order of ``DETECTED_KEYPOINTS``."""
    confidence: float
    """0 to 1."""


def detect_faces(photo: np.ndarray) -> list[Detection]:
    """Return the faces in a photo, the largest first.

    If no face is upright, the photo is rotated by multiples of 45°. The faces of the rotation with
    the most confident detection are returned.

    Parameters
    ----------
    photo
        (H, W, 3) uint8 RGB.

    Raises
    ------
    FkdError
        MTCNN is not installed, or Keras uses another backend than TensorFlow.
    """
    faces = detect_upright_faces(photo)
    if faces:
        return faces
    candidates = [_detect_rotated(photo, angle) for angle in ROTATIONS]
    return max(candidates, key=lambda faces: max((face.confidence for face in faces), default=0.0))


def detect_upright_faces(photo: np.ndarray, *, max_side: int = _MAX_SIDE) -> list[Detection]:
    """Return the upright faces in a photo, the largest first, without trying rotations.

    Parameters
    ----------
    photo
        (H, W, 3) uint8 RGB.
    max_side
        Pixels. Larger photos are reduced to this size first.

    Raises
    ------
    FkdError
        As for ``detect_faces``.
    """
    height, width = photo.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    image = Image.fromarray(np.ascontiguousarray(photo))
    reduced = np.asarray(image.resize(size, Image.Resampling.BOX)) if scale < 1 else photo
    with backend.suppress_stderr():  # TensorFlow logs a line for every photo without a face.
        found = _load_mtcnn().detect_faces(np.ascontiguousarray(reduced))
    faces = []
    for face in found:
        if face["confidence"] < MIN_CONFIDENCE:
            continue
        # MTCNN's left and right are the image's; the package's are the subject's.
        names = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
        points = np.array([face["keypoints"][name] for name in names], np.float64)
        left, top, box_width, box_height = (float(value) / scale for value in face["box"])
        box = (left, top, box_width, box_height)
        faces.append(Detection(box, points / scale, float(face["confidence"])))
    return sorted(faces, key=lambda face: -face.box[2] * face.box[3])


def _detect_rotated(photo: np.ndarray, angle: float) -> list[Detection]:
    """Return the faces that are upright when the photo is rotated by an angle in degrees."""
    rotated = np.asarray(
        Image.fromarray(photo).rotate(angle, Image.Resampling.BILINEAR, expand=True)
    )
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    centre, rotated_centre = (np.array(image.shape[1::-1]) / 2 - 0.5 for image in (photo, rotated))

    def to_photo(points: np.ndarray) -> np.ndarray:
        return (points - rotated_centre) @ np.array([[cos, sin], [-sin, cos]]) + centre

    faces = []
    for face in detect_upright_faces(rotated):
        left, top, width, height = face.box
        corners = np.array([(left + x * width, top + y * height) for x in (0, 1) for y in (0, 1)])
        low, high = to_photo(corners).min(0), to_photo(corners).max(0)
        width, height = high - low
        box = (float(low[0]), float(low[1]), float(width), float(height))
        faces.append(Detection(box, to_photo(face.points), face.confidence))
    return faces


@cache
def _load_mtcnn() -> Any:
    """Return the ``mtcnn.MTCNN`` detector, loaded once."""
    import keras

    keras_settings.apply()
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
            "the face detector is not installed: pip install 'fkd-kaggle[photos]', "
            "or evaluate with --crop annotated"
        ) from None

    # MTCNN was trained in float32. A run may have set mixed precision for its own networks.
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        # Absolute paths: for a bare file name, MTCNN unpickles a file of that name in the current
        # folder if there is one.
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
