"""MediaPipe's face landmarks as a reference model, if MediaPipe is installed.

MediaPipe is not a dependency: it needs other versions of NumPy and protobuf than TensorFlow, or
contains no model (from 0.10.30). Version 0.10.21 and older contain a model. Newer versions need the
file ``face_landmarker.task``, which Google offers for download.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fkd_kaggle.errors import FkdError
from fkd_kaggle.formatting import first_line
from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.nn import backend
from fkd_kaggle.photos.found_faces import PhotoFace, box_of_points

_VERTICES: Final[dict[str, tuple[int, ...]]] = {
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
"""Each keypoint is the mean of these vertices of the face mesh, which has 478 with the irises.

"Left" is the subject's in both. Vertex 473 is the centre of the left iris.
"""

_MAX_FACES = 8

FindMeshes = Callable[[np.ndarray], Sequence[np.ndarray]]
"""(H, W, 3) uint8 RGB → for each face (478, 2) coordinates normalized by width and height."""


@dataclass(frozen=True)
class MediaPipeReference:
    """The keypoints of the largest face's mesh."""

    find_meshes: FindMeshes
    point_names: tuple[str, ...] = KEYPOINT_NAMES

    @classmethod
    def open(cls, model_file: Path | None) -> MediaPipeReference:
        """Load MediaPipe's own model, or a model file.

        Parameters
        ----------
        model_file
            A ``face_landmarker.task``; None for the model in the installed MediaPipe.

        Raises
        ------
        FkdError
            MediaPipe is not installed, contains no model and none is given, or the file cannot be
            loaded.
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
            return cls(_load_task(mediapipe, model_file))
        if not hasattr(mediapipe, "solutions"):
            raise FkdError(
                f"MediaPipe {mediapipe.__version__} contains no model: give --model-file "
                "face_landmarker.task from Google's MediaPipe page, or use --model run"
            )
        return cls(_load_solution(mediapipe))

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Return (15, 2) photo pixels for each photo's largest face, None if there is no face.

        Parameters
        ----------
        photos
            (H, W, 3) uint8 RGB photos.
        """
        return [faces[0].points if faces else None for faces in self.find_faces(photos)]

    def find_faces(self, photos: Sequence[np.ndarray]) -> list[list[PhotoFace]]:
        """Return the faces in (H, W, 3) uint8 RGB photos, the largest first."""
        return [self._find(photo) for photo in photos]

    def _find(self, photo: np.ndarray) -> list[PhotoFace]:
        """Return the faces of one photo."""
        with backend.suppress_stderr():
            meshes = self.find_meshes(np.ascontiguousarray(photo))
        faces = []
        for number, mesh in enumerate(
            sorted(meshes, key=lambda mesh: -float(np.ptp(mesh, axis=0).prod())), start=1
        ):
            # Normalized coordinates start at the photo's edge, pixels at the first pixel's centre.
            vertices = mesh * photo.shape[1::-1] - 0.5
            points = np.array([vertices[list(_VERTICES[name])].mean(0) for name in KEYPOINT_NAMES])
            faces.append(PhotoFace(number, box_of_points(vertices), points, math.nan, math.nan))
        return faces


def _load_solution(mediapipe: Any) -> FindMeshes:
    """Return the face mesh of MediaPipe's former interface, whose model is in the package."""
    face_mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=_MAX_FACES, refine_landmarks=True
    )

    def find_meshes(photo: np.ndarray) -> list[np.ndarray]:
        faces = face_mesh.process(photo).multi_face_landmarks or []
        return [np.array([(vertex.x, vertex.y) for vertex in face.landmark]) for face in faces]

    return find_meshes


def _load_task(mediapipe: Any, model_file: Path) -> FindMeshes:
    """Return the face mesh of a ``face_landmarker.task``."""
    vision = mediapipe.tasks.vision
    try:
        landmarker = vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(model_file)),
                num_faces=_MAX_FACES,
            )
        )
    except (RuntimeError, ValueError, OSError) as error:
        reason = first_line(error)
        raise FkdError(f"MediaPipe cannot load {model_file}: {reason}") from error

    def find_meshes(photo: np.ndarray) -> list[np.ndarray]:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=photo)
        faces = landmarker.detect(image).face_landmarks
        return [np.array([(vertex.x, vertex.y) for vertex in face]) for face in faces]

    return find_meshes
