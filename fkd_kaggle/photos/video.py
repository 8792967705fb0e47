"""Points of the faces in a video, frame by frame; the drawn video keeps the sound.

Reads with PyAV (extra ``video``), which contains FFmpeg: times of frames come from the file, so
that a varying frame rate is kept, and the rotation that phones store is applied. Frames are read
one by one; memory does not grow with the video. Results are written as they are known: after
Ctrl-C, where a file is cut off, and if the drawn video cannot be written, the table keeps the
finished frames.
"""

from __future__ import annotations

import csv
import importlib.util
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.formatting import first_line
from fkd_kaggle.photos.face_drawing import draw_faces, mark_drawing_folder
from fkd_kaggle.photos.face_files import face_columns, face_row
from fkd_kaggle.photos.found_faces import PhotoFace

if TYPE_CHECKING:
    from fkd_kaggle.photos.tracking import FaceTracker

MAX_PIXELS = 50_000_000
"""Pixels of a frame; larger ones are refused."""


@dataclass(frozen=True)
class VideoProgress:
    """How far a video is."""

    frames: int
    total: int | None
    """Number of frames as far as the file says; None if unknown."""
    seconds_left: float | None


@dataclass(frozen=True)
class VideoResult:
    """What was found in a video."""

    frames: int
    """Number of frames read."""
    with_face: int
    """Number of frames with at least one face."""
    faces: int
    """Number of different faces."""
    complete: bool
    """False if the file ended early or Ctrl-C was pressed."""
    reason: str
    """Why the result is not complete; empty otherwise."""
    interrupted: bool = False
    sound_lost: str = ""
    """Why the drawn video lacks the sound, or a part of it; empty otherwise."""


def check_video_installed() -> None:
    """Refuse to read videos without PyAV.

    Raises
    ------
    FkdError
        Names the command that installs it.
    """
    if importlib.util.find_spec("av") is None:
        raise FkdError("videos need PyAV: pip install 'fkd-kaggle[video]'")


def annotate_video(
    path: Path,
    tracker: FaceTracker,
    table: Path,
    *,
    drawn: Path | None = None,
    point_names: Sequence[str] | None = None,
    on_progress: Callable[[VideoProgress], None] | None = None,
) -> VideoResult:
    """Write the faces of a video as CSV, and the video with the faces drawn on it.

    Parameters
    ----------
    path
        The video.
    tracker
        A new tracker.
    table
        CSV file: one row for each face of each frame, with frame number from 0 and time in seconds.
    drawn
        Video file to write; None for none. Its folder is marked as one of drawings, unless it
        contains other files.
    point_names
        Which of the model's points to write and draw. Default: all.
    on_progress
        Called about twice a second.

    Raises
    ------
    DataError
        The file is not a video, or contains no frame that can be decoded. Nothing is written.
    FkdError
        PyAV is not installed, the disk is full, or the drawn video cannot be written. In the last
        case the table is written nevertheless.
    KeyboardInterrupt
        Ctrl-C was pressed while the drawn video was finished; the table is written nevertheless.
    """
    check_video_installed()
    import av

    state = _State(tracker, tuple(point_names or tracker.model.point_names))
    with ExitStack() as stack:
        try:
            source = stack.enter_context(av.open(str(path)))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"{path}: not a video that can be read ({_reason(error)})") from None
        if not source.streams.video:
            raise DataError(f"{path}: contains no pictures, only sound")
        frames = _frames(path, source)
        try:
            first = next(frames, None)
        except av.error.FFmpegError as error:
            raise DataError(f"{path}: no frame can be decoded ({_reason(error)})") from None
        if first is None:
            raise DataError(f"{path}: contains no frame")
        stack.enter_context(
            files.disk_full_as(FkdError(f"disk full while writing {table}: free some space"))
        )
        writer = stack.enter_context(_Table(table, state.point_names))
        painter, sound_lost = None, ""
        if drawn is not None:
            painter = stack.enter_context(_DrawnVideo(drawn, source, first))
        total = _frame_count(source)
        try:
            _run(state, _chain(first, frames), writer, painter, total, on_progress)
            if painter is not None:
                sound_lost = painter.finish(path, sound=not state.interrupted)
        except DataError:
            raise
        except BaseException as error:
            if _is_disk_full(error):
                raise
            writer.finish()
            if isinstance(error, av.error.FFmpegError):  # not of the source: _readable stops there
                raise FkdError(
                    f"cannot write {drawn} ({_reason(error)}); {table} contains the points of "
                    f"{state.frames} frames"
                ) from error
            raise
        writer.finish()
    return VideoResult(
        state.frames,
        state.with_face,
        len(state.numbers),
        not state.reason,
        state.reason,
        state.interrupted,
        sound_lost,
    )


@dataclass(frozen=True)
class _Frame:
    """A decoded frame, turned upright."""

    pixels: np.ndarray
    """(H, W, 3) uint8 RGB."""
    seconds: float


class _State:
    """Counts of a video that is being annotated."""

    def __init__(self, tracker: FaceTracker, point_names: tuple[str, ...]) -> None:
        self.tracker, self.point_names = tracker, point_names
        known = list(tracker.model.point_names)
        self._selected = [known.index(name) for name in point_names]
        self.frames = self.with_face = 0
        self.numbers: set[int] = set()
        self.reason = ""
        self.interrupted = False

    def add(self, frame: _Frame) -> list[PhotoFace]:
        """Return the faces of the next frame, with the selected points."""
        faces = self.tracker.track(frame.pixels, frame.seconds)
        self.frames += 1
        self.with_face += bool(faces)
        self.numbers.update(face.number for face in faces)
        return [replace(face, points=face.points[self._selected]) for face in faces]


def _run(
    state: _State,
    frames: Iterator[_Frame],
    writer: _Table,
    painter: _DrawnVideo | None,
    total: int | None,
    on_progress: Callable[[VideoProgress], None] | None,
) -> None:
    """Annotate all frames; a broken rest of the file or Ctrl-C ends the loop."""
    began = reported = time.monotonic()
    try:
        for frame in _readable(frames, state):
            faces = state.add(frame)
            writer.write(state.frames - 1, frame.seconds, faces)
            if painter is not None:
                painter.write(frame, faces)
            now = time.monotonic()
            if on_progress and now - reported > 0.5:
                reported = now
                left = None
                if total and total > state.frames:
                    left = (now - began) / state.frames * (total - state.frames)
                on_progress(VideoProgress(state.frames, total, left))
    except KeyboardInterrupt:
        state.reason, state.interrupted = "interrupted", True
    if not state.reason and total and state.frames < 0.9 * total:
        state.reason = f"the file ends after {state.frames} of {total} frames"


def _readable(frames: Iterator[_Frame], state: _State) -> Iterator[_Frame]:
    """Yield the frames up to the first error of the source, which becomes the state's reason."""
    import av

    try:
        yield from frames
    except av.error.FFmpegError as error:
        if _is_disk_full(error):
            raise
        state.reason = f"the file is damaged after frame {state.frames} ({_reason(error)})"


def _frames(path: Path, source: Any) -> Iterator[_Frame]:
    """Yield the frames of the first video stream, turned upright; times never go back."""
    stream = source.streams.video[0]
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or 25)
    last = -1.0 / rate
    for frame in source.decode(stream):
        if frame.width * frame.height > MAX_PIXELS:
            raise DataError(f"{path}: frames have more than {MAX_PIXELS // 10**6} megapixels")
        seconds = float(frame.time) if frame.time is not None else last + 1.0 / rate
        if seconds <= last:
            seconds = last + 0.001
        last = seconds
        pixels = frame.to_ndarray(format="rgb24")
        turns = round(float(getattr(frame, "rotation", 0) or 0) / 90) % 4
        # FFmpeg's rotation is counter-clockwise, as numpy's is.
        yield _Frame(np.ascontiguousarray(np.rot90(pixels, turns)), seconds)


def _chain(first: _Frame, rest: Iterator[_Frame]) -> Iterator[_Frame]:
    """Yield the first frame and the rest."""
    yield first
    yield from rest


def _frame_count(source: Any) -> int | None:
    """Return the number of frames that the file states, or that its duration gives."""
    stream = source.streams.video[0]
    if stream.frames:
        return int(stream.frames)
    duration = stream.duration * stream.time_base if stream.duration else None
    if duration is None and source.duration:
        duration = Fraction(source.duration, 1_000_000)
    if duration is None or not stream.average_rate:
        return None
    return max(1, int(duration * stream.average_rate))


class _Table:
    """The CSV file of a video, written row by row under a temporary name.

    Parameters
    ----------
    path
        The file.
    names
        Names of the points.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self.names = path, names
        self._temporary: Path | None = None

    def __enter__(self) -> _Table:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=".csv", dir=self.path.parent)
        self._temporary = Path(name)
        self._stream = os.fdopen(handle, "w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream)
        self._writer.writerow(face_columns(self.names, ("frame", "seconds")))
        return self

    def write(self, frame: int, seconds: float, faces: Sequence[PhotoFace]) -> None:
        """Write the rows of a frame."""
        for face in faces:
            self._writer.writerow(face_row(face, [str(frame), f"{seconds:.4f}"]))

    def finish(self) -> None:
        """Give the file its name."""
        self._stream.close()
        assert self._temporary is not None
        self._temporary.chmod(0o644)
        self._temporary.replace(self.path)

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # The disk may be full: the file is deleted all the same.
            self._stream.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)


class _DrawnVideo:
    """A video with the faces drawn on it, H.264 in the times of the source, with its sound.

    Parameters
    ----------
    path
        The file.
    source
        The source's container.
    first
        Its first frame, which gives the size.
    """

    def __init__(self, path: Path, source: Any, first: _Frame) -> None:
        self.path, self.source = path, source
        height, width = first.pixels.shape[:2]
        self.size = max(2, width - width % 2), max(2, height - height % 2)  # H.264 needs even ones
        # The file's start, of sound and pictures together, becomes 0: both stay in step.
        self._start = min(first.seconds, (source.start_time or 0) / 1_000_000)
        self._last = -1
        self._sound_lost = ""
        self._target: Any = None

    def __enter__(self) -> _DrawnVideo:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        mark_drawing_folder(self.path.parent)
        handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=".mp4", dir=self.path.parent)
        os.close(handle)
        self._temporary = Path(name)
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self) -> None:
        """Open the temporary file with a stream of pictures and, if MP4 can hold it, of sound."""
        import av

        self._target = av.open(str(self._temporary), "w", format="mp4")
        rate = self.source.streams.video[0].average_rate or Fraction(25)
        codec = next(
            (name for name in ("libx264", "libopenh264", "mpeg4") if _encodes(av, name)), "mpeg4"
        )
        self._stream: Any = self._target.add_stream(
            codec, rate=Fraction(rate).limit_denominator(1000)
        )
        self._stream.width, self._stream.height = self.size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, 1000)
        self._audio: Any = None
        if self.source.streams.audio:
            template = self.source.streams.audio[0]
            try:
                self._audio = self._target.add_stream_from_template(template)
            except (av.error.FFmpegError, ValueError, AttributeError):
                # A stream without a decoder has no codec context.
                name = getattr(template.codec_context, "name", None)
                self._sound_lost = f"MP4 cannot hold {name}" if name else "its codec is unknown"

    def write(self, frame: _Frame, faces: Sequence[PhotoFace]) -> None:
        """Draw and encode a frame."""
        import av

        image = draw_faces(frame.pixels, faces)
        width, height = self.size
        if image.size != self.size:
            image = image.crop((0, 0, width, height))
        encoded = av.VideoFrame.from_image(image)
        encoded.time_base = Fraction(1, 1000)
        encoded.pts = max(self._last + 1, round(1000 * (frame.seconds - self._start)))
        self._last = encoded.pts
        self._target.mux(self._stream.encode(encoded))

    def finish(self, path: Path, *, sound: bool) -> str:
        """Copy the sound, end the file and give it its name; return why the sound is not complete.

        Parameters
        ----------
        path
            The source.
        sound
            Whether to copy the sound.
        """
        import av

        self._target.mux(self._stream.encode(None))
        if self._audio is not None and sound:
            # The drawn video is complete without its sound, which a damaged file may lack.
            try:
                self._copy_sound(path)
            except (av.error.FFmpegError, ValueError) as error:
                if _is_disk_full(error):
                    raise
                self._sound_lost = f"it ends early ({_reason(error)})"
        self._target.close()
        self._temporary.chmod(0o644)
        self._temporary.replace(self.path)
        return self._sound_lost

    def _copy_sound(self, path: Path) -> None:
        """Copy the packets of the source's first sound."""
        import av

        with av.open(str(path)) as source:
            stream = source.streams.audio[0]
            start = round(self._start / stream.time_base)
            for packet in source.demux(stream):
                if packet.dts is None:
                    continue
                packet.dts -= start
                packet.pts = packet.dts if packet.pts is None else packet.pts - start
                packet.stream = self._audio
                self._target.mux(packet)

    def __exit__(self, *_: object) -> None:
        import av

        if self._target is not None:
            with suppress(av.error.FFmpegError, OSError, ValueError):
                self._target.close()
        self._temporary.unlink(missing_ok=True)


def _encodes(av: Any, name: str) -> bool:
    """Return whether this FFmpeg has an encoder."""
    try:
        av.Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _is_disk_full(error: BaseException) -> bool:
    """Return whether an error says that the disk is full."""
    return isinstance(error, OSError) and error.errno in files.DISK_FULL


def _reason(error: BaseException) -> str:
    """Return FFmpeg's reason without the file's name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return first_line(text)


def seconds_text(progress: VideoProgress) -> str:
    """Return a line about the progress of a video."""
    from fkd_kaggle.formatting import format_duration

    of = f" of {progress.total}" if progress.total else ""
    left = ""
    if progress.seconds_left is not None and not math.isnan(progress.seconds_left):
        left = f", {format_duration(progress.seconds_left)} left"
    return f"frame {progress.frames}{of}{left}…"
