"""The commands for data sets: ``fetch`` and ``explore``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fkd_kaggle.cli import connection, options
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.errors import FkdError

if TYPE_CHECKING:
    from rich.console import Console

EXPLORE: Final = Path("explore")

Force = Annotated[bool, typer.Option("--force", help="Download all files again.")]

ExploreOutput = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the figures.")
]


Corrections = Annotated[
    Path | None,
    typer.Option(
        "--corrections",
        metavar="CSV",
        show_default=False,
        help="Show the data set with corrected labels: corrections.csv, which the page of a run "
        "saves. training.csv is not changed.",
    ),
]


def fetch(
    data_dir: options.DataDir = options.DATA,
    force: Force = False,
    accept_implausible: options.AcceptImplausible = False,
) -> None:
    """Download, unpack and check the competition's files."""
    from fkd_kaggle import pipeline
    from fkd_kaggle.data import dataset
    from fkd_kaggle.display import tables

    console = make_console()
    check_is_folder(data_dir, "--data-dir")
    if pipeline.is_fetched(data_dir) and not force:
        print_line(
            console, f"{data_dir} contains the competition's files; --force downloads them again"
        )
        summary = dataset.check_data_folder(data_dir, accept_implausible=accept_implausible)
    else:
        competition = connection.connect_competition(console)
        with _download_progress(console) as on_progress:
            summary = pipeline.fetch_data(
                competition,
                data_dir,
                force=force,
                accept_implausible=accept_implausible,
                on_progress=on_progress,
            )
    console.print(tables.dataset_table(summary))
    for line in tables.ANNOTATORS_EXPLAINED:
        print_line(console, line)
    print_line(console, "next: fkd-kaggle train-ensemble")


def explore(
    data_dir: options.DataDir = options.DATA,
    output: ExploreOutput = EXPLORE,
    corrections: Corrections = None,
) -> None:
    """Draw figures of a data set and list implausible labels."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.report.dataset import write_dataset_page

    console = make_console()
    check_is_folder(data_dir, "--data-dir")
    check_is_folder(output, "--output")
    with console.status(f"reading {data_dir}…"):
        page, statistics = write_dataset_page(data_dir, output, corrections)
    console.print(tables.statistics_table(statistics))
    if statistics.warning:
        print_line(console, f"warning: {statistics.warning}")
    print_line(console, f"figures: {page}")


def check_is_folder(path: Path, option: str) -> None:
    """Raise FkdError if a path, or a folder that it lies in, exists and is not a folder.

    Parameters
    ----------
    path
        The folder that an option names; it need not exist.
    option
        Name of the option.
    """
    for place in (path, *path.parents):
        if place.exists() or place.is_symlink():
            if not place.is_dir():
                what = "a file" if place.is_file() else "a link to nothing"
                raise FkdError(f"{place} is {what}, not a folder: choose another with {option}")
            return


@contextmanager
def _download_progress(console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar; yield a function of the bytes received and the total (or None)."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(
        "downloading", BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console
    ) as progress:
        task = progress.add_task("", total=None)

        def update(received: int, total: int | None) -> None:
            progress.update(task, completed=received, total=total)

        yield update
