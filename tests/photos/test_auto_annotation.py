"""Tests of annotating a folder of photos by a reference model."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from PIL import Image

from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.photos.annotations.point_table import read_table
from fkd_kaggle.photos.auto_annotation import Targets, annotate_photos
from fkd_kaggle.photos.face_drawing import DrawingFolder, drawing_names
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.photo_folder import DRAWN_MARKER
from fkd_kaggle.photos.photo_inputs import collect_inputs


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
    assert result.picture is not None
    with Image.open(result.picture) as picture:
        assert picture.size[0] > 100
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


def test_the_figure_of_a_table_never_replaces_a_photo(tmp_path: Path) -> None:
    photo = tmp_path / "in/a.png"
    write_photo(photo)
    before = photo.read_bytes()
    (tmp_path / "link.png").symlink_to(photo)
    model = CornerModel()
    for name in ("in/a.csv", "link.csv"):
        for replace in (False, True):
            with pytest.raises(FkdError, match=r"would replace the photo .*\.png: choose another"):
                annotate_photos(
                    tmp_path / "in",
                    model,
                    model.point_names,
                    tmp_path / name,
                    model_id="",
                    replace=replace,
                )
    assert photo.read_bytes() == before
    assert model.photos == 0
    assert sorted(path.name for path in photo.parent.iterdir()) == ["a.png"]


def test_an_existing_figure_is_replaced_only_on_request(tmp_path: Path) -> None:
    write_photo(tmp_path / "in/a.png")
    target, figure = tmp_path / "points.csv", tmp_path / "points.png"
    figure.write_bytes(b"mine")
    model, names = CornerModel(), CornerModel.point_names
    with pytest.raises(FkdError, match=r"points\.png is there already: --force replaces it"):
        annotate_photos(tmp_path / "in", model, names, target, model_id="")
    assert figure.read_bytes() == b"mine"
    assert (model.photos, target.exists()) == (0, False)
    annotate_photos(tmp_path / "in", model, names, target, model_id="", replace=True)
    assert figure.read_bytes() != b"mine"


@pytest.mark.parametrize(
    "targets",
    [
        Targets(Path("points.png")),
        Targets(Path("points.csv"), csv=Path("points.png")),
        Targets(Path("points.csv"), json=Path("below/../points.png")),
        Targets(Path("points.csv"), draw=Path("points.png")),
    ],
)
def test_no_target_has_the_name_of_the_figure(targets: Targets) -> None:
    with pytest.raises(FkdError, match=r"points\.png is also the name of the table's figure"):
        targets.check(replace=True)


DRAWN_POINTS = ("upper_left", "upper_right")


def annotate_and_draw(
    folder: Path,
    model: CornerModel,
    *,
    points: tuple[str, ...] = DRAWN_POINTS,
    replace: bool = False,
) -> None:
    """Annotate ``folder/in`` into ``folder/points.csv`` and ``folder/drawn``."""
    annotate_photos(
        folder / "in",
        model,
        ("upper_left",),
        Targets(folder / "points.csv", draw=folder / "drawn"),
        model_id="corners",
        face_point_names=points,
        replace=replace,
    )


def drawn_numbers(folder: Path) -> list[int]:
    """Return the numbers of the photos that are drawn."""
    return sorted(int(path.name.split(".")[0]) for path in folder.glob("drawn/*.jpg"))


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """Return a folder with 20 photos, 16 of which are annotated and drawn."""
    for number in range(20):
        write_photo(tmp_path / f"in/{number}.png")
    with pytest.raises(KeyboardInterrupt):
        annotate_and_draw(tmp_path, CornerModel(16))
    return tmp_path


def test_an_interrupted_annotation_continues_its_drawings(interrupted: Path) -> None:
    model = CornerModel()
    annotate_and_draw(interrupted, model)
    assert model.photos == 4
    assert drawn_numbers(interrupted) == list(range(20))


def test_a_continued_annotation_draws_all_photos_in_a_new_folder(tmp_path: Path) -> None:
    for number in range(20):
        write_photo(tmp_path / f"in/{number}.png")
    with pytest.raises(KeyboardInterrupt):
        annotate_photos(
            tmp_path / "in",
            CornerModel(16),
            ("upper_left",),
            tmp_path / "points.csv",
            model_id="corners",
        )
    annotate_and_draw(tmp_path, CornerModel())
    assert drawn_numbers(tmp_path) == list(range(20))


def test_a_continued_annotation_draws_missing_and_replaced_drawings(interrupted: Path) -> None:
    (interrupted / "drawn/2.png.jpg").unlink()
    (interrupted / "drawn/3.png.jpg").write_bytes(b"another drawing")
    model = CornerModel()
    annotate_and_draw(interrupted, model)
    assert model.photos == 6
    assert drawn_numbers(interrupted) == list(range(20))
    with Image.open(interrupted / "drawn/3.png.jpg") as drawing:
        assert drawing.size == (30, 20)


def test_drawings_of_other_points_are_replaced_only_on_request(interrupted: Path) -> None:
    before = (interrupted / "drawn/2.png.jpg").read_bytes()
    model = CornerModel()
    with pytest.raises(FkdError, match="contains drawn photos: --force replaces them"):
        annotate_and_draw(interrupted, model, points=("upper_left",))
    assert model.photos == 0
    assert (interrupted / "drawn/2.png.jpg").read_bytes() == before
    annotate_and_draw(interrupted, model, points=("upper_left",), replace=True)
    assert model.photos == 20
    assert (interrupted / "drawn/2.png.jpg").read_bytes() != before


def test_an_interrupted_annotation_does_not_replace_finished_drawings(tmp_path: Path) -> None:
    for number in range(20):
        write_photo(tmp_path / f"in/{number}.png")
    annotate_and_draw(tmp_path, CornerModel())
    before = (tmp_path / "drawn/2.png.jpg").stat().st_mtime_ns
    arguments = (("upper_left",), tmp_path / "other.csv")
    with pytest.raises(KeyboardInterrupt):
        annotate_photos(tmp_path / "in", CornerModel(16), *arguments, model_id="corners")
    with pytest.raises(FkdError, match="contains drawn photos: --force replaces them"):
        annotate_photos(
            tmp_path / "in",
            CornerModel(),
            ("upper_left",),
            Targets(tmp_path / "other.csv", draw=tmp_path / "drawn"),
            model_id="corners",
        )
    assert (tmp_path / "drawn/2.png.jpg").stat().st_mtime_ns == before


class BrokenModel(CornerModel):
    """A model that cannot be used, as the face detector if it is not installed."""

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        raise FkdError("finding faces needs another package")


@pytest.mark.parametrize(
    ("model", "error"), [(BrokenModel(), FkdError), (CornerModel(0), KeyboardInterrupt)]
)
@pytest.mark.parametrize("marked", [False, True])
def test_photos_are_drawn_after_a_call_that_drew_none(
    tmp_path: Path, model: CornerModel, error: type[BaseException], marked: bool
) -> None:
    write_photo(tmp_path / "in/1.png")
    if marked:  # as earlier versions left the folder
        (tmp_path / "drawn").mkdir()
        (tmp_path / "drawn" / DRAWN_MARKER).touch()
    with pytest.raises(error):
        annotate_and_draw(tmp_path, model)
    annotate_and_draw(tmp_path, CornerModel())
    assert drawn_numbers(tmp_path) == [1]
    assert (tmp_path / "drawn" / DRAWN_MARKER).exists()


def test_an_annotation_that_is_interrupted_while_drawing_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_photo(tmp_path / f"in/{number}.png")
    real = DrawingFolder.save

    def save(folder: DrawingFolder, name: str, *arguments: Any) -> None:
        if name == "1.png":
            raise KeyboardInterrupt
        real(folder, name, *arguments)

    monkeypatch.setattr(DrawingFolder, "save", save)
    with pytest.raises(KeyboardInterrupt):
        annotate_and_draw(tmp_path, CornerModel())
    assert drawn_numbers(tmp_path) == [0]
    monkeypatch.undo()
    annotate_and_draw(tmp_path, CornerModel())
    assert drawn_numbers(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("other", [False, True])
def test_drawings_are_removed_if_no_photo_contains_a_face(tmp_path: Path, other: bool) -> None:
    write_photo(tmp_path / "in/1.png", grey=0)
    write_photo(tmp_path / "in/below/2.png", grey=0)
    kept = ["in"]
    if other:
        (tmp_path / "drawn").mkdir()
        for name in (DRAWN_MARKER, "9.jpg"):
            (tmp_path / "drawn" / name).touch()
        kept = ["drawn", "in"]
    with pytest.raises(DataError, match="nothing written"):
        annotate_and_draw(tmp_path, CornerModel(), replace=other)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    if other:
        assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
            DRAWN_MARKER,
            "9.jpg",
        ]


class TwoFaceModel(CornerModel):
    """Finds two faces in each photo that is not black."""

    def find_faces(self, photos: Sequence[np.ndarray]) -> list[list[PhotoFace]]:
        self.photos += len(photos)
        points = np.array([[4.0, 5], [9, 5]])
        large = PhotoFace(1, (2.0, 3, 10, 12), points, 0.5, 0.99)
        small = PhotoFace(2, (15.0, 3, 8, 9), points + 12, float("nan"), 0.95)
        return [[large, small] if photo.any() else [] for photo in photos]


def test_all_faces_of_a_photo_are_written_with_box_and_expected_error(tmp_path: Path) -> None:
    write_photo(tmp_path / "in/a.jpg")
    write_photo(tmp_path / "in/black.png", grey=0)
    targets = Targets(
        tmp_path / "table.csv", tmp_path / "faces.csv", tmp_path / "faces.json", tmp_path / "drawn"
    )
    result = annotate_photos(
        tmp_path / "in", TwoFaceModel(), ("upper_right",), targets, model_id="two"
    )
    assert [face.number for face in result.faces["a.jpg"]] == [1, 2]
    assert (tmp_path / "table.csv").read_text().splitlines()[1:] == [
        "a.jpg,9.00,5.00",
        "black.png,-1,-1",
    ]
    with (tmp_path / "faces.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header[:8] == [
        *("image_name", "face", "left", "top", "width", "height"),
        *("expected_error", "confidence"),
    ]
    assert header[8:] == ["upper_left_x", "upper_left_y", "upper_right_x", "upper_right_y"]
    assert rows[0][:8] == ["a.jpg", "1", "2.00", "3.00", "10.00", "12.00", "0.50", "0.9900"]
    assert rows[1][1:7] == ["2", "15.00", "3.00", "8.00", "9.00", ""]
    photos = json.loads((tmp_path / "faces.json").read_text())["photos"]
    assert photos["black.png"] == []
    assert photos["a.jpg"][1]["points"]["upper_right"] == [21.0, 17.0]
    assert photos["a.jpg"][1]["expected_error"] is None
    with Image.open(tmp_path / "drawn/a.jpg") as drawn, Image.open(tmp_path / "in/a.jpg") as photo:
        assert drawn.size == photo.size
        assert np.abs(np.asarray(drawn, int) - np.asarray(photo, int)).max() > 50


def test_drawings_and_copies_of_notebooks_are_not_annotated_again(tmp_path: Path) -> None:
    write_photo(tmp_path / "in/a.jpg")
    write_photo(tmp_path / "in/.ipynb_checkpoints/a-checkpoint.jpg")
    write_photo(tmp_path / "in/__MACOSX/._a.jpg")
    targets = Targets(tmp_path / "in/my_points.csv", draw=tmp_path / "in/drawn")
    for _ in range(2):
        annotate_photos(
            tmp_path / "in", CornerModel(), ("upper_left",), targets, model_id="", replace=True
        )
        assert read_table(tmp_path / "in/my_points.csv").image_names == ("a.jpg",)
    assert (tmp_path / "in/my_points.png").exists()


def test_a_picture_with_the_name_of_another_table_is_annotated(tmp_path: Path) -> None:
    write_photo(tmp_path / "in/face.png")
    (tmp_path / "in/face.csv").write_text("name,age\nada,36\n")
    assert list(collect_inputs([tmp_path / "in"]).photos) == ["face.png"]


def test_files_and_folders_are_annotated_together_and_each_file_once(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "in/b.jpg")
    found = collect_inputs([tmp_path / "a.jpg", tmp_path / "in", tmp_path / "in/b.jpg"])
    assert [path.name for path in found.photos.values()] == ["a.jpg", "b.jpg"]
    with pytest.raises(DataError, match=r"c\.jpg: there is no such photo"):
        collect_inputs([tmp_path / "c.jpg"])


def test_a_photo_that_changed_after_an_interruption_is_annotated_again(tmp_path: Path) -> None:
    for number in range(20):
        write_photo(tmp_path / f"in/{number:02}.png")
    target, names = tmp_path / "points.csv", CornerModel.point_names
    with pytest.raises(KeyboardInterrupt):
        annotate_photos(tmp_path / "in", CornerModel(16), names, target, model_id="")
    write_photo(tmp_path / "in/03.png", size=(80, 20))
    model = CornerModel()
    annotate_photos(tmp_path / "in", model, names, target, model_id="")
    assert model.photos == 5
    assert read_table(target).points[3, 1, 0] == 79


def test_drawings_never_replace_photos(tmp_path: Path) -> None:
    write_photo(tmp_path / "in/a.jpg")
    before = (tmp_path / "in/a.jpg").read_bytes()
    for folder in (tmp_path / "in", tmp_path):
        with pytest.raises(FkdError, match="--draw"):
            annotate_photos(
                tmp_path / "in",
                CornerModel(),
                ("upper_left",),
                Targets(draw=folder),
                model_id="",
                replace=True,
            )
    assert (tmp_path / "in/a.jpg").read_bytes() == before
    assert drawing_names(["../../etc/a.png"]) == {"../../etc/a.png": "etc/a.png.jpg"}


def test_photos_of_the_same_name_are_drawn_as_different_files() -> None:
    names = ["a.jpg", "../a.jpg", "A.JPG", "b/a.jpg", "c.png", "c.png.jpg"]
    drawn = drawing_names(names)
    assert list(drawn) == names
    assert list(drawn.values()) == [
        "a.jpg",
        "a-2.jpg",
        "A-3.JPG",
        "b/a.jpg",
        "c.png.jpg",
        "c.png-2.jpg",
    ]


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


@pytest.mark.slow
def test_a_single_photo_is_annotated_and_printed(fkd: Command, portrait: Path) -> None:
    face = Image.open(portrait).convert("RGB")
    double = Image.new("RGB", (2 * face.width, face.height))
    double.paste(face, (0, 0))
    double.paste(face, (face.width, 0))
    double.save("two.png")
    result = fkd("annotate", "two.png", "--model", "mtcnn", "--csv", "-")
    assert result.code == 0, result.err
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [row["face"] for row in rows] == ["1", "2"]
    assert abs(float(rows[0]["nose_tip_x"]) - float(rows[1]["nose_tip_x"])) > face.width / 2
    assert sorted(path.name for path in Path().iterdir() if path.is_file()) == ["two.png"]


@pytest.mark.slow
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
