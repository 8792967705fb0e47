"""The commands ``evaluate`` and ``train-photos``; ``annotate`` is in ``cli.annotation``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import INTERRUPTED, make_console, print_line
from fkd_kaggle.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.status import Status

    from fkd_kaggle.photos.annotations.types import SkippedInput
    from fkd_kaggle.photos.training import PhotoEpochEnded
    from fkd_kaggle.recipes.schema import Recipe

EVALUATIONS: Final = Path("evaluations")

_MAX_SKIPPED_LINES = 20

Photos = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", show_default=False, help="Folder of the photos, or a zip with them."
    ),
]

AnnotationFile = Annotated[
    Path | None,
    typer.Option(
        "--annotations",
        "-a",
        metavar="XML",
        show_default="FOLDER/annotations.xml",
        help="Annotations in CVAT's format 'for images 1.1', plain or packed: 15 points per face, "
        "in any order.",
    ),
]

RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        autocompletion=options.complete_run,
        show_default="the newest",
        help="Name or folder of the run that predicts.",
    ),
]

CropOption = Annotated[
    str,
    typer.Option(
        "--crop",
        metavar="METHOD",
        help="How to crop faces: 'annotated' around the annotated points, 'detect' around the "
        "faces that a detector finds.",
    ),
]

Label = Annotated[
    str | None,
    typer.Option(
        "--label",
        metavar="LABEL",
        show_default="the most frequent",
        help="Use only shapes with this label.",
    ),
]

EvaluationFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        show_default="evaluations/RUN-CROP",
        help="Folder of the tables and figures.",
    ),
]

TableFile = Annotated[
    Path,
    typer.Argument(
        metavar="CSV",
        show_default=False,
        help="Photos and their points: image_name, point_1_x, point_1_y, …; -1 for no point.",
    ),
]

PhotoFolder = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        metavar="FOLDER",
        show_default="the folder of the CSV file",
        help="Folder of the photos.",
    ),
]

PhotoRecipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        "-r",
        metavar="NAME",
        autocompletion=options.complete_recipe,
        help="ffhq-transfer, or the path of a similar .toml file.",
    ),
]


def evaluate(
    photos: Photos,
    annotations: AnnotationFile = None,
    run: RunOption = None,
    crop: CropOption = "annotated",
    label: Label = None,
    output: EvaluationFolder = None,
    json: options.Json = False,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Compare the predictions of a run with annotated photos."""
    from fkd_kaggle.display import json_output, tables
    from fkd_kaggle.photos import evaluation_page, evaluation_results
    from fkd_kaggle.runs.folder import find_run

    console = make_console(stderr=json)
    found = find_run(run, runs_dir)
    target = output or EVALUATIONS / f"{found.name}-{crop}"
    with console.status("loading…") as status:
        result = evaluation_page.write_evaluation(
            target,
            photos,
            annotations,
            found,
            crop=crop,
            label=label,
            on_progress=show_photo_progress(status),
        )
    print_skipped(console, result.skipped, target / "skipped.csv")
    _print_adjusted(console, result.adjusted)
    summary = evaluation_page.summarize_evaluation(result)
    if json:
        page = target / "index.html"
        typer.echo(json_output.to_json({"run": found.name, **summary, "page": page}))
        return
    console.print(tables.evaluation_table(summary, 100 * evaluation_results.FAILURE_NME))
    print_line(console, f"figures: {target / 'index.html'}")


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
    """Train a network on photos with points.

    Photos can have any number of points. Ctrl-C keeps the best epoch.
    """
    from fkd_kaggle.display import tables
    from fkd_kaggle.nn import backend
    from fkd_kaggle.photos.annotations import point_table
    from fkd_kaggle.runs import photo_run

    console = make_console()
    photo_recipe = _photo_recipe(recipe, epochs, batch_size)
    points = point_table.read_table(table)
    with console.status("reading photos…") as status:
        # Before modules that import Keras: hides its start-up messages.
        backend.start_keras(precision or "auto")
        from fkd_kaggle.photos import training
        from fkd_kaggle.photos.annotations import photo_set

        training.check_photo_recipe(photo_recipe)
        album = photo_set.load_photo_set(
            points,
            photos or table.parent,
            photo_set.input_side(photo_recipe),
            show_photo_progress(status),
        )
        print_skipped(console, album.skipped)
        print_line(
            console,
            f"{len(album.names)} photos with {len(points.point_names)} points each; "
            f"rows skipped because a point is missing: {album.incomplete}",
        )
        run = training.train_photo_network(
            album,
            table,
            photo_recipe,
            photo_run.new_photo_run_folder(runs_dir, name, photo_recipe.name),
            seed=seed or 0,
            precision=precision or "auto",
            on_message=lambda line: print_line(console, line),
            on_epoch=lambda event: _print_epoch(console, status, event),
        )
    console.print(tables.photo_run_table(run.info))
    print_line(console, f"figures: {photo_run.picture_path(run.path)}")
    print_line(console, f"next: fkd-kaggle annotate FOLDER --run {options.run_argument(run.path)}")
    if run.info["status"] == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _photo_recipe(name: str, epochs: int | None, batch_size: int | None) -> Recipe:
    """Return the recipe of a name or a file, with the given epochs and batch size.

    Raises
    ------
    RecipeError
        There is no such recipe, or it is an ensemble of several recipes.
    """
    training = options.make_training_options([name], epochs=epochs, batch_size=batch_size)
    members = options.plan_from(training).ensemble.members
    if len(members) > 1:
        raise RecipeError(
            f"{name} is an ensemble of {len(members)} recipes: photos are learned with one recipe; "
            "take ffhq-transfer, or a copy of it"
        )
    return members[0].recipe


def show_photo_progress(status: Status) -> Callable[[int, int], None]:
    """Return a function that shows the number of the current photo."""
    return lambda done, count: status.update(f"photo {done} of {count}…")


def _print_epoch(console: Console, status: Status, event: PhotoEpochEnded) -> None:
    """Print the losses of an epoch."""
    line = (
        f"epoch {event.epoch}/{event.epochs}: loss {event.loss:.5f}, validation "
        f"{event.validation_loss:.5f}, MAE {event.validation_mae:.4f}"
    )
    print_line(console, line)
    status.update(f"training, {line}")


def print_skipped(
    console: Console, skipped: Sequence[SkippedInput], table: Path | None = None
) -> None:
    """Print which inputs were skipped and why: 20 of them, and where or why the others.

    Parameters
    ----------
    console
        Where to print.
    skipped
        The inputs.
    table
        File that lists all of them; None without such a file.
    """
    from fkd_kaggle.photos.skipped_inputs import summarize_reasons

    for item in skipped[:_MAX_SKIPPED_LINES]:
        print_line(console, f"skipped {item}")
    if others := skipped[_MAX_SKIPPED_LINES:]:
        more = summarize_reasons(others) if table is None else f"see {table}"
        print_line(console, f"skipped {len(others)} more: {more}")


def _print_adjusted(console: Console, adjusted: Sequence[SkippedInput]) -> None:
    """Print how many photos have another size or orientation than annotated, and one of them."""
    if adjusted:
        count = f"{len(adjusted)} photo{'s' if len(adjusted) > 1 else ''}"
        print_line(console, f"mapped the points of {count}, see adjusted.csv: {adjusted[0]}")
