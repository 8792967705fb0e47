"""Tests of MediaPipe as a reference model, without MediaPipe."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

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


def vertices(mesh: np.ndarray) -> list[SimpleNamespace]:
    """Return a (478, 2) mesh as MediaPipe does."""
    return [SimpleNamespace(x=x, y=y, z=0.0) for x, y in mesh]


MESH = np.random.default_rng(1).uniform(0.3, 0.7, (478, 2))


class FaceMesh:
    """MediaPipe's former interface; finds ``MESH`` in photos that are not black."""

    def __init__(self, **options: Any) -> None:
        # Without these options, meshes have no irises, and photos are taken for a video.
        assert options["refine_landmarks"]
        assert options["static_image_mode"]

    def process(self, photo: np.ndarray) -> SimpleNamespace:
        found = [SimpleNamespace(landmark=vertices(MESH))] if photo.any() else None
        return SimpleNamespace(multi_face_landmarks=found)


class FaceLandmarker:
    """MediaPipe's present interface; finds ``MESH`` in photos that are not black."""

    @classmethod
    def create_from_options(cls, options: SimpleNamespace) -> FaceLandmarker:
        path = Path(options.base_options.model_asset_path)
        if path.read_text() != "a model":
            raise RuntimeError("Unable to open zip archive.\nMore lines")
        return cls()

    def detect(self, image: SimpleNamespace) -> SimpleNamespace:
        found = [vertices(MESH)] if image.data.any() else []
        return SimpleNamespace(face_landmarks=found)


@pytest.fixture
def mediapipe(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with MediaPipe's present interface only."""
    module: Any = ModuleType("mediapipe")
    module.__version__ = "0.10.35"
    module.ImageFormat = SimpleNamespace(SRGB="srgb")
    module.Image = lambda image_format, data: SimpleNamespace(data=data)
    vision = SimpleNamespace(FaceLandmarker=FaceLandmarker, FaceLandmarkerOptions=SimpleNamespace)
    module.tasks = SimpleNamespace(vision=vision, BaseOptions=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "mediapipe", module)
    return module


@pytest.mark.parametrize("former", [True, False])
def test_both_interfaces_of_mediapipe_give_the_same_points(
    mediapipe: Any, tmp_path: Path, former: bool
) -> None:
    (tmp_path / "face_landmarker.task").write_text("a model")
    if former:
        mediapipe.solutions = SimpleNamespace(face_mesh=SimpleNamespace(FaceMesh=FaceMesh))
    model = MediaPipeReference.open(None if former else tmp_path / "face_landmarker.task")
    photo = np.ones((50, 100, 3), np.uint8)
    points, no_points = model([photo, np.zeros_like(photo)])
    assert no_points is None
    assert points is not None
    nose = points[model.point_names.index("nose_tip")]
    np.testing.assert_allclose(nose, MESH[1] * (100, 50) - 0.5)


def test_mediapipe_without_a_model_names_the_file_to_give(mediapipe: Any) -> None:
    with pytest.raises(FkdError, match=r"MediaPipe 0\.10\.35 contains no model: give --model-file"):
        MediaPipeReference.open(None)


def test_a_file_that_is_no_model_is_one_line(mediapipe: Any, tmp_path: Path) -> None:
    (tmp_path / "no.task").write_text("no model")
    with pytest.raises(FkdError, match=r"^MediaPipe cannot load .*no\.task: Unable") as caught:
        MediaPipeReference.open(tmp_path / "no.task")
    assert "\n" not in str(caught.value)
