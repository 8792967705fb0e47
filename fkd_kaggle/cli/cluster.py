"""The command for runs that were trained in parts: ``gather``."""

from __future__ import annotations

from typing import Annotated

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console, print_line

Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        autocompletion=options.complete_run,
        show_default=False,
        help="Names or folders of the runs of all shards.",
    ),
]


def gather(
    runs: Runs,
    name: options.RunName = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Blend although networks are missing.")
    ] = False,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Merge the runs of shards into one run and blend it.

    Plan, folds and data of the runs must be equal. The runs are not changed. `train-ensemble
    --shard 1/2` and `--shard 2/2`, on any machines, train the shards.
    """
    from fkd_kaggle import pipeline
    from fkd_kaggle.display import tables
    from fkd_kaggle.report.run import write_run_page
    from fkd_kaggle.runs.folder import find_run

    console = make_console()
    shards = [find_run(one, runs_dir) for one in runs]
    run, scores = pipeline.gather_runs(shards, data_dir, runs_dir, name, partial=partial)
    console.print(tables.scores_table(scores))
    print_line(console, f"report: {write_run_page(run, data_dir)}")
    print_line(console, f"run {run.name}: {len(run.plan.members)} networks of {len(runs)} runs")
    print_line(console, f"next: fkd-kaggle submit {run.name}")
