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

    from fkd_kaggle.photos.images import Skipped

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


def mount(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(evaluate)


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


def _left_out(console: Console, skipped: Sequence[Skipped]) -> None:
    """Name what was skipped, all of it up to a screenful."""
    for item in skipped[:_SKIPPED_SHOWN]:
        say(console, f"skipped {item}")
    if len(skipped) > _SKIPPED_SHOWN:
        say(console, f"skipped {len(skipped) - _SKIPPED_SHOWN} more: see skipped.csv")
