"""MediaPipe's face landmarks as a reference model, where that package is installed.

MediaPipe pins other versions of NumPy and protobuf than TensorFlow does, or brings no model (from
0.10.30 on), so it is no dependency of ours. An installed 0.10.21 or older works as it is: its model
is in its wheel. A newer one needs ``face_landmarker.task``, which Google offers for download.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fkd_kaggle.errors import FkdError
from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.nn import backend

_LANDMARKS: Final[dict[str, tuple[int, ...]]] = {
    # Of the 478 of the face mesh with irises; "left" is the subject's, in the mesh as here.
    "left_eye_center": (473,),
    "right_eye_center": (468,),
    "left_eye_inner_corner": (362,),
    "left_eye_outer_corner": (263,),
    "right_eye_inner_corner": (133,),
    "right_eye_outer_corner": (33,),
    "left_eyebrow_inner_end": (285, 336),
    "left_eyebrow_outer_end": (276, 300),
    "right_eyebrow_inner_end": (55, 107),
    "right_eyebrow_outer_end": (46, 70),
    "nose_tip": (1,),
    "mouth_left_corner": (291,),
    "mouth_right_corner": (61,),
    "mouth_center_top_lip": (0,),
    "mouth_center_bottom_lip": (17,),
}
"""Keypoints as means of mesh vertices."""


@dataclass(frozen=True)
class MediaPipeReference:
    """MediaPipe's face mesh, of the largest face."""

    mesh: Any
    """(H, W, 3) uint8 → the (478, 2) shares of width and height of each face."""
    names: tuple[str, ...] = KEYPOINT_NAMES

    @classmethod
    def open(cls, model_file: Path | None) -> MediaPipeReference:
        """Load MediaPipe's model: its own, or a ``face_landmarker.task``.

        Raises
        ------
        FkdError
            MediaPipe is not installed, or has no model of its own and none is given.
        """
        try:
            with backend.suppress_stderr():
                import mediapipe
        except ImportError:
            raise FkdError(
                "MediaPipe is not installed: use --model run or --model mtcnn, or install "
                "mediapipe 0.10.21 in an environment of its own (it needs an older NumPy)"
            ) from None
        if model_file is not None:
            return cls(_from_task(mediapipe, model_file))
        if not hasattr(mediapipe, "solutions"):
            raise FkdError(
                f"MediaPipe {mediapipe.__version__} brings no model: give --model-file "
                "face_landmarker.task from Google's MediaPipe page, or use --model run"
            )
        return cls(_from_wheel(mediapipe))

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (15, 2) photo pixels of each photo's largest face, None if none."""
        return [self._one(photo) for photo in photos]

    def _one(self, photo: np.ndarray) -> np.ndarray | None:
        with backend.suppress_stderr():
            faces = self.mesh(np.ascontiguousarray(photo))
        if not faces:
            return None
        largest = max(faces, key=lambda face: float(np.ptp(face, axis=0).prod()))
        marks = np.array([largest[list(of)].mean(0) for of in _LANDMARKS.values()])
        # Shares count from the photo's edge, pixels from the centre of the first.
        points = marks * photo.shape[1::-1] - 0.5
        return points[[list(_LANDMARKS).index(name) for name in KEYPOINT_NAMES]]


def _from_wheel(mediapipe: Any) -> Any:
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=8, refine_landmarks=True
    )

    def find(photo: np.ndarray) -> list[np.ndarray]:
        faces = mesh.process(photo).multi_face_landmarks or []
        return [np.array([(mark.x, mark.y) for mark in face.landmark]) for face in faces]

    return find


def _from_task(mediapipe: Any, model_file: Path) -> Any:
    vision = mediapipe.tasks.vision
    try:
        landmarker = vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(model_file)),
                num_faces=8,
            )
        )
    except (RuntimeError, ValueError, OSError) as error:
        why = str(error).strip().partition("\n")[0]
        raise FkdError(f"{model_file} is no model MediaPipe can load: {why}") from error

    def find(photo: np.ndarray) -> list[np.ndarray]:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=photo)
        faces = landmarker.detect(image).face_landmarks
        return [np.array([(mark.x, mark.y) for mark in face]) for face in faces]

    return find
