"""The command ``annotate`` with fake models: what is written and printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import Command, assert_one_line_error
from PIL import Image

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos import references, video
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.prediction import PhotoModel
from fkd_kaggle.photos.references import RunReference


class FakeModel:
    """Finds one face in each photo that is not black."""

    def find_faces(self, photos: Sequence[np.ndarray]) -> list[list[PhotoFace]]:
        points = np.arange(30.0).reshape(15, 2) / 2
        face = PhotoFace(1, (2.0, 3.0, 10.0, 12.0), points, 0.5, 0.99)
        return [[face] if photo.any() else [] for photo in photos]


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command find a run whose networks are ``FakeModel``."""
    reference = RunReference(cast(PhotoModel, FakeModel()))
    monkeypatch.setattr(references, "find_any_run", lambda name, runs_dir: Path("runs/fake"))
    monkeypatch.setattr(references, "load_reference", lambda *arguments: reference)
    monkeypatch.setattr(video, "check_video_installed", lambda: None)


Outcome = video.VideoResult | DataError


class FakeVideos:
    """Stands in for ``annotate_video``: writes the files and returns prepared results."""

    def __init__(self) -> None:
        self.results: dict[str, Outcome] = {}
        self.paths: list[str] = []

    def __call__(
        self,
        path: Path,
        tracker: object,
        table: Path,
        *,
        drawn: Path | None,
        on_progress: Callable[[Any], None],
    ) -> video.VideoResult:
        self.paths.append(path.name)
        result = self.results.get(path.name, video.VideoResult(50, 40, 2, True, ""))
        if isinstance(result, DataError):
            raise result
        table.write_text("points")
        if drawn is not None:
            drawn.parent.mkdir(exist_ok=True)
            drawn.write_bytes(b"video")
        return result


@pytest.fixture
def videos(monkeypatch: pytest.MonkeyPatch) -> FakeVideos:
    fake = FakeVideos()
    monkeypatch.setattr(video, "annotate_video", fake)
    return fake


def write_photo(path: str, grey: int = 200) -> None:
    """Write a photo of one grey value."""
    Path(path).parent.mkdir(exist_ok=True)
    Image.new("RGB", (30, 20), (grey, grey, grey)).save(path)


def test_a_folder_gets_a_table_and_the_next_command(fkd: Command) -> None:
    write_photo("in/a.png")
    write_photo("in/black.png", grey=0)
    result = fkd("annotate", "in")
    assert result.code == 0, result.all
    rows = Path("in/face_keypoints.csv").read_text().splitlines()
    assert rows[2] == "black.png" + 10 * ",-1"
    assert "point_1 is left_eye_center" in result.out
    assert "black.png: no face found" in result.all
    assert "1 of 2 photos have a face; 1 face in all" in result.out
    assert "next: fkd-kaggle train-photos in/face_keypoints.csv\n" in result.out
    assert_one_line_error(fkd("annotate", "in"), "face_keypoints.csv", "--force")
    assert fkd("annotate", "in", "--force").code == 0


def test_more_skipped_photos_than_lines_are_summarized(fkd: Command) -> None:
    write_photo("in/a.png")
    for number in range(23):
        write_photo(f"in/black-{number:02}.png", grey=0)
    result = fkd("annotate", "in")
    assert "skipped black-19.png: no face found\n" in result.out
    summary = "skipped 3 more: black-20.png: no face found (and 2 more)\n"
    assert summary in result.out.replace("\n  ", " ")
    assert "skipped.csv" not in result.all


def test_a_table_elsewhere_needs_the_folder_of_the_photos(fkd: Command) -> None:
    write_photo("in/a.png")
    result = fkd("annotate", "in", "--output", "points.csv", "--points", "nose_tip")
    assert "next: fkd-kaggle train-photos points.csv --photos in\n" in result.out
    assert len(Path("points.csv").read_text().splitlines()[1].split(",")) == 3


def test_the_figure_of_a_table_does_not_replace_the_photo(
    fkd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photo("portrait.png")
    before = Path("portrait.png").read_bytes()
    monkeypatch.setattr(references, "load_reference", None)  # refused before networks are loaded
    for options in ((), ("--force",)):
        result = fkd("annotate", "portrait.png", "-o", "portrait.csv", *options)
        assert_one_line_error(result, "would replace the photo portrait.png")
    assert_one_line_error(fkd("annotate", "portrait.png", "-o", "points.png"), "the table's figure")
    assert Path("portrait.png").read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["portrait.png"]


def test_other_files_than_the_table_keep_an_existing_figure(fkd: Command) -> None:
    write_photo("in/a.png")
    Path("in/face_keypoints.png").write_bytes(b"figure")
    result = fkd("annotate", "in", "--csv", "faces.csv")
    assert result.code == 0, result.all
    assert Path("in/face_keypoints.png").read_bytes() == b"figure"
    assert_one_line_error(fkd("annotate", "in"), "in/face_keypoints.png is there already")


def test_other_files_than_the_table_keep_an_existing_table(fkd: Command) -> None:
    write_photo("in/a.png")
    Path("in/face_keypoints.csv").write_text("corrected by hand")
    result = fkd("annotate", "in", "--csv", "faces.csv", "--json", "faces.json", "--draw", "drawn")
    assert result.code == 0, result.all
    assert Path("in/face_keypoints.csv").read_text() == "corrected by hand"
    assert [name in result.out for name in ("faces.csv", "faces.json", "drawn")] == [True] * 3
    assert Path("drawn/a.png.jpg").exists() or Path("drawn/a.png").exists()
    face = json.loads(Path("faces.json").read_text())["photos"]["a.png"][0]
    assert face["points"]["right_eye_center"] == [1.0, 1.5]


def test_faces_of_photos_are_printed(fkd: Command) -> None:
    write_photo("a.png")
    write_photo("b.png")
    result = fkd("annotate", "a.png", "b.png")
    assert result.code == 0, result.all
    assert "a.png, face 1: 10×12 at (2, 3), expected error 0.50 px\n" in result.out
    assert "2 of 2 photos have a face; 2 faces in all" in result.out
    assert "to keep the points: --csv FILE, --json FILE or --draw FOLDER" in result.out
    assert sorted(path.name for path in Path().iterdir()) == ["a.png", "b.png"]


def test_json_on_standard_output_is_the_only_text_there(fkd: Command) -> None:
    write_photo("a.png")
    result = fkd("annotate", "a.png", "--json", "-")
    assert result.code == 0, result.all
    assert list(json.loads(result.out)["photos"]) == ["a.png"]
    assert "1 of 1 photos" in result.err


def test_each_video_gets_a_table_beside_it(fkd: Command, videos: FakeVideos) -> None:
    Path("a.mp4").touch()
    Path("b.mov").touch()
    videos.results["b.mov"] = video.VideoResult(9, 9, 1, False, "the file ends early")
    result = fkd("annotate", "a.mp4", "b.mov", "--draw", "drawn")
    assert result.code == 0, result.all
    assert "a.mp4: 2 faces, in 40 of 50 frames" in result.out
    assert "b.mov: 1 face, in 9 of 9 frames" in result.out
    assert "b.mov: the file ends early; the frames before are kept" in result.out
    assert "wrote a.mp4.points.csv and drawn/a.points.mp4" in result.out
    assert Path("b.mov.points.csv").exists()
    again = fkd("annotate", "a.mp4")
    assert_one_line_error(again, "a.mp4.points.csv is there already: --force replaces it")
    assert fkd("annotate", "a.mp4", "--force").code == 0
    assert fkd("annotate", "a.mp4", "--csv", "points.csv").code == 0
    assert Path("points.csv").read_text() == "points"


def test_videos_of_the_same_name_are_drawn_as_different_files(
    fkd: Command, videos: FakeVideos
) -> None:
    Path("in").mkdir()
    Path("a.mp4").touch()
    Path("in/a.mp4").touch()
    videos.results["a.mp4"] = video.VideoResult(9, 9, 1, True, "", sound_lost="MP4 cannot hold it")
    result = fkd("annotate", "a.mp4", "in/a.mp4", "--draw", "drawn")
    assert result.code == 0, result.all
    assert "drawn/a.points.mp4: the sound is missing: MP4 cannot hold it" in result.out
    drawn = sorted(path.name for path in Path("drawn").iterdir())
    assert drawn == ["a-2.points.mp4", "a.points.mp4"]


def test_existing_files_are_named_before_the_first_video_is_read(
    fkd: Command, videos: FakeVideos
) -> None:
    for name in ("a.mp4", "b.mp4", "b.mp4.points.csv"):
        Path(name).touch()
    result = fkd("annotate", "a.mp4", "b.mp4")
    assert_one_line_error(result, "b.mp4.points.csv is there already: --force replaces it")
    assert not videos.paths


def test_photos_and_videos_are_annotated_together(fkd: Command, videos: FakeVideos) -> None:
    write_photo("in/a.png")
    Path("in/b.mp4").touch()
    result = fkd("annotate", "in")
    assert result.code == 0, result.all
    assert Path("in/face_keypoints.csv").exists()
    assert "in/b.mp4: 2 faces, in 40 of 50 frames" in result.out


def test_a_video_that_cannot_be_read_is_skipped(fkd: Command, videos: FakeVideos) -> None:
    for name in ("a.mp4", "b.mp4"):
        Path(name).touch()
    videos.results["a.mp4"] = DataError("a.mp4: no video in it")
    result = fkd("annotate", "a.mp4", "b.mp4")
    assert result.code == 0, result.all
    assert "skipped a.mp4: no video in it" in result.out
    assert Path("b.mp4.points.csv").exists()
    assert_one_line_error(fkd("annotate", "a.mp4"), "a.mp4: no video in it")
    videos.results["b.mp4"] = DataError("b.mp4: no video in it")
    result = fkd("annotate", "a.mp4", "b.mp4", "--force")
    assert result.code == 2
    assert result.err.endswith("none of the videos can be read\n")


def test_an_interrupted_video_ends_the_command(fkd: Command, videos: FakeVideos) -> None:
    for name in ("a.mp4", "b.mp4"):
        Path(name).touch()
    videos.results["a.mp4"] = video.VideoResult(9, 9, 1, False, "interrupted", interrupted=True)
    result = fkd("annotate", "a.mp4", "b.mp4")
    assert result.code == 130
    assert "a.mp4: interrupted; the frames before are kept" in result.out
    assert videos.paths == ["a.mp4"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("a.mp4", "--model", "mtcnn"), "videos need --model run, not mtcnn"),
        (("a.mp4", "--json", "x.json"), "the points of a video are written as CSV"),
        (("a.mp4", "b.mp4", "--csv", "x.csv"), "--csv names one file"),
        (("a.mp4", "a.png", "--csv", "x.csv"), "--csv names one file"),
        (("a.mp4", "--csv", "-"), "the points of a video are written to a file"),
    ],
)
def test_options_that_do_not_fit_videos_are_refused(
    fkd: Command, videos: FakeVideos, arguments: tuple[str, ...], reason: str
) -> None:
    for name in ("a.mp4", "b.mp4"):
        Path(name).touch()
    write_photo("a.png")
    assert_one_line_error(fkd("annotate", *arguments), reason)
    assert videos.paths == []


def test_videos_need_the_run_of_an_ensemble(
    fkd: Command, videos: FakeVideos, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.mp4").touch()

    class PhotoRun:
        point_names = ("corner",)

    monkeypatch.setattr(references, "load_reference", lambda *arguments: PhotoRun())
    result = fkd("annotate", "a.mp4")
    assert_one_line_error(result, "videos need a run of train-ensemble, not of train-photos")
