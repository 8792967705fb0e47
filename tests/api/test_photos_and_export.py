"""Tests of ``Model.predict_photo`` and ``Model.export``."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

import fkd_kaggle as fkd
from fkd_kaggle.api import export as api_export
from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.photos import prediction
from fkd_kaggle.photos.detection import DETECTED_KEYPOINTS, Detection

Arrays = tuple[np.ndarray, np.ndarray]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eager_functions")]


@pytest.fixture
def detected(monkeypatch: pytest.MonkeyPatch, synthetic: Arrays) -> np.ndarray:
    """A photo of a synthetic face, which the detector finds at its labelled points."""
    images, points = synthetic
    photo = np.kron(images[0], np.ones((3, 3), np.uint8))
    eyes_nose_mouth = (points[0, list(DETECTED_KEYPOINTS)] * 3 + 1).astype(float)

    def find(photo: np.ndarray, *_: object, **__: object) -> list[Detection]:
        return [Detection((0.0, 0.0, 287.0, 287.0), eyes_nose_mouth, 0.9)]

    monkeypatch.setattr(prediction, "detect_faces", find)
    return np.repeat(photo[:, :, None], 3, 2)


def test_photo_gives_faces_in_photo_pixels(
    model: fkd.Model, detected: np.ndarray, synthetic: Arrays, tmp_path: Path
) -> None:
    (face,) = model.predict_photo(detected)
    assert face.points.shape == (15, 2)
    assert face.number == 1
    # One epoch on 21 faces locates nothing, so the points lie where the face was detected.
    error = face.points - (synthetic[1][0] * 3 + 1)
    assert np.sqrt(np.mean(error**2)) < 40
    path = tmp_path / "face.png"
    Image.fromarray(detected).save(path)
    (from_file,) = model.predict_photo(str(path))
    np.testing.assert_allclose(from_file.points, face.points, atol=1e-3)


def test_unreadable_photo_is_one_line(model: fkd.Model, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        model.predict_photo(tmp_path / "broken.jpg")
    with pytest.raises(DataError, match="annotator"):
        model.predict_photo(tmp_path / "broken.jpg", "both")


def test_export_writes_one_file(
    model: fkd.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(run: object, folder: Path, name: str, **_: object) -> SimpleNamespace:
        folder.mkdir()
        (folder / f"model.{name}").write_bytes(b"model")
        (folder / "README.md").write_text("card")
        return SimpleNamespace(path=folder, file=folder / f"model.{name}")

    # tests/export checks the files of each format; here, only where the file goes.
    monkeypatch.setattr(api_export, "export_run", write)
    target = tmp_path / "models" / "model.onnx"
    assert model.export(target) == target
    assert [path.name for path in target.parent.iterdir()] == ["model.onnx"]
    assert model.export(tmp_path / "folder", format="keras") == tmp_path / "folder"
    assert (tmp_path / "folder" / "README.md").exists()
    with pytest.raises(FkdError, match="exists"):
        model.export(target)


def test_wrong_formats_write_nothing(model: fkd.Model, tmp_path: Path) -> None:
    with pytest.raises(FkdError, match="unknown: use a name that ends"):
        model.export(tmp_path / "model")
    with pytest.raises(FkdError, match="not keras"):
        model.export(tmp_path / "model.onnx", format="keras")
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_cannot_be_written_is_one_line(
    model: fkd.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(run: object, folder: Path, name: str, **_: object) -> SimpleNamespace:
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"model")
        return SimpleNamespace(path=folder, file=folder / "model.onnx")

    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", "elsewhere")

    exists = Path.exists

    def hide(path: Path) -> bool:
        return exists(path) if path.name != "model.onnx" else refuse()

    monkeypatch.setattr(api_export, "export_run", write)
    (tmp_path / "file").write_text("")
    with pytest.raises(FkdError, match=r"^cannot write .*/file/model\.onnx: "):
        model.export(tmp_path / "file" / "model.onnx")
    failures = (tempfile, "mkdtemp", refuse), (shutil, "move", refuse), (Path, "exists", hide)
    for owner, function, failure in failures:
        with monkeypatch.context() as patch:
            patch.setattr(owner, function, failure)
            with pytest.raises(FkdError, match=r"^cannot write .*/model\.onnx: Permission denied"):
                model.export(tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
