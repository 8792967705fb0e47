"""The command ``annotate`` with fake models: what is written and printed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import Command, assert_one_line_error
from PIL import Image

from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.photos import references, video
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.photo_folder import DRAWN_MARKER
from fkd_kaggle.photos.prediction import PhotoModel
from fkd_kaggle.photos.references import RunReference
from fkd_kaggle.runs import photo_run


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
        self.point_names: tuple[str, ...] = ()
        """Points of the last video."""
        self.results: dict[str, Outcome] = {}
        self.paths: list[str] = []

    def __call__(
        self,
        path: Path,
        tracker: object,
        table: Path,
        *,
        drawn: Path | None,
        point_names: Sequence[str],
        on_progress: Callable[[Any], None],
    ) -> video.VideoResult:
        self.paths.append(path.name)
        self.point_names = tuple(point_names)
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
        (("a.mp4", "-o", "x.csv"), "--output names a table of photos: use --csv FILE"),
        (("a.mp4", "--draw", "."), "--draw . is the folder of a.mp4: give another folder"),
        (("a.mp4", "--draw", "other"), "--draw other contains other files"),
    ],
)
def test_options_that_do_not_fit_videos_are_refused(
    fkd: Command, videos: FakeVideos, arguments: tuple[str, ...], reason: str
) -> None:
    for name in ("a.mp4", "b.mp4"):
        Path(name).touch()
    write_photo("a.png")
    write_photo("other/a.png")
    assert_one_line_error(fkd("annotate", *arguments), reason)
    assert videos.paths == []


def protect_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the folder ``in`` count as one that cannot be written, for the superuser too."""
    real = os.access

    def access(path: Any, mode: int) -> bool:
        return real(path, mode) and not (mode == os.W_OK and Path(path) == Path("in"))

    monkeypatch.setattr(os, "access", access)


NEEDS_ENSEMBLE = "videos need a run of train-ensemble, not of train-photos"


def test_videos_need_the_run_of_an_ensemble(fkd: Command, videos: FakeVideos) -> None:
    Path("a.mp4").touch()
    Path("runs/fake").mkdir(parents=True)
    Path("runs/fake/photo_run.json").touch()
    assert_one_line_error(fkd("annotate", "a.mp4"), NEEDS_ENSEMBLE)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--model", "mtcnn"), "videos need --model run, not mtcnn"),
        (("--csv", "x.csv"), "--csv names one file"),
        (("--run", "photo-run"), NEEDS_ENSEMBLE),
        (("--model", "run"), "videos need PyAV"),
        (("--json", "x.json"), "in cannot be written: name b.mp4 alone"),
    ],
)
def test_a_video_in_a_folder_does_not_keep_the_photos_from_being_annotated(
    fkd: Command,
    videos: FakeVideos,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    def fail() -> None:
        raise FkdError("videos need PyAV: pip install 'fkd-kaggle[video]'")

    if "PyAV" in reason:
        monkeypatch.setattr(video, "check_video_installed", fail)
    if reason == NEEDS_ENSEMBLE:
        monkeypatch.setattr(photo_run, "is_photo_run", lambda path: True)
    if "cannot be written" in reason:
        protect_folder(monkeypatch)
    write_photo("in/a.png")
    Path("in/b.mp4").touch()
    result = fkd("annotate", "in", *arguments)
    assert result.code == 0, result.all
    assert f"skipped b.mp4: {reason}" in result.out
    assert "1 of 1 photos have a face" in result.out
    assert videos.paths == []
    assert_one_line_error(fkd("annotate", "in", "in/b.mp4", *arguments, "--force"), reason)


def test_videos_are_read_although_no_photo_contains_a_face(
    fkd: Command, videos: FakeVideos
) -> None:
    write_photo("black.png", grey=0)
    Path("a.mp4").touch()
    result = fkd("annotate", "black.png", "a.mp4")
    assert result.code == 0, result.all
    assert "black.png: no face found, nothing written\n" in result.out
    assert "wrote a.mp4.points.csv" in result.out
    videos.results["a.mp4"] = DataError("a.mp4: no video in it")
    assert_one_line_error(fkd("annotate", "black.png", "a.mp4", "--force"), "no video in it")


def test_a_video_that_is_left_out_is_named_although_no_photo_contains_a_face(
    fkd: Command, videos: FakeVideos
) -> None:
    write_photo("in/black.png", grey=0)
    Path("in/b.mp4").touch()
    result = fkd("annotate", "in", "--csv", "faces.csv")
    assert_one_line_error(result, "no face in any of the 1 photos of in")
    assert "skipped b.mp4: --csv names one file" in result.out


def test_existing_files_of_videos_are_named_before_the_photos_are_read(
    fkd: Command, videos: FakeVideos, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photo("in/a.png")
    Path("in/b.mp4").touch()
    Path("in/b.mp4.points.csv").touch()
    monkeypatch.setattr(references, "load_reference", None)
    assert_one_line_error(fkd("annotate", "in"), "in/b.mp4.points.csv is there already")
    assert not Path("in/face_keypoints.csv").exists()


def test_a_video_gets_the_selected_points(fkd: Command, videos: FakeVideos) -> None:
    Path("a.mp4").touch()
    assert fkd("annotate", "a.mp4").code == 0
    assert videos.point_names == KEYPOINT_NAMES
    assert fkd("annotate", "a.mp4", "--points", "nose_tip", "--force").code == 0
    assert list(videos.point_names) == ["nose_tip"]


def test_photos_are_drawn_into_a_folder_of_drawn_videos_and_the_other_way_round(
    fkd: Command, videos: FakeVideos
) -> None:
    write_photo("a.png")
    Path("a.mp4").touch()
    Path("b.mp4").touch()
    assert fkd("annotate", "a.mp4", "--draw", "drawn").code == 0
    for arguments in (("a.png", "--csv", "faces.csv"), ("b.mp4",)):
        result = fkd("annotate", *arguments, "--draw", "drawn")
        assert result.code == 0, result.all
    drawn = sorted(path.name for path in Path("drawn").iterdir())
    assert drawn == [DRAWN_MARKER, "a.png.jpg", "a.points.mp4", "b.points.mp4"]


@pytest.mark.parametrize("option", ["--csv", "--json"])
def test_a_folder_that_cannot_be_written_gets_no_table(
    fkd: Command, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    write_photo("in/a.png")
    protect_folder(monkeypatch)
    result = fkd("annotate", "in", option, "faces")
    assert result.code == 0, result.all
    assert "in cannot be written: no table face_keypoints.csv there\n" in result.out
    assert "wrote faces\n" in result.out
    assert [path.name for path in Path("in").iterdir()] == ["a.png"]


def test_json_names_the_pictures_of_a_folder_that_are_left_out(fkd: Command) -> None:
    write_photo("in/a.png")
    Path("in/b.svg").write_text("<svg/>")
    Path("in/c.png").write_bytes(b"torn")
    assert fkd("annotate", "in", "--json", "faces.json").code == 0
    skipped = json.loads(Path("faces.json").read_text())["skipped"]
    assert sorted(skipped) == ["b.svg", "c.png"]
    assert skipped["b.svg"].startswith("SVG is not read")
