"""The command ``compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import INTERRUPTED, make_console, print_line
from fkd_kaggle.errors import TrainingFailedError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from fkd_kaggle.runs.comparison import Comparison
    from fkd_kaggle.workers.pool import StartRunsPool

DEFAULT_BUDGET = 600.0
"""Training time of a compared recipe in seconds, if neither time nor epochs are given."""

ComparedNames = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        autocompletion=options.complete_recipe,
        show_default=False,
        help="Recipes and ensembles: names or paths of .toml files.",
    ),
]

Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        "-b",
        metavar="TIME",
        help="Training time of each recipe or ensemble, for each seed and held-out fold: 90s or "
        "10m. Default: 10m, or no limit with --epochs.",
    ),
]

Seeds = Annotated[
    int,
    typer.Option(
        "--seeds", metavar="N", min=1, help="Number of random seeds to train each recipe with."
    ),
]

ComparedFolds = Annotated[
    int | None,
    typer.Option(
        "--folds",
        metavar="N",
        help="Number of folds; each is held out once. Default: one fold of five is held out.",
    ),
]

ComparisonName = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Name of a new comparison, or of an existing one to continue or to add recipes to.",
    ),
]


def compare(
    names: ComparedNames,
    budget: Budget = None,
    epochs: options.Epochs = None,
    seeds: Seeds = 1,
    folds: ComparedFolds = None,
    precision: options.Precision = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    name: ComparisonName = None,
    accept_implausible: options.AcceptImplausible = False,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Compare recipes trained with equal budgets.

    All are trained and scored on the same folds. The same command continues after Ctrl-C.
    """
    from fkd_kaggle.data import dataset
    from fkd_kaggle.display.training import TrainingDisplay
    from fkd_kaggle.ensemble.comparison import start_comparison, train_comparison
    from fkd_kaggle.recipes import validation
    from fkd_kaggle.report import comparison as page
    from fkd_kaggle.runs.comparison import open_comparison
    from fkd_kaggle.runs.members import is_finished
    from fkd_kaggle.workers import devices, local, ray_cluster, ray_connection

    console = make_console()
    address = options.check_cluster(cluster, workers)
    seconds = options.parse_duration(budget, "--budget") or (None if epochs else DEFAULT_BUDGET)
    faces = dataset.read_plausible_training(data_dir, accept_implausible=accept_implausible)
    validation.check_fold_count(folds, len(faces.images))
    if address is None:
        machine = devices.inspect_machine()
    else:
        machine = ray_connection.cluster_devices(address)
    comparison = start_comparison(
        runs_dir,
        names,
        data_dir,
        budget=seconds,
        epochs=epochs,
        seeds=seeds,
        folds=folds,
        precision=precision or "auto",
        workers=workers,
        default_workers=local.default_worker_count(machine),
        name=name,
    )
    start_workers: StartRunsPool | None
    if address is None:
        start_workers = local.workers_for_runs(data_dir, comparison.settings.workers, machine)
    else:
        start_workers = ray_cluster.workers_for_runs(address, data_dir)
    print_line(console, f"{comparison.name}: {page.describe_protocol(comparison)}")
    with TrainingDisplay(console) as display:
        train_comparison(comparison, data_dir, display, start_workers=start_workers)
    comparison = open_comparison(comparison.path)
    if comparison.status == "interrupted":
        finished = sum(
            is_finished(run, member) for run in comparison.runs for member in run.plan.members
        )
        print_line(
            console, f"interrupted; {finished} networks are kept; the same command continues"
        )
        raise typer.Exit(INTERRUPTED)
    _print_results(console, comparison, data_dir)
    if comparison.status == "failures":
        raise TrainingFailedError(
            "some networks could not be trained, see above; the table has the others"
        )


def _print_results(console: Console, comparison: Comparison, data_dir: Path) -> None:
    """Measure the trained networks, print the table and write the page."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.ensemble import comparison_results
    from fkd_kaggle.report import comparison as page

    measured = comparison_results.measure_runs(comparison, data_dir)
    table = comparison_results.average_over_seeds(measured)
    rows = [page.table_cells(line) for line in table]
    compared = tables.comparison_table(page.HEADER, rows)
    console.print(compared)
    if dropped := compared.dropped(console.width):
        print_line(
            console, f"not shown: {', '.join(dropped)}; in {comparison.path / 'compare.csv'}"
        )
    print_line(console, f"figures: {page.write_comparison_page(comparison, table, measured)}")
