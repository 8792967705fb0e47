"""The page of a data set: counts, figures and label outliers, with or without a test set."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import make_faces, write_competition
from matplotlib.image import imread
from typer.testing import CliRunner

from fkd_kaggle.cli import app
from fkd_kaggle.data import csv_format
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL_KEYPOINTS
from fkd_kaggle.practice import synthetic_faces
from fkd_kaggle.report import dataset, dataset_figures

pytestmark = pytest.mark.slow

FIGURES = {"missing", "pixels", "samples", "shapes", "duplicates", "suspicious"}


def write_faces(folder: Path, data: Faces) -> Path:
    """Write training.csv into a new folder."""
    folder.mkdir()
    csv_format.write_training_csv(folder / "training.csv", data)
    return folder


def test_the_page_has_counts_figures_and_a_wrong_label(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_competition(data, train=20)
    images, keypoints = synthetic_faces.draw_faces(60, seed=5)
    keypoints[30:, [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]] = (
        np.nan
    )
    keypoints[12, 10] += (12, -12)
    training = Faces(images, keypoints, np.arange(1, 61))
    csv_format.write_training_csv(data / "training.csv", training)
    path, statistics = dataset.write_dataset_page(data, tmp_path / "out")
    counts = dict(statistics.counts)
    assert counts["training faces"] == "60"
    assert counts["of the partial annotator"] == "30"
    assert counts["labels missing"] == f"{100 * 11 / 30:.1f} %"
    assert counts["test faces"] == "16"
    assert {path.stem for path in path.parent.glob("*.png")} == FIGURES
    page = path.read_text()
    assert page.count("data:image/png") == len(FIGURES)
    assert "http:" not in page
    assert "https:" not in page
    assert (statistics.outliers[0].row, statistics.outliers[0].keypoint) == (13, "nose_tip")
    assert statistics.outliers[0].distance == pytest.approx(17, abs=5)
    with (tmp_path / "out" / "suspicious.csv").open(newline="") as stream:
        first = next(csv.DictReader(stream))
    assert (first["row"], first["keypoint"]) == ("13", "nose_tip")


def test_a_data_set_needs_training_faces_only(tmp_path: Path) -> None:
    data = write_faces(tmp_path / "data", make_faces(7, seed=3).take(np.array([0, 2, 4])))
    counts = dict(dataset.write_dataset_page(data, tmp_path / "out")[1].counts)
    assert counts["test faces"] == "no test.csv"
    assert counts["of the partial annotator"] == "0"
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == FIGURES


def test_the_command_prints_counts_and_the_page(competition_dir: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app.app, ["explore", "--data-dir", str(competition_dir), "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    for text in ("training faces", "24", "test faces", "16", str(tmp_path / "out/explore.html")):
        assert text in result.output


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    data = write_faces(tmp_path / "data", make_faces(7, seed=3))
    text = (data / "training.csv").read_text()
    (data / "training.csv").write_text(text.replace("nose_tip_x", "nose_tip_z", 1))
    with pytest.raises(DataError, match="no column nose_tip_x"):
        dataset.write_dataset_page(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_near_duplicates_are_counted_and_drawn(tmp_path: Path) -> None:
    data = make_faces(12, seed=1)
    data.images[6:9] = data.images[5]
    data.keypoints[6:9] = data.keypoints[5]
    folder = write_faces(tmp_path / "data", data)
    counts = dict(dataset.write_dataset_page(folder, tmp_path / "out")[1].counts)
    assert counts["exact copies of other images"] == "3"
    assert int(counts["faces in these groups"]) >= 4
    dataset_figures.draw_duplicates(data, np.arange(12), tmp_path / "none.png")
    height = imread(tmp_path / "none.png").shape[0]
    assert imread(tmp_path / "out" / "duplicates.png").shape[0] > height
