"""A folder of photos → a table of points → a network trained on it → points again."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fkd_kaggle.cli import app
from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.photos import annotate, mediapipe, references
from fkd_kaggle.photos.annotations import point_table
from fkd_kaggle.photos.annotations.point_table import PointTable
from fkd_kaggle.practice import synthetic_faces

PORTRAIT = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))

TWO = ("point_1", "point_2")

Fkd = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fkd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Fkd:
    """Run ``fkd-kaggle`` in this process, in an empty folder: exit code, stdout, stderr."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fkd-kaggle", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            app.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capfd.readouterr()

    return run


class Corners:
    """A reference model for tests: the upper corners of a photo that is not black."""

    names = ("upper_left", "upper_right")

    def __init__(self, fails_after: int = 10**9) -> None:
        self.seen = 0
        self.fails_after = fails_after

    def __call__(self, photos: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        self.seen += len(photos)
        if self.seen > self.fails_after:
            raise KeyboardInterrupt
        corners = [np.array([[0.0, 0], [photo.shape[1] - 1, 0]]) for photo in photos]
        return [one if photo.any() else None for one, photo in zip(corners, photos, strict=True)]


def photo(path: Path, shade: int = 200, size: tuple[int, int] = (30, 20)) -> None:
    """Write a photo of one shade."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)


coordinates = st.one_of(
    st.just(float("nan")), st.floats(0, 5000).map(lambda value: round(value, 2))
)


@given(st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=5))
def test_a_table_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, float, float]]
) -> None:
    points = np.array([[[x, x + 1], [y, z]] for x, y, z in values])
    points[np.isnan(points).any(2)] = np.nan
    images = tuple(f"a, “{n}”.jpg" for n in range(len(values)))
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    point_table.write_table(path, PointTable(images, points, TWO))
    back = point_table.read_table(path)
    assert (back.images, back.names, back.skipped) == (images, TWO, ())
    np.testing.assert_allclose(back.points, points, atol=0.005)


HEADER = "image_name,point_1_x,point_1_y,point_2_x,point_2_y\n"


def test_minus_one_is_not_found_and_bad_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        HEADER
        + "a.jpg,1,2,3,4\nb.jpg,1,2,-1,-1\n\nc.jpg,1,2,three,4\nd.jpg,1,2\n,1,2,3,4\ne.jpg,1,2,,\n"
    )
    table = point_table.read_table(path)
    assert table.images == ("a.jpg", "b.jpg", "e.jpg")
    assert np.isnan(table.points[1, 1]).all()
    assert [str(item) for item in table.skipped] == [
        "line 5: 'three' is not a number",
        "line 6: 3 cells where the header has 5",
        "line 7: names no image",
    ]
    assert table.complete().images == ("a.jpg",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the header must be image_name, point_1_x, point_1_y"),
        ("image_name,p_x,p_z\n", "column 3 is 'p_z'"),
        ("image_name,p_x,p_y,p_x,p_y\n", "'p' is in the header twice"),
        (HEADER, "no row that can be read"),
        (HEADER + "a.jpg,1\n", r"no row that can be read \(line 2: 2 cells"),
    ],
)
def test_other_tables_are_refused_by_what_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=why):
        point_table.read_table(tmp_path / "t.csv")


def test_coordinates_between_0_and_1_are_shares_of_the_photo() -> None:
    points = np.array([[[0.2, 0.9], [np.nan, np.nan]]])
    assert PointTable(("a",), points, TWO).shares
    assert not PointTable(("a",), points * 50, TWO).shares


def test_partners_in_a_mirror_are_told_by_name_or_by_shape() -> None:
    points = synthetic_faces.draw_faces(50, seed=1)[1] / 96
    five = points[:, [0, 1, 10, 11, 12]]  # eyes, nose, mouth corners
    numbered = tuple(f"point_{n}" for n in range(1, 6))
    assert point_table.flip_order(numbered, five) == (1, 0, 2, 4, 3)
    named = ("left_eye", "right_eye", "nose", "mouth_right", "mouth_left")
    assert point_table.flip_order(named, five) == (1, 0, 2, 4, 3)
    # One eye is symmetric, but its mirror image is the other eye.
    assert point_table.flip_order(numbered[:3], points[:, [0, 2, 3]]) is None
    assert point_table.flip_order(numbered[:3], points[:, [0, 10, 13]]) is None


def test_faceless_photos_are_rows_of_minus_one_and_torn_ones_are_named(tmp_path: Path) -> None:
    photo(tmp_path / "in/a.jpg")
    photo(tmp_path / "in/below/b.png", size=(40, 20))
    photo(tmp_path / "in/black.png", shade=0)
    (tmp_path / "in/torn.jpg").write_bytes(b"torn")
    target = tmp_path / "out" / "points.csv"
    result = annotate.annotate(
        tmp_path / "in", Corners(), ("upper_right",), target, about="corners"
    )
    assert target.read_text().splitlines() == [
        "image_name,point_1_x,point_1_y", "a.jpg,29.00,0.00", "below/b.png,39.00,0.00",
        "black.png,-1,-1",
    ]  # fmt: skip
    assert [str(item) for item in result.skipped] == [
        "black.png: no face found", "torn.jpg: not an image that can be read",
    ]  # fmt: skip
    assert result.found == 2
    assert Image.open(result.picture).size[0] > 100
    assert sorted(path.name for path in target.parent.iterdir()) == ["points.csv", "points.png"]


def test_an_interrupted_annotation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for number in range(40):
        photo(tmp_path / f"in/{number:02}.png")
    target = tmp_path / "points.csv"
    with pytest.raises(KeyboardInterrupt):
        annotate.annotate(tmp_path / "in", Corners(20), Corners.names, target, about="corners")
    assert not target.exists()
    again = Corners()
    annotate.annotate(tmp_path / "in", again, Corners.names, target, about="corners")
    assert again.seen == 24  # sixteen were kept
    assert len(point_table.read_table(target).images) == 40
    assert not list(tmp_path.glob(".*"))


def test_an_existing_table_is_not_overwritten_unasked(tmp_path: Path) -> None:
    photo(tmp_path / "in/a.png")
    target = tmp_path / "points.csv"
    target.write_text("corrected by hand")
    with pytest.raises(FkdError, match="--force"):
        annotate.annotate(tmp_path / "in", Corners(), Corners.names, target, about="")
    annotate.annotate(tmp_path / "in", Corners(), Corners.names, target, about="", replace=True)
    assert target.read_text().startswith("image_name")


def test_no_face_at_all_writes_nothing(tmp_path: Path) -> None:
    photo(tmp_path / "in/black.png", shade=0)
    with pytest.raises(DataError, match="no face in any of the 1 photos"):
        annotate.annotate(tmp_path / "in", Corners(), Corners.names, tmp_path / "t.csv", about="")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_detector_annotates_a_real_face(fkd: Fkd) -> None:
    Path("in").mkdir()
    Image.open(PORTRAIT).save("in/portrait.png")
    code, out, err = fkd("annotate", "in", "--model", "mtcnn")
    assert code == 0, err
    assert "point_3 is nose_tip" in out
    assert "1 of 1 photos have a face" in out
    table = point_table.read_table(Path("in/face_keypoints.csv"))
    left_eye, right_eye, nose, *_ = table.points[0]
    assert left_eye[0] > nose[0] > right_eye[0]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--model", "mtcn"), "did you mean 'mtcnn'"),
        (("--model", "mtcnn", "--points", "nose_tipp"), "did you mean 'nose_tip'"),
        (("--model", "mtcnn", "--points", "nose_tip,nose_tip"), "names 'nose_tip' twice"),
        (("--model", "mtcnn", "--points", "mouth_center_top_lip"), "unknown point"),
        (("--run", "none"), "no run 'none'"),
        ((), "train one with"),
    ],
)
def test_a_slip_in_annotate_is_one_line(fkd: Fkd, arguments: tuple[str, ...], why: str) -> None:
    photo(Path("in/a.png"))
    code, _, err = fkd("annotate", "in", *arguments)
    assert (code, err.count("\n")) == (2, 1), err
    assert why in err


def test_mediapipe_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(FkdError, match="not installed: use --model run or --model mtcnn"):
        references.load_reference("mediapipe", None, None)


def test_mediapipes_landmarks_become_keypoints_of_the_largest_face() -> None:
    mesh = np.random.default_rng(0).uniform(0.3, 0.7, (478, 2))
    mesh[468], mesh[473] = (0.4, 0.5), (0.6, 0.5)  # irises, the subject's right and left
    small = 0.5 + (mesh - 0.5) / 4
    model = mediapipe.MediaPipeReference(lambda photo: [small, mesh] if photo.any() else [])
    found, nothing = model([np.ones((50, 100, 3), np.uint8), np.zeros((50, 100, 3), np.uint8)])
    assert nothing is None
    assert found is not None
    eyes = found[[model.names.index("left_eye_center"), model.names.index("right_eye_center")]]
    np.testing.assert_allclose(eyes, [[59.5, 24.5], [39.5, 24.5]])


SMALL = """
architecture = "transfer"
source_outputs = "shared"
target_scale = "unit"
loss_width = 1.0
learning_rate = 1e-3
schedule = "constant"
patience = 2
epochs = 2
batch_size = 8
augmentation = { set = "none", flip = 0.5, brightness = 0.2 }
held_out = 0.1
validation = 0.1111
options = { backbone = "mobilenet-v2", weights = "none", side = 32, dense = 8 }
"""


def album(count: int = 30) -> None:
    """Write drawn faces as photos with three points each into ``album``; rows 0 and 1 are bad."""
    Path("album").mkdir()
    faces, points = synthetic_faces.draw_faces(count, seed=3)
    marks = points[:, [0, 1, 10]].astype(float)
    marks[0, 1] = np.nan
    names = tuple(f"{number:02}.png" for number in range(count))
    for name, face in zip(names[2:], faces[2:], strict=True):
        Image.fromarray(face).save(Path("album", name))
    Image.fromarray(faces[0]).save(Path("album", names[0]))
    table = PointTable(names, marks, ("left_eye", "right_eye", "nose"))
    point_table.write_table(Path("album/face_keypoints.csv"), table)
    Path("small.toml").write_text(SMALL)


@pytest.mark.slow
def test_a_network_learns_any_number_of_points_and_annotates_with_them(fkd: Fkd) -> None:
    album()
    code, out, err = fkd(
        "train-photos", "album/face_keypoints.csv", "-r", "small.toml", "--name", "mine"
    )
    assert code == 0, err
    assert "28 photos with 3 points each; rows dropped for a point that was not found: 1" in out
    assert "skipped 01.png: there is no such photo" in out
    assert "first weights: random, as asked for" in out
    assert "mirror images swap: left_eye and right_eye" in out
    folder = Path("runs/mine")
    note = json.loads((folder / "photo_run.json").read_text())
    assert note["photos"] == {"training": 22, "validation": 3, "test": 3}
    with (folder / "test.csv").open(newline="") as stream:
        kept = list(csv.DictReader(stream))
    truth = point_table.read_table(Path("album/face_keypoints.csv"))
    off = []
    for row in kept:
        marks = (truth.points[truth.images.index(row["image_name"])] + 0.5) / 96
        cells = [float(row[name]) for name in point_table.table_columns(truth.names)[1:]]
        off.append(np.abs(marks.reshape(-1) - cells))
    assert note["test"]["mae"] == pytest.approx(np.mean(off), abs=1e-4)
    assert note["test"]["mae_px_32"] == pytest.approx(32 * note["test"]["mae"])
    assert (folder / "test.png").exists()

    code, out, err = fkd("annotate", "album", "--run", "mine", "--output", "again.csv")
    assert code == 0, err
    again = point_table.read_table(Path("again.csv"))
    assert again.points.shape == (29, 3, 2)
    row = next(iter(kept))
    place = again.images.index(row["image_name"])
    assert again.points[place, 0, 0] == pytest.approx(96 * float(row["left_eye_x"]) - 0.5, abs=0.02)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("transfer", "region"), "photos are learned with architecture 'transfer'"),
        (("mobilenet-v2", "mobilenet-v3"), "did you mean 'mobilenet-v2'"),
        (('"none", side', '"w.h5", side'), "there is no file w.h5"),
        (("side = 32", "side = 8"), "side must be 32 or more"),
    ],
)
def test_a_recipe_that_photos_cannot_use_is_one_line_and_leaves_no_run(
    fkd: Fkd, change: tuple[str, str], why: str
) -> None:
    album()
    text = SMALL.replace(*change)
    if "region" in text:
        text = text.partition("options")[0]
    Path("small.toml").write_text(text)
    code, _, err = fkd("train-photos", "album/face_keypoints.csv", "-r", "small.toml")
    assert (code, err.count("\n")) == (2, 1), err
    assert why in err
    assert not list(Path().glob("runs/*"))


def test_too_few_photos_say_where_the_others_went(fkd: Fkd) -> None:
    album(12)
    code, _, err = fkd("train-photos", "album/face_keypoints.csv", "-r", "small.toml")
    assert code == 2
    assert "10 photos with all 3 points are too few" in err
    assert "01.png: there is no such photo" in err
