"""The commands about photos: ``evaluate``, ``annotate``, ``train-photos``.

Like ``cli``: options in, one room called, its result printed; nothing heavy before a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import INTERRUPTED, make_console, print_line
from fkd_kaggle.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.status import Status
    from rich.table import Table

    from fkd_kaggle.photos.annotations.types import SkippedInput
    from fkd_kaggle.photos.evaluation import Evaluation
    from fkd_kaggle.photos.training import PhotoEpochEnded
    from fkd_kaggle.recipes.schema import Recipe

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
        "--run", metavar="RUN", autocompletion=options.complete_run, show_default="the newest",
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

TableOutput = Annotated[
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
        "--recipe", "-r", metavar="NAME", autocompletion=options.complete_recipe,
        help="ffhq-transfer, or a .toml file of your own like it.",
    ),
]  # fmt: skip


def add_commands(app: typer.Typer) -> None:
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
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Score a run on photos that other people annotated."""
    from fkd_kaggle.photos import evaluation_page
    from fkd_kaggle.runs.folder import find_run

    console = make_console()
    if annotations is None:
        annotations = photos / "annotations.xml"
        if not annotations.exists():
            raise DataError(f"{annotations} does not exist: name the file with --annotations")
    chosen = find_run(run, runs_dir)
    target = output or EVALUATIONS / f"{chosen.name}-{crop}"
    with console.status("getting ready…") as status:
        result = evaluation_page.write_evaluation(
            target, photos, annotations, chosen, crop=crop, label=label,
            on_progress=lambda done, count: status.update(f"photo {done} of {count}…"),
        )  # fmt: skip
    _print_skipped(console, result.skipped)
    console.print(evaluation_table(result))
    print_line(console, f"pictures: {target / 'index.html'}")


def annotate(
    photos: Photos,
    model: Model = "run",
    run: RunOption = None,
    points: Points = None,
    output: TableOutput = None,
    force: Replace = False,
    model_file: ModelFile = None,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Let a model put points on the faces in a folder of photos."""
    from fkd_kaggle.photos import auto_annotation, references
    from fkd_kaggle.photos.annotations import point_table

    console = make_console()
    target = output or photos / point_table.FILE_NAME
    chosen = references.find_any_run(run, runs_dir) if model == "run" else None
    with console.status("getting ready…") as status:
        known = references.load_reference(model, chosen, model_file)
        result = auto_annotation.annotate_photos(
            photos, known, references.parse_point_names(points, known.point_names), target,
            model_id=f"{model} {chosen}", replace=force,
            on_progress=lambda done, count: status.update(f"photo {done} of {count}…"),
        )  # fmt: skip
    _print_skipped(console, result.skipped)
    names = zip(result.table.point_names, result.model_point_names, strict=True)
    print_line(
        console, ", ".join(f"{number} is {name}" for number, name in names if number != name)
    )
    print_line(console, f"{result.found} of {len(result.table.image_names)} photos have a face")
    print_line(console, f"wrote {target}; look at {result.picture}")
    where = "" if target.parent == photos else f" --photos {photos}"
    print_line(console, f"next: fkd-kaggle train-photos {target}{where}")


def train_photos(
    table: TableFile,
    photos: PhotoFolder = None,
    recipe: PhotoRecipe = "ffhq-transfer",
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    seed: options.Seed = None,
    precision: options.Precision = None,
    name: options.RunName = None,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Train a network on photos with points, any number of them; Ctrl-C keeps the best epoch."""
    from fkd_kaggle.nn import backend
    from fkd_kaggle.photos.annotations import point_table

    console = make_console()
    plan = _photo_recipe(recipe, epochs, batch_size)
    known = point_table.read_table(table)
    with console.status("reading photos…") as status:
        backend.start_keras(
            precision or "auto"
        )  # before anything imports Keras: it has much to say
        from fkd_kaggle.photos import training
        from fkd_kaggle.photos.annotations import photo_set
        from fkd_kaggle.runs import photo_run

        training.check_photo_recipe(plan)
        album = photo_set.load_photo_set(
            known, photos or table.parent, photo_set.input_side(plan),
            lambda done, count: status.update(f"photo {done} of {count}…"),
        )  # fmt: skip
        _print_skipped(console, album.skipped)
        print_line(
            console,
            f"{len(album.names)} photos with {len(known.point_names)} points each; "
            f"rows dropped for a point that was not found: {album.incomplete}",
        )
        run = training.train_photo_network(
            album, table, plan, photo_run.new_photo_run_folder(runs_dir, name, plan.name),
            seed=seed or 0, precision=precision or "auto",
            on_message=lambda line: print_line(console, line),
            on_epoch=lambda told: _print_progress(console, status, told),
        )  # fmt: skip
    console.print(photo_run_table(run.info))
    print_line(console, f"pictures: {photo_run.picture_path(run.path)}")
    print_line(console, f"next: fkd-kaggle annotate FOLDER --run {run.path.name}")
    if run.info["status"] == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _photo_recipe(name: str, epochs: int | None, batch_size: int | None) -> Recipe:
    from fkd_kaggle.recipes import plans

    (line,) = plans.make_plan([name], epochs=epochs, batch_size=batch_size).ensemble.members
    return line.recipe


def _print_progress(console: Console, status: Status, told: PhotoEpochEnded) -> None:
    line = (
        f"epoch {told.epoch}/{told.epochs}: loss {told.loss:.5f}, validation "
        f"{told.validation_loss:.5f}, MAE {told.validation_mae:.4f}"
    )
    print_line(console, line)
    status.update(f"training, {line}")


def _print_skipped(console: Console, skipped: Sequence[SkippedInput]) -> None:
    """Name what was skipped, all of it up to a screenful."""
    for item in skipped[:_SKIPPED_SHOWN]:
        print_line(console, f"skipped {item}")
    if len(skipped) > _SKIPPED_SHOWN:
        print_line(console, f"skipped {len(skipped) - _SKIPPED_SHOWN} more: see skipped.csv")


def evaluation_table(result: Evaluation) -> Table:
    """Return an evaluation's figures over all faces."""
    photos = len({face.photo for face in result.faces})
    import numpy as np
    from rich.table import Table

    from fkd_kaggle.photos.evaluation import FAILURE_NME

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(f"{len(result.faces)} faces in {photos} photos, crop: {result.crop}")
    table.add_column("96×96 crop", justify="right")
    table.add_column("photo", justify="right")
    rows = (
        ("RMSE per coordinate, pixels", result.crop_rmse, result.rmse),
        ("MSE, pixels²", result.crop_rmse**2, result.rmse**2),
    )
    for name, crop, photo in rows:
        table.add_row(name, f"{crop:.3f}", f"{photo:.3f}")
    each = [face.crop_rmse for face in result.faces]
    table.add_row("RMSE of the median face, pixels", f"{np.median(each):.3f}")
    table.add_row("RMSE of the worst face, pixels", f"{max(each):.3f}")
    table.add_row("NME by the distance of the eyes", f"{100 * result.nme:.2f} %")
    table.add_row(
        f"faces missed or with NME above {100 * FAILURE_NME:.0f} %",
        f"{100 * result.failures:.1f} %",
    )
    if result.crop == "detect":
        table.add_row("faces the detector did not find", str(result.missed))
    return table


def photo_run_table(info: Mapping[str, Any]) -> Table:
    """Return what a run of train-photos reached on the photos kept aside."""
    count, epochs = info["photos"]["test"], info["epochs"]
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(f"{count} test photos, after {epochs} epochs ({info['status']})")
    table.add_column("network", justify="right")
    table.add_column("mean points", justify="right")
    for key, value in info["test"].items():
        kind, *rest = key.split("_")
        name = kind.upper() + (f", pixels at {rest[-1]}" if rest else ", share of width and height")
        table.add_row(name, f"{value:.4f}", f"{info['means_alone'][key]:.4f}")
    return table
