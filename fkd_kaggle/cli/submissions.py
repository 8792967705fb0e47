"""The command line: options in, one room called, its result printed. No logic of its own.

Nothing heavy is imported until a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fkd_kaggle.cli import connection, kernel, options
from fkd_kaggle.cli.runs import open_run, reopen_run
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.errors import FkdError

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.runs.folder import Run


def submit(
    run: options.RunArgument = None,
    file: options.File = None,
    message: options.Message = None,
    dry_run: options.DryRun = False,
    via: options.ViaOption = None,
    recipe: options.Recipes = None,
    time_limit: options.TimeLimit = None,
    folds: options.Folds = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    seed: options.Seed = None,
    precision: options.Precision = None,
    name: options.RunName = None,
    accelerator: options.Accelerator = None,
    title: options.Title = None,
    shards: options.Shards = 1,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """Predict the test faces, upload, wait for the score; --via kernel trains on Kaggle first."""
    planned = {
        "recipe": recipe, "time-limit": time_limit, "folds": folds, "epochs": epochs,
        "batch-size": batch_size, "seed": seed, "precision": precision, "run": name,
        "accelerator": accelerator, "title": title, "shards": None if shards == 1 else shards,
    }  # fmt: skip
    given = [f"--{key}" for key, value in planned.items() if value not in (None, [])]
    if via is not None:
        if file is not None:
            raise FkdError("--file is a submission already: leave out --via kernel")
        if run is not None and given:
            raise FkdError(f"run {run} goes on as it was ordered: leave out {', '.join(given)}")
        order = kernel.make_job(
            recipe, time_limit, folds, epochs, batch_size, seed, precision, accelerator, title,
            shards,
        )  # fmt: skip
        kernel.submit(run, order, name, message, dry_run, data_dir, runs_dir, submissions_dir)
        return
    if given:
        raise FkdError(f"{', '.join(given)}: only --via kernel trains before it submits")
    from fkd_kaggle import pipeline

    console = make_console()
    if file is not None and run is not None:
        raise FkdError(f"either run {run} or --file {file} can be submitted, not both")
    # Before the predicting: who has no credentials learns it at once.
    competition = None if dry_run else connection.connect_competition(console)
    if file is not None:
        pipeline.check_submission(file, data_dir)
        path, expected = file, None
    else:
        chosen = open_run(run, runs_dir)
        path = _predicted(console, chosen, data_dir, submissions_dir)
        scores = reopen_run(chosen).scores
        expected = scores.expected if scores else None
    if competition is None:
        print_line(console, f"dry run: {path.name} is valid and was not uploaded")
    else:
        connection.upload_and_report(
            console, competition, path, expected,
            lambda on_wait: pipeline.upload_submission(competition, path, message or path.stem, on_wait),
        )  # fmt: skip


def predict(
    run: options.RunArgument = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """Write a run's submission file; upload nothing."""
    _predicted(make_console(), open_run(run, runs_dir), data_dir, submissions_dir)


def submissions(
    local: options.Local = False, submissions_dir: options.SubmissionsDir = options.SUBMISSIONS
) -> None:
    """List submissions and scores, here and on Kaggle."""
    from fkd_kaggle.data import submission
    from fkd_kaggle.display import tables

    console = make_console()
    remote = None if local else connection.connect_competition(console).submissions()
    table = tables.submissions_table(submission.list_submissions(submissions_dir), remote)
    console.print(table if table.row_count else "no submissions yet: fkd-kaggle submit")


def leaderboard(rows: options.Rows = 20) -> None:
    """Show the top of the leaderboard."""
    from fkd_kaggle.display import tables

    console = make_console()
    competition = connection.connect_competition(console)
    table = tables.leaderboard_table(competition.leaderboard(rows), competition.user)
    console.print(table if table.row_count else "nobody is on the leaderboard yet")


def _predicted(console: Console, run: Run, data_dir: Path, submissions_dir: Path) -> Path:
    from fkd_kaggle import pipeline

    with console.status(f"predicting with {run.name}…") as status:
        path = pipeline.write_run_submission(
            run, data_dir, submissions_dir,
            lambda done, count: status.update(f"predicting: {done} of {count} networks"),
        )  # fmt: skip
    print_line(console, f"wrote {path}")
    return path
