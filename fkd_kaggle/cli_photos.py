"""The commands about photos: ``evaluate``, ``annotate``, ``train-photos``.

Like ``cli``: options in, one room called, its result printed; nothing heavy before a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fkd_kaggle import options as opt
from fkd_kaggle import terminal
from fkd_kaggle.errors import DataError
from fkd_kaggle.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.status import Status

    from fkd_kaggle.photos.images import Skipped
    from fkd_kaggle.photos.transfer import EpochTold
    from fkd_kaggle.recipes import Recipe

EVALUATIONS = Path("evaluations")
_SKIPPED_SHOWN = 20

Photos = Annotated[
    Path, typer.Argument(metavar="FOLDER", show_default=False, help="Folder of the photos.")
]
AnnotationFile = Annotated[
    Path | None,
    typer.Option(
        "--annotations", "-a", metavar="XML", show_default="FOLDER/annotations.xml",
        help="Annotations in CVAT's format 'for images 1.1', 15 points a face in any order.",
    ),
]  # fmt: skip
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run", metavar="RUN", autocompletion=opt.complete_run, show_default="the newest",
        help="Name or folder of the run that predicts.",
    ),
]  # fmt: skip
CropOption = Annotated[
    str,
    typer.Option(
        "--crop", metavar="HOW",
        help="Where a face is: 'annotated' looks at the annotated points, 'detect' for faces.",
    ),
]  # fmt: skip
Label = Annotated[
    str | None,
    typer.Option(
        "--label", metavar="LABEL", show_default="the one of most faces",
        help="Take shapes with this label.",
    ),
]  # fmt: skip
EvaluationFolder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FOLDER", show_default="evaluations/RUN-CROP",
        help="Where table and pictures go.",
    ),
]  # fmt: skip
Model = Annotated[
    str,
    typer.Option(
        "--model", metavar="NAME",
        help="run: a run of yours behind the face detector; mtcnn: the detector's own five "
        "points; mediapipe: Google's face landmarks, where installed.",
    ),
]  # fmt: skip
ModelFile = Annotated[
    Path | None,
    typer.Option(
        "--model-file", metavar="TASK", help="face_landmarker.task, for a MediaPipe without models."
    ),
]
Points = Annotated[
    str | None,
    typer.Option(
        "--points", metavar="NAMES", show_default="five, if the model has them",
        help="five: eye centres, nose tip, mouth corners; all the model has; or keypoints by "
        "name, with commas between.",
    ),
]  # fmt: skip
Table = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="CSV", show_default="FOLDER/face_keypoints.csv",
        help="Where the points go.",
    ),
]  # fmt: skip
Replace = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]
TableFile = Annotated[
    Path,
    typer.Argument(
        metavar="CSV", show_default=False,
        help="Photos and their points: image_name, point_1_x, point_1_y, …; -1 where not found.",
    ),
]  # fmt: skip
PhotoFolder = Annotated[
    Path | None,
    typer.Option(
        "--photos", metavar="FOLDER", show_default="the CSV's own",
        help="Where the photos are that it names.",
    ),
]  # fmt: skip
PhotoRecipe = Annotated[
    str,
    typer.Option(
        "--recipe", "-r", metavar="NAME", autocompletion=opt.complete_recipe,
        help="ffhq-transfer, or a .toml file of your own like it.",
    ),
]  # fmt: skip


def mount(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(evaluate)
    app.command()(annotate)
    app.command("train-photos")(train_photos)


def evaluate(
    photos: Photos,
    annotations: AnnotationFile = None,
    run: RunOption = None,
    crop: CropOption = "annotated",
    label: Label = None,
    output: EvaluationFolder = None,
    runs_dir: opt.RunsDir = opt.RUNS,
) -> None:
    """Score a run on photos that other people annotated."""
    from fkd_kaggle.photos import page, tables
    from fkd_kaggle.run import find

    console = terminal.console()
    if annotations is None:
        annotations = photos / "annotations.xml"
        if not annotations.exists():
            raise DataError(f"{annotations} does not exist: name the file with --annotations")
    chosen = find(run, runs_dir)
    target = output or EVALUATIONS / f"{chosen.name}-{crop}"
    with console.status("getting ready…") as status:
        result = page.write(
            target, photos, annotations, chosen, crop=crop, label=label,
            on_progress=lambda done, count: status.update(f"photo {done} of {count}…"),
        )  # fmt: skip
    _left_out(console, result.skipped)
    console.print(tables.evaluation(result))
    say(console, f"pictures: {target / 'index.html'}")


def annotate(
    photos: Photos,
    model: Model = "run",
    run: RunOption = None,
    points: Points = None,
    output: Table = None,
    force: Replace = False,
    model_file: ModelFile = None,
    runs_dir: opt.RunsDir = opt.RUNS,
) -> None:
    """Let a model put points on the faces in a folder of photos."""
    from fkd_kaggle.photos import annotate as room
    from fkd_kaggle.photos import point_table, reference

    console = terminal.console()
    target = output or photos / point_table.FILE_NAME
    chosen = reference.find_run(run, runs_dir) if model == "run" else None
    with console.status("getting ready…") as status:
        known = reference.load(model, chosen, model_file)
        result = room.annotate(
            photos, known, reference.choose(points, known.names), target,
            about=f"{model} {chosen}", replace=force,
            on_progress=lambda done, count: status.update(f"photo {done} of {count}…"),
        )  # fmt: skip
    _left_out(console, result.skipped)
    names = zip(result.table.names, result.points, strict=True)
    say(console, ", ".join(f"{number} is {name}" for number, name in names if number != name))
    say(console, f"{result.found} of {len(result.table.images)} photos have a face")
    say(console, f"wrote {target}; look at {result.picture}")
    where = "" if target.parent == photos else f" --photos {photos}"
    say(console, f"next: fkd-kaggle train-photos {target}{where}")


def train_photos(
    table: TableFile,
    photos: PhotoFolder = None,
    recipe: PhotoRecipe = "ffhq-transfer",
    epochs: opt.Epochs = None,
    batch_size: opt.BatchSize = None,
    seed: opt.Seed = None,
    precision: opt.Precision = None,
    name: opt.RunName = None,
    runs_dir: opt.RunsDir = opt.RUNS,
) -> None:
    """Train a network on photos with points, any number of them; Ctrl-C keeps the best epoch."""
    from fkd_kaggle import backend
    from fkd_kaggle.photos import point_table, tables

    console = terminal.console()
    plan = _photo_recipe(recipe, epochs, batch_size)
    known = point_table.read(table)
    with console.status("reading photos…") as status:
        backend.start(precision or "auto")  # before anything imports Keras: it has much to say
        from fkd_kaggle.photos import transfer

        transfer.check(plan)
        album = transfer.load_album(
            known, photos or table.parent, transfer.side(plan),
            lambda done, count: status.update(f"photo {done} of {count}…"),
        )  # fmt: skip
        _left_out(console, album.skipped)
        say(
            console,
            f"{len(album.names)} photos with {len(known.names)} points each; "
            f"rows dropped for a point that was not found: {album.incomplete}",
        )
        run = transfer.train(
            album, known, table, plan, transfer.new_folder(runs_dir, name, plan.name),
            seed=seed or 0, precision=precision or "auto",
            on_start=lambda line: say(console, line),
            on_epoch=lambda told: _told(console, status, told),
        )  # fmt: skip
    console.print(tables.photo_run(run.info))
    say(console, f"pictures: {run.path / 'test.png'}")
    say(console, f"next: fkd-kaggle annotate FOLDER --run {run.path.name}")
    if run.info["status"] == "interrupted":
        raise typer.Exit(terminal.INTERRUPTED)


def _photo_recipe(name: str, epochs: int | None, batch_size: int | None) -> Recipe:
    from fkd_kaggle import recipes

    (line,) = recipes.plan([name], epochs=epochs, batch_size=batch_size).ensemble.members
    return line.recipe


def _told(console: Console, status: Status, told: EpochTold) -> None:
    line = (
        f"epoch {told.epoch}/{told.epochs}: loss {told.loss:.5f}, validation "
        f"{told.validation_loss:.5f}, MAE {told.validation_mae:.4f}"
    )
    say(console, line)
    status.update(f"training, {line}")


def _left_out(console: Console, skipped: Sequence[Skipped]) -> None:
    """Name what was skipped, all of it up to a screenful."""
    for item in skipped[:_SKIPPED_SHOWN]:
        say(console, f"skipped {item}")
    if len(skipped) > _SKIPPED_SHOWN:
        say(console, f"skipped {len(skipped) - _SKIPPED_SHOWN} more: see skipped.csv")
