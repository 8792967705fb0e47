"""The command ``report``: the pages of trained runs, and comparisons of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.errors import FkdError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fkd_kaggle.report.run_data import RunData
    from fkd_kaggle.runs.folder import Run

RunNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN...",
        autocompletion=options.complete_run,
        show_default=False,
        help="Names or folders of runs; default: the newest run with a trained network. Several "
        "runs are compared with the first.",
    ),
]

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        callback=options.check_file,
        show_default="report.html in the run's folder",
        help="File of the page.",
    ),
]

MlflowUri = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        metavar="URI",
        show_default=False,
        help="Also log each run to MLflow: a server or file:FOLDER. Needs fkd-kaggle[mlflow].",
    ),
]


def report(
    runs: RunNames = None,
    output: Output = None,
    mlflow: MlflowUri = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """Write the page of a run again, or compare runs face by face."""
    from fkd_kaggle.report.run import write_run_page
    from fkd_kaggle.runs.folder import find_run

    console = make_console()
    found = [find_run(name, runs_dir) for name in runs or (None,)]
    logger = None
    if mlflow is not None:
        from fkd_kaggle.report.mlflow_log import connect_mlflow

        logger = connect_mlflow(mlflow)
    if output is not None and output.is_dir():
        raise FkdError(f"{output} is a folder: give the name of a file with --output")
    _blend_if_necessary(found, data_dir)
    if len(found) > 1:
        from fkd_kaggle.report.run import write_comparison_of_runs

        target = output or runs_dir / f"report-{'-'.join(run.name for run in found)[:100]}.html"
        with console.status("comparing…"):
            data = write_comparison_of_runs(found, data_dir, target, submissions_dir)
        for line in _sentences(data):
            print_line(console, line)
        page = target
    else:
        with console.status(f"reading {found[0].name}…"):
            page = write_run_page(found[0], data_dir, submissions_dir, target=output)
    print_line(console, f"report: {page}")
    for run in found if logger else ():
        assert logger is not None
        if output is not None or len(found) > 1:  # MLflow gets the page in the run's folder
            write_run_page(run, data_dir, submissions_dir)
        print_line(console, f"{run.name} is run {logger.log_run(run)} in MLflow")


def _blend_if_necessary(runs: Sequence[Run], data_dir: Path) -> None:
    """Blend the runs that were stopped before they were blended, as ``predict`` does."""
    from fkd_kaggle.data import dataset
    from fkd_kaggle.runs.predictions import has_blended_out_of_fold

    for run in runs:
        run.check_data(dataset.fingerprint(data_dir))
        if not has_blended_out_of_fold(run):
            from fkd_kaggle.ensemble.run_blend import blend_run

            blend_run(run, data_dir)


def _sentences(data: RunData) -> list[str]:
    """Return a sentence for each pair of compared runs."""
    return [
        f"{one['one']} and {one['other']}: {one['sentence']}" for one in data.summary["comparisons"]
    ]
