"""Tests of annotating a folder of photos by a reference model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image

from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.photos.annotations.point_table import read_table
from fkd_kaggle.photos.auto_annotation import annotate_photos


class CornerModel:
    """A reference model that predicts the upper corners of photos that are not black."""

    point_names = ("upper_left", "upper_right")

    def __init__(self, interrupt_after: int = 10**9) -> None:
        self.photos = 0
        """Number of photos given to the model."""
        self.interrupt_after = interrupt_after

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        self.photos += len(photos)
        if self.photos > self.interrupt_after:
            raise KeyboardInterrupt
        return [
            np.array([[0.0, 0], [photo.shape[1] - 1, 0]]) if photo.any() else None
            for photo in photos
        ]


def write_photo(path: Path, grey: int = 200, size: tuple[int, int] = (30, 20)) -> None:
    """Write a photo of one grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)


def test_photos_without_a_face_are_minus_one_and_damaged_photos_reported(tmp_path: Path) -> None:
    write_photo(tmp_path / "in/a.jpg")
    write_photo(tmp_path / "in/below/b.png", size=(40, 20))
    write_photo(tmp_path / "in/black.png", grey=0)
    (tmp_path / "in/torn.jpg").write_bytes(b"torn")
    target = tmp_path / "out" / "points.csv"
    result = annotate_photos(
        tmp_path / "in", CornerModel(), ("upper_right",), target, model_id="corners"
    )
    assert target.read_text().splitlines() == [
        "image_name,point_1_x,point_1_y",
        "a.jpg,29.00,0.00",
        "below/b.png,39.00,0.00",
        "black.png,-1,-1",
    ]
    assert [str(item) for item in result.skipped] == [
        "black.png: no face found",
        "torn.jpg: not an image that can be read",
    ]
    assert result.found == 2
    assert Image.open(result.picture).size[0] > 100
    assert sorted(path.name for path in target.parent.iterdir()) == ["points.csv", "points.png"]


def test_an_interrupted_annotation_is_continued(tmp_path: Path) -> None:
    for number in range(40):
        write_photo(tmp_path / f"in/{number:02}.png")
    target = tmp_path / "points.csv"
    names = CornerModel.point_names
    with pytest.raises(KeyboardInterrupt):
        annotate_photos(tmp_path / "in", CornerModel(20), names, target, model_id="corners")
    assert not target.exists()
    model = CornerModel()
    annotate_photos(tmp_path / "in", model, names, target, model_id="corners")
    assert model.photos == 24  # sixteen were annotated before the interruption
    assert len(read_table(target).image_names) == 40
    assert not list(tmp_path.glob(".*"))


def test_an_existing_table_is_replaced_only_on_request(tmp_path: Path) -> None:
    write_photo(tmp_path / "in/a.png")
    target = tmp_path / "points.csv"
    target.write_text("corrected by hand")
    model, names = CornerModel(), CornerModel.point_names
    with pytest.raises(FkdError, match="--force"):
        annotate_photos(tmp_path / "in", model, names, target, model_id="")
    annotate_photos(tmp_path / "in", model, names, target, model_id="", replace=True)
    assert target.read_text().startswith("image_name")


def test_nothing_is_written_if_no_photo_contains_a_face(tmp_path: Path) -> None:
    write_photo(tmp_path / "in/black.png", grey=0)
    with pytest.raises(DataError, match="no face in any of the 1 photos"):
        annotate_photos(
            tmp_path / "in",
            CornerModel(),
            CornerModel.point_names,
            tmp_path / "t.csv",
            model_id="",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_face_detector_annotates_a_real_face(fkd: Command, portrait: Path) -> None:
    Path("in").mkdir()
    Image.open(portrait).save("in/portrait.png")
    result = fkd("annotate", "in", "--model", "mtcnn")
    assert result.code == 0, result.err
    assert "point_3 is nose_tip" in result.out
    assert "1 of 1 photos have a face" in result.out
    table = read_table(Path("in/face_keypoints.csv"))
    left_eye, right_eye, nose, *_ = table.points[0]
    assert left_eye[0] > nose[0] > right_eye[0]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--model", "mtcn"), "did you mean 'mtcnn'"),
        (("--model", "mtcnn", "--points", "nose_tipp"), "did you mean 'nose_tip'"),
        (("--model", "mtcnn", "--points", "nose_tip,nose_tip"), "names 'nose_tip' twice"),
        (("--model", "mtcnn", "--points", "mouth_center_top_lip"), "unknown point"),
        (("--run", "none"), "no run 'none'"),
        ((), "train one with"),
    ],
)
def test_error_for_a_wrong_option_of_annotate_is_one_line(
    fkd: Command, arguments: tuple[str, ...], reason: str
) -> None:
    write_photo(Path("in/a.png"))
    result = fkd("annotate", "in", *arguments)
    assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert reason in result.err
