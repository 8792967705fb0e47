"""The command line: options in, one room called, its result printed. No logic of its own.

Nothing heavy is imported until a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.cli.runs import open_run, reopen_run
from fkd_kaggle.display.console import INTERRUPTED, make_console, print_line
from fkd_kaggle.errors import FkdError

if TYPE_CHECKING:
    from fkd_kaggle.runs.folder import Run


def train_ensemble(
    recipe: options.Recipes = None,
    time_limit: options.TimeLimit = None,
    folds: options.Folds = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    seed: options.Seed = None,
    precision: options.Precision = None,
    name: options.RunName = None,
    resume: options.Resume = None,
    workers: options.Workers = None,
    tensorboard: options.TensorBoard = False,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Train an ensemble; Ctrl-C keeps what is trained."""
    seconds = options.duration(time_limit)
    planned = {
        "recipe": recipe, "folds": folds, "epochs": epochs, "batch-size": batch_size, "seed": seed,
        "precision": precision, "run": name,
    }  # fmt: skip
    if resume is None:
        from fkd_kaggle.ensemble import fitting
        from fkd_kaggle.recipes import plans

        plan = plans.make_plan(
            recipe or (), folds=folds, epochs=epochs, batch_size=batch_size, seed=seed,
            precision=precision or "auto", time_limit=seconds,
        )  # fmt: skip
        run = fitting.start_run(runs_dir, name, plan, data_dir)
    elif extra := [f"--{key}" for key, value in planned.items() if value not in (None, [])]:
        raise FkdError(f"--resume goes on as the run was planned: leave out {', '.join(extra)}")
    else:
        run = open_run(resume, runs_dir)
    _train(run, data_dir, seconds, workers, tensorboard)


def compare(
    names: options.Compared,
    budget: options.Budget = None,
    epochs: options.Epochs = None,
    seeds: options.Seeds = 1,
    folds: options.ComparedFolds = None,
    precision: options.Precision = None,
    workers: options.Workers = None,
    name: options.CompareName = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Train recipes side by side, at equal budget, in one table."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.display.training import TrainingDisplay
    from fkd_kaggle.ensemble import comparison_results
    from fkd_kaggle.ensemble.comparison import start_comparison, train_comparison
    from fkd_kaggle.report.comparison import (
        HEADER,
        describe_protocol,
        table_cells,
        write_comparison_page,
    )
    from fkd_kaggle.workers import local

    console = make_console()
    seconds = options.duration(budget, "--budget") or (None if epochs else 600.0)
    comparison = start_comparison(
        runs_dir, names, data_dir, budget=seconds, epochs=epochs, seeds=seeds, parts=folds,
        precision=precision or "auto", workers=workers, places=local.default_worker_count(), name=name,
    )  # fmt: skip
    hire = local.workers_for_runs(data_dir, comparison.settings.workers)
    print_line(console, f"{comparison.name}: {describe_protocol(comparison)}")
    with TrainingDisplay(console) as display:
        comparison = train_comparison(comparison, data_dir, display, hire=hire)
    measured = comparison_results.measure_runs(comparison, data_dir)
    table = comparison_results.average_over_seeds(measured)
    rows = [table_cells(line) for line in table]
    console.print(tables.comparison_table(HEADER, rows))
    print_line(console, f"pictures: {write_comparison_page(comparison, table, measured)}")
    if comparison.status == "failures":
        raise FkdError("not all could be trained, as said above; the others are in the table")
    if comparison.status == "interrupted":
        print_line(console, "interrupted; the same command goes on")
        raise typer.Exit(INTERRUPTED)


def _train(
    run: Run, data_dir: Path, seconds: float | None, workers: int | None, tensorboard: bool
) -> None:
    from fkd_kaggle.display import tables
    from fkd_kaggle.display.training import TrainingDisplay
    from fkd_kaggle.ensemble import fitting
    from fkd_kaggle.report.run import write_run_page
    from fkd_kaggle.runs import members
    from fkd_kaggle.workers import local

    console = make_console()
    left = sum(not members.is_finished(run, member) for member in run.plan.members)
    hire = local.workers_for_run(run, data_dir, left, workers=workers, tensorboard=tensorboard)
    with TrainingDisplay(console) as display:
        scores = fitting.train_run(
            run, data_dir, time_limit=seconds, on_event=display, tensorboard=tensorboard, hire=hire
        )
    console.print(tables.scores_table(scores))
    if scores.own:
        console.print(tables.published_metrics_table(scores))
    if run.plan.ensemble.split != "grouped":
        print_line(
            console,
            "split at random, as its source did: near-duplicates stand on both sides and flatter; "
            "with --folds 5 they do not",
        )
    page = write_run_page(run, data_dir)
    print_line(console, f"report: {page}")
    status = reopen_run(run).status
    if status != "finished":
        why = "the time limit" if status == "time limit" else "an interruption"
        print_line(
            console, f"stopped by {why}; to go on: fkd-kaggle train-ensemble --resume {run.name}"
        )
    print_line(console, f"next: fkd-kaggle submit {run.name}")
    if status == "interrupted":
        # What was typed after && should not run as if all had been trained.
        raise typer.Exit(INTERRUPTED)
