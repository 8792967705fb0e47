"""The command line: options in, one room called, its result printed. No logic of its own.

Nothing heavy is imported until a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fkd_kaggle.cli import connection, options
from fkd_kaggle.display.console import make_console, print_line

if TYPE_CHECKING:
    from rich.console import Console


def fetch(data_dir: options.DataDir = options.DATA, force: options.Force = False) -> None:
    """Download the competition's files, unpack and check them."""
    from fkd_kaggle import pipeline
    from fkd_kaggle.data import dataset
    from fkd_kaggle.display import tables

    console = make_console()
    if pipeline.is_fetched(data_dir) and not force:
        print_line(
            console, f"{data_dir} holds the competition's files already; --force fetches anew"
        )
        summary = dataset.check_data_folder(data_dir)
    else:
        competition = connection.connect_competition(console)
        with _bytes_progress(console) as on_progress:
            summary = pipeline.fetch_data(
                competition, data_dir, force=force, on_progress=on_progress
            )
    console.print(tables.dataset_table(summary))
    print_line(console, "next: fkd-kaggle train-ensemble")


def explore(
    data_dir: options.DataDir = options.DATA, output: options.ExploreOutput = options.EXPLORE
) -> None:
    """Draw what is in a data set; find labels that do not fit."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.report.dataset import write_dataset_page

    console = make_console()
    with console.status(f"looking at {data_dir}…"):
        found = write_dataset_page(data_dir, output)
    console.print(tables.statistics_table(found))
    print_line(console, f"pictures: {found.page}")


@contextmanager
def _bytes_progress(console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """Show a download bar; yields what to call with (bytes so far, bytes in all or None)."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(
        "downloading", BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console
    ) as progress:
        task = progress.add_task("", total=None)

        def show(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield show
