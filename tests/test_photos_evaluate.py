"""From a photo to a score: crops, a run's answer, the matching, the folder that is left."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fkd_kaggle.cli import app
from fkd_kaggle.data.csv_format import write_training_csv
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import fitting, prediction
from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.keypoints import IMAGE_SIZE, KEYPOINT_NAMES
from fkd_kaggle.photos import crops, detection, evaluation, images, localization
from fkd_kaggle.photos.annotations import cvat, types
from fkd_kaggle.practice import synthetic_faces
from fkd_kaggle.recipes import plans
from fkd_kaggle.runs.folder import Run

PORTRAIT = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))

EYES = (0, 1)


@pytest.fixture(scope="module")
def shape() -> crops.FaceShape:
    """Where drawn faces have their points."""
    return crops.FaceShape.measure(synthetic_faces.draw_faces(200, seed=0)[1])


def beacon_photo(shape: crops.FaceShape, crop: crops.Crop) -> np.ndarray:
    """Return a (300, 300) grey photo that is black but for two discs where the eyes are."""
    y, x = np.mgrid[:300, :300]
    photo = np.zeros((300, 300), np.float32)
    for point, shade in zip(EYES, (250, 120), strict=True):
        at = crop.to_photo(shape.mean[point])
        photo[np.hypot(x - at[0], y - at[1]) < 4 * crop.scale] = shade
    return photo


def see_beacons(shape: crops.FaceShape) -> localization.Predict:
    """Return a stand-in for a run: it finds the two discs and knows the face around them."""

    def predict(crops_: np.ndarray) -> np.ndarray:
        answers = np.tile(shape.mean, (len(crops_), 1, 1))
        y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
        for row, image in enumerate(crops_.astype(int)):
            if image.max() < 200:
                continue
            bright = image > 185
            first = np.array([x[bright].mean(), y[bright].mean()])
            other = (image > 60) & (np.hypot(x - first[0], y - first[1]) > 9)
            if other.any():
                second = np.array([x[other].mean(), y[other].mean()])
                found = crops.crop_aligned(np.stack([first, second]), shape, EYES)
                answers[row] = found.to_photo(shape.mean)
        return answers

    return predict


@given(
    angle=st.floats(-3, 3), scale=st.floats(0.2, 8), x=st.floats(-50, 900), y=st.floats(-50, 900)
)
def test_points_go_to_the_photo_and_back(angle: float, scale: float, x: float, y: float) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    crop = crops.Crop(np.column_stack([turn, [x, y]]))
    points = np.random.default_rng(0).uniform(0, 96, (15, 2))
    np.testing.assert_allclose(crop.to_crop(crop.to_photo(points)), points, atol=1e-8)
    assert crop.scale == pytest.approx(scale)


@given(angle=st.floats(-3, 3), scale=st.floats(0.2, 8))
def test_an_aligned_crop_puts_a_mean_face_on_its_mean(angle: float, scale: float) -> None:
    mean = np.random.default_rng(1).uniform(0, 96, (15, 2))
    shape = crops.FaceShape(mean, mean.mean(0), 20.0)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    face = mean @ turn.T + (40, 70)
    crop = crops.crop_aligned(face, shape)
    np.testing.assert_allclose(crop.to_crop(face), mean, atol=1e-6)
    some = (3, 5, 9)
    np.testing.assert_allclose(
        crops.crop_aligned(face[list(some)], shape, some).matrix, crop.matrix, atol=1e-6
    )


def test_a_crop_around_points_needs_no_order(shape: crops.FaceShape) -> None:
    face = 2.5 * synthetic_faces.draw_faces(1, seed=5)[1][0].astype(float) + (30, 12)
    crop = crops.crop_around(face, shape)
    shuffled = crops.crop_around(face[::-1], shape)
    np.testing.assert_allclose(crop.matrix, shuffled.matrix)
    seen = crop.to_crop(face)
    np.testing.assert_allclose(seen.mean(0), shape.centre, atol=1e-6)
    assert crops.point_radius(seen, seen.mean(0)) == pytest.approx(shape.radius)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.6, 9.0, 20.0])
def test_a_crop_shows_what_is_there_at_any_size(scale: float) -> None:
    size = round(IMAGE_SIZE * scale) + 40
    y, x = np.mgrid[:size, :size]
    photo = (x / size * 200 + y / size * 50).astype(np.float32)
    crop = crops.Crop(np.array([[scale, 0, 11.0], [0, scale, 7.0]]))
    row, column = 30, 60
    at = crop.to_photo(np.array([column, row], float))
    expected = at[0] / size * 200 + at[1] / size * 50
    assert crop.cut(photo)[row, column] == pytest.approx(expected, abs=1.0)


def test_a_crop_beyond_the_edge_repeats_it() -> None:
    crop = crops.Crop(np.array([[1.0, 0, -50.0], [0, 1.0, -50.0]]))
    assert (crop.cut(np.full((60, 60), 77, np.float32)) == 77).all()


@pytest.mark.parametrize("angle", [-35, 0, 20])
def test_a_turned_face_is_found_from_a_rough_crop(shape: crops.FaceShape, angle: float) -> None:
    true = crops.Crop(np.array([[2.0, 0, 40.0], [0, 2.0, 30.0]])).seen(
        np.radians(angle), 0.9, (4, -3)
    )
    photo = beacon_photo(shape, true)
    rough = true.seen(np.radians(-angle), 0.85, (6, 6))
    (found,) = localization.locate_keypoints([photo], [rough], see_beacons(shape), shape)
    off = np.hypot(*(found.points - true.to_photo(shape.mean)).T).max() / true.scale
    assert off < 0.5
    assert found.spread < 0.5


@pytest.mark.parametrize("turn", [90, 180, -135])
def test_a_face_on_its_side_is_found_where_the_views_agree(
    shape: crops.FaceShape, turn: int
) -> None:
    true = crops.Crop(np.array([[2.0, 0, 40.0], [0, 2.0, 30.0]]))
    photo = beacon_photo(shape, true)
    see = see_beacons(shape)

    def see_upright(images_: np.ndarray) -> np.ndarray:
        # Like a network that was never shown a face on its side: lost, differently each time.
        answers = see(images_)
        eyes = answers[:, 0] - answers[:, 1]
        lost = np.abs(np.arctan2(eyes[:, 1], eyes[:, 0])) > np.radians(40)
        answers[lost] = shape.mean + np.random.default_rng(0).normal(0, 5, (lost.sum(), 1, 2))
        return answers

    rough = true.seen(np.radians(turn), 1.0, (0, 0))
    (found,) = localization.locate_keypoints([photo], [rough], see_upright, shape)
    assert np.hypot(*(found.points - true.to_photo(shape.mean)).T).max() / true.scale < 0.5


def test_many_faces_are_answered_like_one(shape: crops.FaceShape) -> None:
    crop = crops.Crop(np.array([[2.0, 0, 40.0], [0, 2.0, 30.0]]))
    photo = beacon_photo(shape, crop)
    count = localization.CHUNK + 1
    many = localization.locate_keypoints([photo] * count, [crop] * count, see_beacons(shape), shape)
    (one,) = localization.locate_keypoints([photo], [crop], see_beacons(shape), shape)
    assert len(many) == count
    assert all(np.allclose(face.points, one.points) for face in many)


def test_matching_undoes_any_order() -> None:
    random = np.random.default_rng(3)
    face = synthetic_faces.draw_faces(1, seed=2)[1][0]
    shuffled = random.permutation(face)
    np.testing.assert_array_equal(evaluation.match_points(face + 0.3, shuffled), face)


def test_a_real_face_is_detected_on_whichever_side_the_photo_stands() -> None:
    photo = images.read_photo(PORTRAIT)
    (upright,) = detection.detect_faces(photo)
    left_eye, right_eye, nose, left_mouth, right_mouth = upright.points
    assert left_eye[0] > nose[0] > right_eye[0]  # the subject's left is the picture's right
    assert left_mouth[0] > right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    width = photo.shape[1]
    (turned,) = detection.detect_faces(np.rot90(photo))
    back = np.stack([width - 1 - turned.points[:, 1], turned.points[:, 0]], 1)
    # A rough place is enough to begin with: `locate` turns the face upright itself.
    assert np.abs(back - upright.points).max() < 0.1 * upright.box[2]


TINY = """
architecture = "region"
epochs = 1
batch_size = 8
options = { filters = [4], dense = 4 }
"""


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run, trained for a moment on drawn faces."""
    place = tmp_path_factory.mktemp("photos")
    drawn, points = synthetic_faces.draw_faces(24, seed=0)
    (place / "data").mkdir()
    write_training_csv(place / "data/training.csv", Faces(drawn, points, np.arange(1, 25)))
    (place / "tiny.toml").write_text(TINY)
    plan = plans.make_plan([str(place / "tiny.toml")], folds=2, precision="float32")
    run = fitting.start_run(place / "runs", "tiny", plan, place / "data")
    fitting.train_run(run, place / "data")
    return place / "runs"


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two photos with a face each, annotated; the current folder beside it."""
    place = tmp_path / "place"
    folder = place / "album"
    (folder / "images").mkdir(parents=True)
    faces, points = synthetic_faces.draw_faces(2, seed=9)
    for number, (face, labels) in enumerate(zip(faces, points, strict=True)):
        photo = np.full((150, 170), 90, np.uint8)
        photo[20 : 20 + IMAGE_SIZE, 30 : 30 + IMAGE_SIZE] = face
        Image.fromarray(photo).save(folder / "images" / f"{number}.png")
        annotate(folder, f"images/{number}.png", labels + np.array([30, 20]))
    monkeypatch.chdir(place)
    return Path("album")


def annotate(folder: Path, name: str, points: np.ndarray) -> None:
    """Add a photo with a face to the folder's annotations, its points shuffled."""
    path = folder / "annotations.xml"
    known = path.read_text().removesuffix("</annotations>") if path.exists() else "<annotations>"
    order = np.random.default_rng(0).permutation(len(points))
    text = ";".join(f"{x:.2f},{y:.2f}" for x, y in points[order])
    shape = f'<points label="face" points="{text}"/>'
    path.write_text(f'{known}<image name="{name}">{shape}</image></annotations>')


@pytest.fixture
def fkd(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run ``fkd-kaggle`` in this process; returns exit code, stdout and stderr."""

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


Fkd = Callable[..., tuple[int, str, str]]


def rows(path: Path) -> list[dict[str, str]]:
    """Return a CSV's rows."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_evaluate_leaves_figures_tables_and_pictures(fkd: Fkd, album: Path, runs_dir: Path) -> None:
    code, out, err = fkd("evaluate", album, "--runs-dir", runs_dir)
    assert code == 0, err
    assert "2 faces in 2 photos" in out
    folder = Path("evaluations/tiny-annotated")
    each = rows(folder / "photos.csv")
    assert [row["photo"] for row in each] == ["images/0.png", "images/1.png"]
    summary = json.loads((folder / "summary.json").read_text())
    pooled = np.mean([float(row["mse_96"]) for row in each])
    assert summary["mse_96"] == pytest.approx(pooled, abs=1e-3)
    points = rows(folder / "points.csv")
    assert [row["keypoint"] for row in points] == [*KEYPOINT_NAMES, *KEYPOINT_NAMES]
    off = [float(row["annotated_x"]) - float(row["predicted_x"]) for row in points[:15]]
    off += [float(row["annotated_y"]) - float(row["predicted_y"]) for row in points[:15]]
    assert float(each[0]["rmse_photo"]) == pytest.approx(np.sqrt(np.mean(np.square(off))), abs=0.01)
    for row in each:
        assert Image.open(folder / row["picture"]).size[0] > 100
    assert "sheet-1.png" in {path.name for path in folder.iterdir()}
    assert (folder / "index.html").stat().st_size > 1000


def test_bad_photos_are_named_and_the_others_scored(fkd: Fkd, album: Path, runs_dir: Path) -> None:
    points = synthetic_faces.draw_faces(1, seed=1)[1][0]
    (album / "images/torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    for name, moved in (("images/torn.jpg", 0), ("gone.jpg", 0), ("images/0.png", 900)):
        annotate(album, name, points + moved)
    code, out, err = fkd("evaluate", album, "--runs-dir", runs_dir, "--output", "result")
    assert code == 0, err
    left_out = {row["name"]: row["why"] for row in rows(Path("result/skipped.csv"))}
    assert "not an image" in left_out["images/torn.jpg"]
    assert "no such photo" in left_out["gone.jpg"]
    assert "face 1 lies outside the photo (170×150)" in left_out["images/0.png"]
    for name in left_out:
        assert f"skipped {name}: " in out
    assert len(rows(Path("result/photos.csv"))) == 2


def test_nothing_to_score_is_one_line_and_exit_code_2(
    fkd: Fkd, album: Path, runs_dir: Path
) -> None:
    for photo in album.glob("images/*"):
        photo.unlink()
    code, _, err = fkd("evaluate", album, "--runs-dir", runs_dir)
    assert code == 2
    assert "no face in album could be evaluated (images/0.png: there is no such photo" in err
    assert err.count("\n") == 1
    assert not Path("evaluations/tiny-annotated").exists()


def test_an_annotated_face_that_the_detector_misses_counts_as_missed(
    fkd: Fkd, album: Path, runs_dir: Path, shape: crops.FaceShape
) -> None:
    # Drawn faces are none to the detector.
    Image.open(PORTRAIT).save(album / "portrait.png")
    (face,) = detection.detect_faces(images.read_photo(PORTRAIT))
    annotate(
        album,
        "portrait.png",
        crops.crop_aligned(face.points, shape, detection.POINTS).to_photo(shape.mean),
    )
    code, out, err = fkd("evaluate", album, "--runs-dir", runs_dir, "--crop", "detect")
    assert code == 0, err
    summary = json.loads(Path("evaluations/tiny-detect/summary.json").read_text())
    assert (summary["faces"], summary["missed_by_detector"]) == (1, 2)
    assert "images/1.png: face 1 was not found by the face detector" in out
    assert "rendezvous" not in err  # TensorFlow's own remarks on photos without faces


def test_a_folder_of_other_things_is_never_replaced(fkd: Fkd, album: Path, runs_dir: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    code, _, err = fkd("evaluate", album, "--runs-dir", runs_dir, "-o", "mine")
    assert (code, Path("mine/notes.txt").read_text()) == (2, "mine")
    assert "holds other things" in err
    for _ in range(2):  # an earlier evaluation is replaced
        code, _, err = fkd("evaluate", album, "--runs-dir", runs_dir, "-o", "ours")
        assert code == 0, err
    assert not list(Path().glob(".tmp*"))


def test_a_photo_stands_as_it_was_annotated_whatever_its_exif_says(
    fkd: Fkd, album: Path, runs_dir: Path
) -> None:
    code, _, err = fkd("evaluate", album, "--runs-dir", runs_dir, "-o", "plain")
    assert code == 0, err
    exif = Image.Exif()
    exif[0x0112] = 6
    text = (album / "annotations.xml").read_text()
    for number in range(2):
        path = album / f"images/{number}.png"
        photo = Image.open(path)
        # One is annotated as its camera stored it, the other as it stands.
        stored = photo if number else photo.transpose(Image.Transpose.ROTATE_90)
        stored.save(path, exif=exif)
        name = f'name="images/{number}.png"'
        text = text.replace(name, f'{name} width="{photo.width}" height="{photo.height}"')
    (album / "annotations.xml").write_text(text)
    code, _, err = fkd("evaluate", album, "--runs-dir", runs_dir, "-o", "turned")
    assert code == 0, err
    plain, turned = (rows(Path(name, "photos.csv")) for name in ("plain", "turned"))
    assert [row["rmse_96"] for row in turned] == [row["rmse_96"] for row in plain]


def test_a_run_that_knows_half_a_face_is_refused(fkd: Fkd, album: Path, runs_dir: Path) -> None:
    shutil.copytree(runs_dir / "tiny", "runs/half")
    with np.load("runs/half/out_of_fold.npz") as kept:
        values = dict(kept)
    values["predictions"][:, 10:] = np.nan  # as a region network's
    np.savez("runs/half/out_of_fold.npz", **values)
    code, _, err = fkd("evaluate", album, "--run", "half")
    assert code == 2
    assert "run half answers for some keypoints only: photos need all 15" in err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--crop", "detekt"), "did you mean 'detect'"),
        (("--run", "other"), "no run 'other'"),
        (("--annotations", "none.xml"), "none.xml does not exist"),
        (("--label", "fce"), "did you mean 'face'"),
    ],
)
def test_a_slip_of_the_user_is_one_line(
    fkd: Fkd, album: Path, runs_dir: Path, arguments: tuple[str, str], why: str
) -> None:
    code, _, err = fkd("evaluate", album, "--runs-dir", runs_dir, *arguments)
    assert code == 2
    assert why in err
    assert err.count("\n") == 1


REAL = Path("/work/shared/photos")


@pytest.mark.skipif(not REAL.exists(), reason="the project's photos are not here")
def test_the_detector_finds_every_face_of_the_projects_photos() -> None:
    marked = cvat.read_cvat(REAL / "annotations.xml")
    missed = []
    for photo in marked.photos[::6]:
        centre = photo.faces[0].mean(0)
        found = detection.detect_faces(images.read_photo(REAL / photo.name))
        near = [np.hypot(*(face.points.mean(0) - centre)) for face in found]
        if not near or min(near) > crops.point_radius(photo.faces[0], centre):
            missed.append(photo.name)
    assert not missed


def test_an_unknown_crop_and_a_missing_folder_are_refused(
    tmp_path: Path, shape: crops.FaceShape
) -> None:
    nothing = types.Annotations((), (), "")
    with pytest.raises(FkdError, match="did you mean 'annotated'"):
        evaluation.evaluate_run(tmp_path, nothing, see_beacons(shape), shape, crop="anotated")
    with pytest.raises(DataError, match="not a folder of photos"):
        evaluation.evaluate_run(tmp_path / "x", nothing, see_beacons(shape), shape)


def test_a_run_that_was_never_blended_says_what_to_do(runs_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half/run.json").write_text((runs_dir / "tiny/run.json").read_text())
    with pytest.raises(FkdError, match="--resume half"):
        prediction.Predictor(Run.open(tmp_path / "half"))
