"""Tests of videos: times, rotation, sound, damaged files, Ctrl-C."""

from __future__ import annotations

import csv
import errno
import itertools
import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.photos import video
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.photo_folder import DRAWN_MARKER, scan_folder
from fkd_kaggle.photos.tracking import FaceTracker
from fkd_kaggle.photos.video import VideoProgress, VideoResult, annotate_video, seconds_text

av = pytest.importorskip("av")

WIDTH, HEIGHT = 64, 48


class WhiteTracker:
    """Finds a face, the white square, in each frame that has one."""

    model = SimpleNamespace(point_names=("centre",))

    def __init__(self, interrupt_after: int = 10**9) -> None:
        self.times: list[float] = []
        self.shapes: set[tuple[int, ...]] = set()
        self.interrupt_after = interrupt_after
        self.brightness = 180

    def track(self, frame: np.ndarray, time: float) -> list[PhotoFace]:
        if len(self.times) == self.interrupt_after:
            raise KeyboardInterrupt
        self.times.append(time)
        self.shapes.add(frame.shape)
        y, x = np.nonzero(frame.mean(-1) > self.brightness)
        if not len(x):
            return []
        centre = np.array([[x.mean(), y.mean()]])
        box = (float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y)))
        return [PhotoFace(1, box, centre, 1.0, float("nan"))]


def write_video(path: Path, milliseconds: list[int], *, sound: str = "") -> None:
    """Write a video with a white square that moves right, frames at the given times.

    ``sound`` names a codec: a second of silence from the first frame on.
    """
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"g": "5", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        audio = target.add_stream(sound, rate=44100, layout="mono") if sound else None
        for number, time in enumerate(milliseconds):
            pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            left = 4 + number % 40
            pixels[10:26, left : left + 16] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
        if audio is not None:
            samples = np.zeros((1, 1024), np.float32 if audio.format.name == "fltp" else np.uint8)
            first = milliseconds[0] * 44100 // 1000
            for start in range(first, first + 44100, 1024):
                sound_frame = av.AudioFrame.from_ndarray(samples, audio.format.name, "mono")
                sound_frame.sample_rate, sound_frame.pts = 44100, start
                sound_frame.time_base = Fraction(1, 44100)
                target.mux(audio.encode(sound_frame))
            target.mux(audio.encode(None))


def annotate(tracker: WhiteTracker, path: Path, **options: Any) -> VideoResult:
    """Annotate a video; the table lies beside it."""
    return annotate_video(path, cast(FaceTracker, tracker), path.with_suffix(".csv"), **options)


def test_each_frame_has_a_row_with_the_time_of_the_file(tmp_path: Path) -> None:
    times = [0, 40, 60, 200, 210, 400]
    write_video(tmp_path / "a.mp4", times, sound="aac")
    result = annotate(WhiteTracker(), tmp_path / "a.mp4", drawn=tmp_path / "drawn.mp4")
    assert (result.frames, result.with_face, result.faces, result.complete) == (6, 6, 1, True)
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [round(1000 * float(row["seconds"])) for row in rows] == times
    assert [int(row["frame"]) for row in rows] == list(range(6))
    xs = [float(row["centre_x"]) for row in rows]
    np.testing.assert_allclose(np.diff(xs), 1, atol=0.3)
    with av.open(str(tmp_path / "drawn.mp4")) as drawn:
        assert sorted(stream.type for stream in drawn.streams) == ["audio", "video"]
        frames = list(drawn.decode(video=0))
    assert [round(1000 * frame.time) for frame in frames] == times
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.mp4", "drawn.mp4"]


def test_drawn_videos_are_not_annotated_themselves(tmp_path: Path) -> None:
    clip = tmp_path / "clips/a.mp4"
    clip.parent.mkdir()
    write_video(clip, [0, 40])
    annotate(WhiteTracker(), clip, drawn=clip.parent / "drawn/a.points.mp4")
    assert scan_folder(tmp_path / "clips").videos == (clip,)
    assert not (clip.parent / DRAWN_MARKER).exists()
    annotate(WhiteTracker(), clip, drawn=clip.parent / "b.mp4")
    assert not (clip.parent / DRAWN_MARKER).exists()


class TwoPointTracker(WhiteTracker):
    """Finds the centre of the white square, and a point on its right."""

    model = SimpleNamespace(point_names=("right", "centre"))

    def track(self, frame: np.ndarray, time: float) -> list[PhotoFace]:
        return [
            replace(face, points=np.concatenate([face.points + 5, face.points]))
            for face in super().track(frame, time)
        ]


def test_a_table_contains_the_selected_points(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [0, 40])
    annotate(TwoPointTracker(), tmp_path / "a.mp4", point_names=("centre",))
    with (tmp_path / "a.csv").open(newline="") as stream:
        row = next(csv.DictReader(stream))
    assert [name for name in row if name.endswith("_x")] == ["centre_x"]
    assert float(row["centre_x"]) == pytest.approx(11.5, abs=0.6)


MATRICES = {
    0: (1, 0, 0, 1),
    90: (0, 1, -1, 0),  # a phone held upright: stored lying, shown turned clockwise
    180: (-1, 0, 0, -1),
    270: (0, -1, 1, 0),
}
"""Clockwise turn for display → a, b, c and d of the matrix in an MP4's track header."""


def turn_video(path: Path, degrees: int) -> None:
    """Let an MP4 say how it is turned for display, as phones do; the pixels stay as they are."""
    a, b, c, d = MATRICES[degrees]
    content = bytearray(path.read_bytes())
    # Version 0 of the header: 40 bytes of times, duration and layer come before the matrix.
    start = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    content[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("degrees", "shape", "centre"),
    [
        (0, (HEIGHT, WIDTH), (11.5, 17.5)),
        (90, (WIDTH, HEIGHT), (HEIGHT - 1 - 17.5, 11.5)),
        (180, (HEIGHT, WIDTH), (WIDTH - 1 - 11.5, HEIGHT - 1 - 17.5)),
        (270, (WIDTH, HEIGHT), (17.5, WIDTH - 1 - 11.5)),
    ],
)
def test_a_turned_phone_video_gets_upright_points_and_an_upright_drawing(
    tmp_path: Path, degrees: int, shape: tuple[int, int], centre: tuple[float, float]
) -> None:
    write_video(tmp_path / "a.mp4", [0, 40, 80])
    turn_video(tmp_path / "a.mp4", degrees)
    tracker = WhiteTracker()
    annotate(tracker, tmp_path / "a.mp4")
    assert tracker.shapes == {(*shape, 3)}
    with (tmp_path / "a.csv").open(newline="") as stream:
        row = next(csv.DictReader(stream))
    np.testing.assert_allclose((float(row["centre_x"]), float(row["centre_y"])), centre, atol=0.6)
    tracker.brightness = 999  # Nothing is drawn over the white square.
    annotate(tracker, tmp_path / "a.mp4", drawn=tmp_path / "drawn.mp4")
    tracker.brightness = 180
    with av.open(str(tmp_path / "drawn.mp4")) as drawn:
        frame = next(drawn.decode(video=0))
    assert frame.rotation == 0
    (face,) = tracker.track(frame.to_ndarray(format="rgb24"), 0)
    np.testing.assert_allclose(face.points[0], centre, atol=0.6)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_sound_and_pictures_stay_in_step_if_the_file_does_not_start_at_0(
    tmp_path: Path, suffix: str
) -> None:
    write_video(tmp_path / f"a.{suffix}", list(range(3000, 4000, 40)), sound="aac")
    annotate(WhiteTracker(), tmp_path / f"a.{suffix}", drawn=tmp_path / "drawn.mp4")
    starts = []
    for name in (f"a.{suffix}", "drawn.mp4"):
        with av.open(str(tmp_path / name)) as container:
            pictures, sound = container.streams.video[0], container.streams.audio[0]
            picture = next(container.decode(pictures)).time
        with av.open(str(tmp_path / name)) as container:
            sound = next(container.decode(audio=0)).time
        starts.append(sound - picture)
    assert starts[1] == pytest.approx(starts[0], abs=0.03)


def test_a_sound_that_mp4_cannot_hold_is_named(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", list(range(0, 1000, 40)), sound="pcm_u8")
    result = annotate(WhiteTracker(), tmp_path / "a.mkv", drawn=tmp_path / "drawn.mp4")
    assert result.sound_lost == "MP4 cannot hold pcm_u8"
    assert result.complete
    with av.open(str(tmp_path / "drawn.mp4")) as drawn:
        assert [stream.type for stream in drawn.streams] == ["video"]
        assert len(list(drawn.decode(video=0))) == 25


def test_a_sound_of_an_unknown_codec_is_left_out(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", list(range(0, 1000, 40)), sound="aac")
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content.replace(b"A_AAC", b"A_XYZ"))
    result = annotate(WhiteTracker(), tmp_path / "a.mkv", drawn=tmp_path / "drawn.mp4")
    assert result.sound_lost == "its codec is unknown"
    assert (result.frames, result.complete) == (25, True)
    with av.open(str(tmp_path / "drawn.mp4")) as drawn:
        assert [stream.type for stream in drawn.streams] == ["video"]


def test_a_drawn_video_that_cannot_be_opened_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", [0, 40])

    def fail(*arguments: object) -> bool:
        raise RuntimeError("no encoder")

    monkeypatch.setattr(video, "_encodes", fail)
    with pytest.raises(RuntimeError, match="no encoder"):
        annotate(WhiteTracker(), tmp_path / "a.mp4", drawn=tmp_path / "drawn.mp4")
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("method", ["write", "finish"])
@pytest.mark.parametrize("error", ["encoder", "Ctrl-C", "disk full"])
def test_an_error_of_the_drawn_video_keeps_the_table_unless_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, error: str
) -> None:
    write_video(tmp_path / "a.mp4", list(range(0, 400, 40)))
    errors = {
        "encoder": av.error.InvalidDataError(1, "Invalid data found"),
        "Ctrl-C": KeyboardInterrupt(),
        "disk full": av.error.OSError(errno.ENOSPC, "No space left on device"),
    }
    real = getattr(video._DrawnVideo, method)
    calls = itertools.count(1)

    def fail(*arguments: Any, **options: Any) -> Any:
        if method == "finish" or next(calls) == 4:
            raise errors[error]
        return real(*arguments, **options)

    monkeypatch.setattr(video._DrawnVideo, method, fail)
    frames, kept = 4 if method == "write" else 10, ["a.csv", "a.mp4"]
    if error == "disk full":
        kept = ["a.mp4"]
        with pytest.raises(FkdError, match=r"disk full while writing .*: free some space"):
            annotate(WhiteTracker(), tmp_path / "a.mp4", drawn=tmp_path / "drawn.mp4")
    elif error == "encoder":
        reason = rf"cannot write .*drawn\.mp4 \(Invalid data found\); .* points of {frames} frames"
        with pytest.raises(FkdError, match=reason):
            annotate(WhiteTracker(), tmp_path / "a.mp4", drawn=tmp_path / "drawn.mp4")
    elif method == "finish":
        with pytest.raises(KeyboardInterrupt):
            annotate(WhiteTracker(), tmp_path / "a.mp4", drawn=tmp_path / "drawn.mp4")
    else:
        result = annotate(WhiteTracker(), tmp_path / "a.mp4", drawn=tmp_path / "drawn.mp4")
        assert (result.frames, result.reason) == (4, "interrupted")
        kept.append("drawn.mp4")
    assert sorted(each.name for each in tmp_path.iterdir()) == kept
    if error != "disk full":
        assert len((tmp_path / "a.csv").read_text().splitlines()) == frames + 1


def test_a_truncated_video_keeps_the_frames_before(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", list(range(0, 8000, 40)))
    whole = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: len(whole) // 2])
    result = annotate(WhiteTracker(), tmp_path / "b.mkv")
    assert 20 < result.frames < 180
    assert not result.complete
    assert "of 200 frames" in result.reason or "damaged" in result.reason
    rows = (tmp_path / "b.csv").read_text().splitlines()
    assert len(rows) == result.frames + 1


def test_ctrl_c_keeps_the_finished_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", list(range(0, 800, 40)))
    result = annotate(WhiteTracker(7), tmp_path / "a.mp4", drawn=tmp_path / "drawn.mp4")
    assert (result.frames, result.interrupted) == (7, True)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 8
    with av.open(str(tmp_path / "drawn.mp4")) as drawn:
        assert len(list(drawn.decode(video=0))) == 7


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "not a video"), (b"text", "not a video"), (None, "only sound")]
)
def test_what_is_not_a_video_is_one_line_and_nothing_is_written(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "a.mp4"
    if content is None:
        with av.open(str(path), "w") as target:
            stream = target.add_stream("aac", rate=44100)
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = 44100
            target.mux(stream.encode(frame))
            target.mux(stream.encode(None))
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as error:
        annotate(WhiteTracker(), path, drawn=tmp_path / "drawn.mp4")
    assert "\n" not in str(error.value)
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]


def test_frames_of_an_odd_size_are_drawn_without_their_last_row_and_column(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as target:
        stream = target.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 65, 47, "bgr0"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((47, 65, 3), 255, np.uint8), format="rgb24")
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    tracker = WhiteTracker()
    annotate(tracker, tmp_path / "a.mkv", drawn=tmp_path / "drawn.mp4")
    assert tracker.shapes == {(47, 65, 3)}
    with av.open(str(tmp_path / "drawn.mp4")) as drawn:
        assert {(frame.width, frame.height) for frame in drawn.decode(video=0)} == {(64, 46)}


def test_a_video_with_too_large_frames_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", [0, 40])
    monkeypatch.setattr(video, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(DataError, match=r"a\.mp4: frames have more than 0 megapixels"):
        annotate(WhiteTracker(), tmp_path / "a.mp4", drawn=tmp_path / "drawn.mp4")
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]


def test_progress_tells_the_frames_and_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", list(range(0, 400, 40)))
    clock = itertools.count()
    monkeypatch.setattr(video, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    seen: list[VideoProgress] = []
    annotate(WhiteTracker(), tmp_path / "a.mp4", on_progress=seen.append)
    assert [progress.frames for progress in seen] == list(range(1, 11))
    assert {progress.total for progress in seen} == {10}
    assert [progress.seconds_left for progress in seen] == [*map(float, range(9, 0, -1)), None]
    assert seconds_text(seen[3]) == "frame 4 of 10, 6 s left…"
    assert seconds_text(seen[9]) == "frame 10 of 10…"
    assert seconds_text(VideoProgress(7, None, None)) == "frame 7…"


def test_without_pyav_the_message_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FkdError, match=r"^videos need PyAV: pip install 'fkd-kaggle\[video\]'$"):
        annotate(WhiteTracker(), Path("a.mp4"))


@pytest.mark.parametrize("full", [False, True])
def test_an_error_of_the_decoder_keeps_the_frames_before_but_a_full_disk_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    write_video(tmp_path / "a.mp4", list(range(0, 400, 40)))
    real = video._frames

    def frames(path: Path, source: Any) -> Iterator[Any]:
        yield from itertools.islice(real(path, source), 4)
        if full:
            raise av.error.OSError(errno.ENOSPC, "No space left on device")
        raise av.error.InvalidDataError(1, "Invalid data found")

    monkeypatch.setattr(video, "_frames", frames)
    if full:
        with pytest.raises(FkdError, match=r"disk full while writing .*: free some space"):
            annotate(WhiteTracker(), tmp_path / "a.mp4", drawn=tmp_path / "drawn.mp4")
        assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]
        return
    result = annotate(WhiteTracker(), tmp_path / "a.mp4")
    assert result.reason == "the file is damaged after frame 4 (Invalid data found)"
    assert (result.frames, result.complete, result.interrupted) == (4, False, False)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 5
