"""The command ``annotate``: points on photos and videos."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.cli.photos import RunOption, print_skipped, show_photo_progress
from fkd_kaggle.display.console import INTERRUPTED, make_console, print_line
from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.files import STANDARD_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from fkd_kaggle.photos.auto_annotation import AnnotationResult, Targets
    from fkd_kaggle.photos.photo_inputs import PhotoInputs
    from fkd_kaggle.photos.references import ReferenceModel
    from fkd_kaggle.photos.video import VideoResult

_MAX_FACE_LINES = 40

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTO|FOLDER|VIDEO...",
        show_default=False,
        help="Photos, videos and folders, subfolders included.",
    ),
]

Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help="run: one of your runs, after face detection; mtcnn: the five points of the face "
        "detector; mediapipe: Google's face landmarks, if installed.",
    ),
]

ModelFile = Annotated[
    Path | None,
    typer.Option(
        "--model-file",
        metavar="TASK",
        help="The file face_landmarker.task, for versions of MediaPipe that do not include it.",
    ),
]

Points = Annotated[
    str | None,
    typer.Option(
        "--points",
        metavar="NAMES",
        show_default="five in the table of a folder, otherwise all",
        help="five (eye centres, nose tip, mouth corners), all (of the model), or names of "
        "keypoints separated by commas.",
    ),
]

TableOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="CSV",
        callback=options.check_file,
        show_default="FOLDER/face_keypoints.csv, for a folder",
        help="Table with one row for each photo, as `train-photos` reads it.",
    ),
]

FacesCsv = Annotated[
    Path | None,
    typer.Option(
        "--csv", metavar="FILE", help="Write one row for each face, with its box; '-' prints them."
    ),
]

FacesJson = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write all faces as JSON; '-' prints them."),
]

Draw = Annotated[
    Path | None,
    typer.Option("--draw", metavar="FOLDER", help="Draw the faces on the whole photos and videos."),
]

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help="The data of the run's training, with which the expected errors of a run of an "
        "earlier version are measured.",
    ),
]

Replace = Annotated[bool, typer.Option("--force", help="Replace existing files.")]


def annotate(
    inputs: Inputs,
    model: Model = "run",
    run: RunOption = None,
    points: Points = None,
    output: TableOutput = None,
    csv: FacesCsv = None,
    json: FacesJson = None,
    draw: Draw = None,
    force: Replace = False,
    model_file: ModelFile = None,
    data_dir: DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Find the faces in photos and videos and predict their points.

    A folder gets a table with one row for each photo (its largest face). --csv, --json and --draw
    contain all faces, each with its box, its points and the error that is expected for it.
    """
    from fkd_kaggle.photos import photo_inputs, references

    found = photo_inputs.collect_inputs(inputs)
    # A printed result must be the only text on standard output.
    console = make_console(stderr=STANDARD_OUTPUT in (csv, json))
    path = references.find_any_run(run, runs_dir) if model == "run" else None
    if found.videos:
        found = _usable_inputs(found, model, path, _RequestedFiles(output, csv, json))
    targets = _targets(console, found, output, csv, json, draw, replace=force)
    videos = _video_targets(found.videos, targets, replace=force)
    with console.status("loading…"):
        reference = references.load_reference(model, path, model_file, data_dir)
        known = reference.point_names
        selected = _Points(
            references.parse_point_names(points, known),
            references.parse_point_names(points or "all", known),
        )
    annotated = False
    if found.photos:
        try:
            _annotate_photos(console, found, reference, selected, targets, f"{model} {path}", force)
            annotated = True
        except DataError as error:
            print_skipped(console, found.skipped)
            if not videos:
                raise
            print_line(console, str(error))
    if videos:
        _annotate_videos(console, videos, reference, selected.faces, alone=not annotated)


class _RequestedFiles(NamedTuple):
    """Files that the options name."""

    output: Path | None
    csv: Path | None
    json: Path | None


class _VideoTarget(NamedTuple):
    """A video and the files to write."""

    path: Path
    table: Path
    drawn: Path | None


class _Points(NamedTuple):
    """Names of the points to write."""

    table: tuple[str, ...]
    """Into the table of photos."""
    faces: tuple[str, ...]
    """Into files with all faces, and on drawings."""


def _targets(
    console: Console,
    found: PhotoInputs,
    output: Path | None,
    csv: Path | None,
    json: Path | None,
    draw: Path | None,
    *,
    replace: bool,
) -> Targets:
    """Return the files to write, after checking that they can be written."""
    from fkd_kaggle.photos.annotations import point_table
    from fkd_kaggle.photos.auto_annotation import Targets

    if output is None and found.folder is not None and found.photos:
        output = found.folder / point_table.FILE_NAME
        existing = [path for path in (output, Targets(output).picture) if path and path.exists()]
        if existing and not replace and (csv or json or draw):
            output = None  # Keep the table and its figure: other files were asked for.
        elif (csv or json or draw) and not os.access(found.folder, os.W_OK):
            print_line(console, f"{found.folder} cannot be written: no table {output.name} there")
            output = None
    targets = Targets(output, csv, json, draw)
    targets.check(found.photos.values(), replace=replace)
    return targets


def _annotate_photos(
    console: Console,
    found: PhotoInputs,
    reference: ReferenceModel,
    points: _Points,
    targets: Targets,
    model_id: str,
    replace: bool,
) -> None:
    """Annotate the photos and print the result."""
    from fkd_kaggle.photos import auto_annotation

    with console.status("photos…") as status:
        result = auto_annotation.annotate_photos(
            found,
            reference,
            points.table,
            targets,
            model_id=model_id,
            face_point_names=points.faces,
            replace=replace,
            on_progress=show_photo_progress(status),
        )
    print_skipped(console, result.skipped)
    _print_result(console, result, targets)
    if targets.table is not None and found.folder is not None:
        folder = found.folder
        option = "" if targets.table.parent == folder else f" --photos {folder}"
        print_line(console, f"next: fkd-kaggle train-photos {targets.table}{option}")


def _usable_inputs(
    found: PhotoInputs, model: str, run: Path | None, requested: _RequestedFiles
) -> PhotoInputs:
    """Return the inputs without videos of folders that do not fit the options.

    Raises
    ------
    FkdError
        The options do not fit a video that is named, or there is no photo either.
    """
    try:
        _check_videos(found, model, run, requested)
    except FkdError as error:
        if found.named_videos or not found.photos:
            raise
        return found.without_videos(str(error))
    return found


def _check_videos(
    found: PhotoInputs, model: str, run: Path | None, requested: _RequestedFiles
) -> None:
    """Refuse options that do not fit videos, before networks are loaded."""
    from fkd_kaggle.photos.video import check_video_installed
    from fkd_kaggle.runs import photo_run

    check_video_installed()
    if model != "run":
        raise FkdError(f"videos need --model run, not {model}")
    if run is not None and photo_run.is_photo_run(run):
        raise FkdError("videos need a run of train-ensemble, not of train-photos")
    if requested.output is not None and not found.photos:
        raise FkdError("--output names a table of photos: use --csv FILE for the points of a video")
    if requested.json is not None and not found.photos:
        raise FkdError("the points of a video are written as CSV: --csv FILE")
    if requested.csv is not None and (len(found.videos) > 1 or found.photos):
        raise FkdError(
            "--csv names one file: leave it out, and each video gets VIDEO.points.csv beside it"
        )
    if requested.csv == STANDARD_OUTPUT:
        raise FkdError("the points of a video are written to a file: --csv FILE")
    for path in found.videos:
        if requested.csv is None and not os.access(path.parent, os.W_OK):
            raise FkdError(
                f"{path.parent} cannot be written: name {path.name} alone, with --csv FILE"
            )


def _annotate_videos(
    console: Console,
    videos: Sequence[_VideoTarget],
    reference: ReferenceModel,
    point_names: Sequence[str],
    *,
    alone: bool,
) -> None:
    """Annotate the videos one after the other; a video that cannot be read is named.

    Parameters
    ----------
    console
        Where to print.
    videos
        The videos.
    reference
        Predicts the points.
    point_names
        Names of the points to write and draw.
    alone
        Whether no photo was annotated. It is then an error if no video can be read.
    """
    from fkd_kaggle.photos import video
    from fkd_kaggle.photos.references import RunReference
    from fkd_kaggle.photos.tracking import FaceTracker

    assert isinstance(reference, RunReference)  # as _check_videos found
    failed = 0
    for path, table, drawn in videos:
        try:
            with console.status(f"{path.name}…") as status:
                result = video.annotate_video(
                    path,
                    FaceTracker(reference.model),
                    table,
                    drawn=drawn,
                    point_names=point_names,
                    on_progress=lambda progress: status.update(video.seconds_text(progress)),
                )
        except DataError as error:
            if len(videos) == 1 and alone:
                raise
            print_line(console, f"skipped {error}")
            failed += 1
            continue
        _print_video(console, path, result, table, drawn)
        if result.interrupted:
            raise typer.Exit(INTERRUPTED)
    if failed == len(videos) and alone:
        raise DataError("none of the videos can be read")


def _video_targets(
    videos: Sequence[Path], targets: Targets, *, replace: bool
) -> list[_VideoTarget]:
    """Return each video with its table and its drawn video, after checking all of them."""
    from fkd_kaggle.photos.face_drawing import (
        DRAWN_VIDEO_SUFFIX,
        check_drawing_folder,
        different_names,
    )

    if videos and targets.draw is not None:
        check_drawing_folder(targets.draw, videos)
    names = map(Path, different_names(f"{path.stem}.mp4" for path in videos))
    chosen = []
    for path, name in zip(videos, names, strict=True):
        table = targets.csv or path.with_name(f"{path.name}.points.csv")
        drawn = targets.draw and targets.draw / name.with_suffix(DRAWN_VIDEO_SUFFIX)
        for target in (table, drawn):
            if target is not None and target.exists() and not replace:
                raise FkdError(f"{target} is there already: --force replaces it")
        chosen.append(_VideoTarget(path, table, drawn))
    return chosen


def _print_video(
    console: Console, path: Path, result: VideoResult, table: Path, drawn: Path | None
) -> None:
    """Print what was found in a video and the written files."""
    print_line(
        console,
        f"{path}: {result.faces} {'face' if result.faces == 1 else 'faces'}, in "
        f"{result.with_face} of {result.frames} frames",
    )
    if result.reason:
        print_line(console, f"{path}: {result.reason}; the frames before are kept")
    if result.sound_lost:
        print_line(console, f"{drawn}: the sound is missing: {result.sound_lost}")
    print_line(console, f"wrote {table}" + (f" and {drawn}" if drawn else ""))


def _print_result(console: Console, result: AnnotationResult, targets: Targets) -> None:
    """Print the meaning of the numbered points, the faces and the written files."""
    if targets.table is not None:
        names = zip(result.table.point_names, result.model_point_names, strict=True)
        meanings = [f"{number} is {name}" for number, name in names if number != name]
        print_line(console, ", ".join(meanings))
    count = sum(len(faces) for faces in result.faces.values())
    if count <= _MAX_FACE_LINES and targets.table is None:
        _print_faces(console, result)
    print_line(
        console,
        f"{result.found} of {len(result.faces)} photos have a face; {count} "
        f"{'face' if count == 1 else 'faces'} in all",
    )
    if targets.table is not None:
        print_line(console, f"wrote {targets.table}; figure: {result.picture}")
    for path in (targets.csv, targets.json, targets.draw):
        if path is not None and path != STANDARD_OUTPUT:
            print_line(console, f"wrote {path}")
    if not any((targets.table, targets.csv, targets.json, targets.draw)):
        print_line(console, "to keep the points: --csv FILE, --json FILE or --draw FOLDER")


def _print_faces(console: Console, result: AnnotationResult) -> None:
    """Print a line for each face."""
    for name, faces in result.faces.items():
        for face in faces:
            left, top, width, height = (round(value) for value in face.box)
            line = f"{name}, face {face.number}: {width}×{height} at ({left}, {top})"
            if face.expected_error == face.expected_error:
                line += f", expected error {face.expected_error:.2f} px"
            print_line(console, line)
