"""The command ``export``: a run as a file for another runtime."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Final

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.errors import FkdError, unknown_name
from fkd_kaggle.keypoints import ANNOTATORS

EXPORTS: Final = Path("exports")

FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT",
        help="onnx (ONNX Runtime), litert (formerly TensorFlow Lite), saved-model (TensorFlow), "
        "keras or openvino.",
    ),
]

AnnotatorOption = Annotated[
    str,
    typer.Option(
        "--annotator",
        metavar="NAME",
        help="Annotator whose labelling conventions the 15 points follow: complete or partial.",
    ),
]

Folder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        show_default="exports/RUN-FORMAT",
        help="Folder to write. The default ends with -partial for that annotator.",
    ),
]

Distilled = Annotated[
    bool, typer.Option("--distilled", help="Export the run's distilled network (see `distill`).")
]

Replace = Annotated[bool, typer.Option("--force", help="Replace an earlier export.")]


def export(
    run: options.RunArgument = None,
    format: FormatOption = "onnx",
    annotator: AnnotatorOption = "complete",
    distilled: Distilled = False,
    output: Folder = None,
    force: Replace = False,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Write a run as a model file that does not need this package.

    The formats onnx, litert and openvino do not need TensorFlow either. The file maps
    (N, 96, 96) uint8 faces to (N, 15, 2) pixels. It contains the networks that the blend uses for
    the annotator, the average over mirror images, label offsets and the blend. It is compared with
    `predict` on held-out faces before it is kept.
    """
    from fkd_kaggle.ensemble.distillation import find_distilled
    from fkd_kaggle.export.folder import export_run
    from fkd_kaggle.export.model_card import count_networks
    from fkd_kaggle.runs.photo_run import is_photo_run

    for path in (runs_dir / run, Path(run)) if run else ():
        if is_photo_run(path):
            raise FkdError(
                f"{run} is a network for whole photos (train-photos): "
                "export takes runs of train-ensemble"
            )
    if annotator not in ANNOTATORS:
        raise FkdError(unknown_name("annotator", annotator, ANNOTATORS))
    console = make_console()
    found = options.choose_run(console, run, runs_dir)
    if distilled:
        found = find_distilled(found)
    suffix = "" if annotator == "complete" else f"-{annotator}"
    target = output or EXPORTS / f"{found.name}-{format}{suffix}"
    if target.exists() and not force:
        raise FkdError(f"{target} exists: --force replaces it, --output names another folder")
    with console.status("loading…") as status:
        result = export_run(
            found,
            target,
            format,
            data_dir=data_dir,
            annotator=ANNOTATORS.index(annotator),
            force=force,
            on_step=lambda step: status.update(f"{step}…"),
        )
    check = result.check
    print_line(
        console,
        f"wrote {result.file}: {count_networks(result.networks)}, {check.bytes / 1e6:.1f} MB, "
        f"{check.milliseconds_batch_1:.1f} ms per face ({check.milliseconds_batch_64:.1f} ms in "
        f"batches of 64; {check.runtime}, 1 thread)",
    )
    print_line(
        console,
        f"largest difference from `predict` on {check.faces} held-out faces: "
        f"{check.largest_difference:.5f} px",
    )
    print_line(console, f"try it: python {shlex.quote(str(target / 'example.py'))} FACE.png")
