"""Tests of ``fkd-kaggle evaluate``: the folder that it writes, and its errors."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, eager
from PIL import Image

from fkd_kaggle.data.csv_format import write_training_csv
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import fitting
from fkd_kaggle.ensemble.prediction import Predictor
from fkd_kaggle.errors import FkdError
from fkd_kaggle.keypoints import IMAGE_SIZE, KEYPOINT_NAMES
from fkd_kaggle.photos.crops import crop_aligned
from fkd_kaggle.photos.detection import DETECTED_KEYPOINTS, detect_faces
from fkd_kaggle.photos.images import read_photo
from fkd_kaggle.photos.mean_face import MeanFace
from fkd_kaggle.practice import synthetic_faces
from fkd_kaggle.recipes import plans
from fkd_kaggle.runs.folder import Run

pytestmark = pytest.mark.slow

TINY = """
architecture = "region"
epochs = 1
batch_size = 8
options = { filters = [4], dense = 4 }
"""


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run, trained for two steps on synthetic faces."""
    folder = tmp_path_factory.mktemp("photos")
    images, points = synthetic_faces.draw_faces(24, seed=0)
    (folder / "data").mkdir()
    write_training_csv(folder / "data/training.csv", Faces(images, points, np.arange(1, 25)))
    (folder / "tiny.toml").write_text(TINY)
    plan = plans.make_plan(
        plans.TrainingOptions([str(folder / "tiny.toml")], folds=2, precision="float32")
    )
    run = fitting.start_run(folder / "runs", "tiny", plan, folder / "data")
    with eager():
        fitting.train_run(run, folder / "data")
    return folder / "runs"


@pytest.fixture
def photos(fkd: Command) -> Path:
    """The folder ``photos`` in the current folder: two annotated photos with a face each."""
    folder = Path("photos")
    (folder / "images").mkdir(parents=True)
    faces, points = synthetic_faces.draw_faces(2, seed=9)
    for number, (face, labels) in enumerate(zip(faces, points, strict=True)):
        photo = np.full((150, 170), 90, np.uint8)
        photo[20 : 20 + IMAGE_SIZE, 30 : 30 + IMAGE_SIZE] = face
        Image.fromarray(photo).save(folder / "images" / f"{number}.png")
        add_annotation(folder, f"images/{number}.png", labels + np.array([30, 20]))
    return folder


def add_annotation(folder: Path, name: str, points: np.ndarray) -> None:
    """Add a photo with a face to the folder's annotations, its points in random order."""
    path = folder / "annotations.xml"
    text = path.read_text().removesuffix("</annotations>") if path.exists() else "<annotations>"
    order = np.random.default_rng(0).permutation(len(points))
    pairs = ";".join(f"{x:.2f},{y:.2f}" for x, y in points[order])
    shape = f'<points label="face" points="{pairs}"/>'
    path.write_text(f'{text}<image name="{name}">{shape}</image></annotations>')


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return a CSV's rows."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_evaluate_writes_summary_tables_and_pictures(
    fkd: Command, photos: Path, runs_dir: Path
) -> None:
    result = fkd("evaluate", photos, "--runs-dir", runs_dir)
    assert result.code == 0, result.err
    assert "2 faces in 2 photos" in result.out
    folder = Path("evaluations/tiny-annotated")
    faces = read_rows(folder / "photos.csv")
    assert [row["photo"] for row in faces] == ["images/0.png", "images/1.png"]
    summary = json.loads((folder / "summary.json").read_text())
    pooled = np.mean([float(row["mse_96"]) for row in faces])
    assert summary["mse_96"] == pytest.approx(pooled, abs=1e-3)
    points = read_rows(folder / "points.csv")
    assert [row["keypoint"] for row in points] == [*KEYPOINT_NAMES, *KEYPOINT_NAMES]
    errors = [float(row["annotated_x"]) - float(row["predicted_x"]) for row in points[:15]]
    errors += [float(row["annotated_y"]) - float(row["predicted_y"]) for row in points[:15]]
    rmse = np.sqrt(np.mean(np.square(errors)))
    assert float(faces[0]["rmse_photo"]) == pytest.approx(rmse, abs=0.01)
    for row in faces:
        with Image.open(folder / row["picture"]) as picture:
            assert picture.size[0] > 100
    assert "sheet-1.png" in {path.name for path in folder.iterdir()}
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "RMSE of the worst face, pixels of the crop" in page
    assert not re.search("<(td|th)[^>]*>[a-z]+_[a-z0-9_]+<", page)


@pytest.mark.slow
def test_unusable_photos_are_reported_and_the_others_scored(
    fkd: Command, photos: Path, runs_dir: Path
) -> None:
    points = synthetic_faces.draw_faces(1, seed=1)[1][0]
    (photos / "images/torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    for name, shift in (("images/torn.jpg", 0), ("gone.jpg", 0), ("images/0.png", 900)):
        add_annotation(photos, name, points + shift)
    result = fkd("evaluate", photos, "--runs-dir", runs_dir, "--output", "result")
    assert result.code == 0, result.err
    skipped = {row["name"]: row["why"] for row in read_rows(Path("result/skipped.csv"))}
    assert "damaged JPEG" in skipped["images/torn.jpg"]
    assert "no such photo" in skipped["gone.jpg"]
    assert "face 1 lies outside the photo (170×150)" in skipped["images/0.png"]
    for name in skipped:
        assert f"skipped {name}: " in result.out
    assert len(read_rows(Path("result/photos.csv"))) == 2


@pytest.mark.slow
def test_error_if_no_face_can_be_scored_is_one_line(
    fkd: Command, photos: Path, runs_dir: Path
) -> None:
    for photo in photos.glob("images/*"):
        photo.unlink()
    result = fkd("evaluate", photos, "--runs-dir", runs_dir)
    assert result.code == 2
    expected = "no face in photos could be evaluated (images/0.png: there is no such photo"
    assert expected in result.err
    assert result.err.count("\n") == 1
    assert not Path("evaluations/tiny-annotated").exists()


@pytest.mark.slow
def test_faces_that_the_detector_does_not_find_are_counted(
    fkd: Command, photos: Path, runs_dir: Path, mean_face: MeanFace, portrait: Path
) -> None:
    # The detector does not find synthetic faces.
    Image.open(portrait).save(photos / "portrait.png")
    (face,) = detect_faces(read_photo(portrait))
    aligned = crop_aligned(face.points, mean_face, DETECTED_KEYPOINTS)
    add_annotation(photos, "portrait.png", aligned.to_photo(mean_face.points))
    result = fkd("evaluate", photos, "--runs-dir", runs_dir, "--crop", "detect")
    assert result.code == 0, result.err
    summary = json.loads(Path("evaluations/tiny-detect/summary.json").read_text())
    assert (summary["faces"], summary["missed_by_detector"]) == (1, 2)
    assert "images/1.png: face 1 was not found by the face detector" in result.out
    assert "rendezvous" not in result.err  # TensorFlow's log of photos without faces


@pytest.mark.slow
def test_only_an_earlier_evaluation_is_replaced(fkd: Command, photos: Path, runs_dir: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    Path("mine/summary.json").write_text("mine")
    result = fkd("evaluate", photos, "--runs-dir", runs_dir, "-o", "mine")
    assert (result.code, Path("mine/notes.txt").read_text()) == (2, "mine")
    assert "contains other files" in result.err
    for _ in range(2):
        result = fkd("evaluate", photos, "--runs-dir", runs_dir, "-o", "ours")
        assert result.code == 0, result.err
    assert not list(Path().glob(".tmp*"))


@pytest.mark.slow
def test_annotations_beside_the_photos_are_found_and_named(
    fkd: Command, photos: Path, runs_dir: Path
) -> None:
    result = fkd("evaluate", photos / "images", "--runs-dir", runs_dir, "-o", "result")
    assert result.code == 0, result.err
    summary = json.loads(Path("result/summary.json").read_text())
    assert Path(summary["annotations"]) == photos.absolute() / "annotations.xml"


@pytest.mark.slow
def test_photos_are_evaluated_in_the_orientation_of_their_annotation(
    fkd: Command, photos: Path, runs_dir: Path
) -> None:
    result = fkd("evaluate", photos, "--runs-dir", runs_dir, "-o", "plain")
    assert result.code == 0, result.err
    exif = Image.Exif()
    exif[0x0112] = 6
    text = (photos / "annotations.xml").read_text()
    for number in range(2):
        path = photos / f"images/{number}.png"
        photo = Image.open(path)
        # The second photo is annotated as it is stored, the first as its EXIF orientation says.
        stored = photo if number else photo.transpose(Image.Transpose.ROTATE_90)
        stored.save(path, exif=exif)
        name = f'name="images/{number}.png"'
        text = text.replace(name, f'{name} width="{photo.width}" height="{photo.height}"')
    (photos / "annotations.xml").write_text(text)
    result = fkd("evaluate", photos, "--runs-dir", runs_dir, "-o", "rotated")
    assert result.code == 0, result.err
    plain, rotated = (read_rows(Path(name, "photos.csv")) for name in ("plain", "rotated"))
    assert [row["rmse_96"] for row in rotated] == [row["rmse_96"] for row in plain]


def test_a_run_without_all_keypoints_is_refused(fkd: Command, photos: Path, runs_dir: Path) -> None:
    shutil.copytree(runs_dir / "tiny", "runs/half")
    with np.load("runs/half/out_of_fold.npz") as kept:
        values = dict(kept)
    values["predictions"][:, 10:] = np.nan  # as predicted by a region network
    np.savez("runs/half/out_of_fold.npz", **values)
    result = fkd("evaluate", photos, "--run", "half")
    assert result.code == 2
    assert "run half predicts some keypoints only: photos need all 15" in result.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--crop", "detekt"), "did you mean 'detect'"),
        (("--run", "other"), "no run 'other'"),
        (("--annotations", "none.xml"), "none.xml does not exist"),
        (("--label", "fce"), "did you mean 'face'"),
    ],
)
def test_error_for_a_wrong_option_is_one_line(
    fkd: Command, photos: Path, runs_dir: Path, arguments: tuple[str, str], reason: str
) -> None:
    result = fkd("evaluate", photos, "--runs-dir", runs_dir, *arguments)
    assert result.code == 2
    assert reason in result.err
    assert result.err.count("\n") == 1


def test_error_for_a_run_that_was_not_blended_says_how_to_resume(
    runs_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half/run.json").write_text((runs_dir / "tiny/run.json").read_text())
    with pytest.raises(FkdError, match="--resume half"):
        Predictor(Run.open(tmp_path / "half"))
