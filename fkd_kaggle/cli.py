"""The command line: options in, one room called, its result printed. No logic of its own.

Nothing heavy is imported until a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fkd_kaggle import __version__, cli_kernel, cli_photos, terminal
from fkd_kaggle import options as opt
from fkd_kaggle.errors import FkdError
from fkd_kaggle.terminal import INTERRUPTED, say

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.run import Run

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

app = typer.Typer(
    name="fkd-kaggle",
    help="Win Kaggle's Facial Keypoints Detection from the command line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Rich help takes 0.3 s to import, three times as long as everything else together.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.add_typer(cli_kernel.app)


@app.command()
def fetch(data_dir: opt.DataDir = opt.DATA, force: opt.Force = False) -> None:
    """Download the competition's files, unpack and check them."""
    from fkd_kaggle import pipeline, tables

    console = terminal.console()
    if pipeline.is_fetched(data_dir) and not force:
        say(console, f"{data_dir} holds the competition's files already; --force fetches anew")
        summary = pipeline.check(data_dir)
    else:
        competition = terminal.competition(console)
        with _bytes_progress(console) as on_progress:
            summary = pipeline.fetch(competition, data_dir, force=force, on_progress=on_progress)
    console.print(tables.faces(summary))
    say(console, "next: fkd-kaggle train-ensemble")


@app.command()
def explore(data_dir: opt.DataDir = opt.DATA, output: opt.ExploreOutput = opt.EXPLORE) -> None:
    """Draw what is in a data set; find labels that do not fit."""
    from fkd_kaggle import explore as room
    from fkd_kaggle import tables

    console = terminal.console()
    with console.status(f"looking at {data_dir}…"):
        found = room.explore(data_dir, output)
    console.print(tables.exploration(found))
    say(console, f"pictures: {found.page}")


@app.command("train-ensemble")
def train_ensemble(
    recipe: opt.Recipes = None,
    time_limit: opt.TimeLimit = None,
    folds: opt.Folds = None,
    epochs: opt.Epochs = None,
    batch_size: opt.BatchSize = None,
    seed: opt.Seed = None,
    precision: opt.Precision = None,
    name: opt.RunName = None,
    resume: opt.Resume = None,
    workers: opt.Workers = None,
    tensorboard: opt.TensorBoard = False,
    data_dir: opt.DataDir = opt.DATA,
    runs_dir: opt.RunsDir = opt.RUNS,
) -> None:
    """Train an ensemble; Ctrl-C keeps what is trained."""
    seconds = opt.duration(time_limit)
    planned = {
        "recipe": recipe, "folds": folds, "epochs": epochs, "batch-size": batch_size, "seed": seed,
        "precision": precision, "run": name,
    }  # fmt: skip
    if resume is None:
        from fkd_kaggle import ensemble, recipes

        plan = recipes.plan(
            recipe or (), folds=folds, epochs=epochs, batch_size=batch_size, seed=seed,
            precision=precision or "auto", time_limit=seconds,
        )  # fmt: skip
        run = ensemble.start(runs_dir, name, plan, data_dir)
    elif extra := [f"--{key}" for key, value in planned.items() if value not in (None, [])]:
        raise FkdError(f"--resume goes on as the run was planned: leave out {', '.join(extra)}")
    else:
        run = _find_run(resume, runs_dir)
    _train(run, data_dir, seconds, workers, tensorboard)


@app.command()
def compare(
    names: opt.Compared,
    budget: opt.Budget = None,
    epochs: opt.Epochs = None,
    seeds: opt.Seeds = 1,
    folds: opt.ComparedFolds = None,
    precision: opt.Precision = None,
    workers: opt.Workers = None,
    name: opt.CompareName = None,
    data_dir: opt.DataDir = opt.DATA,
    runs_dir: opt.RunsDir = opt.RUNS,
) -> None:
    """Train recipes side by side, at equal budget, in one table."""
    from fkd_kaggle import compare as room
    from fkd_kaggle import comparison_page, fleet, tables
    from fkd_kaggle.display import TrainingDisplay

    console = terminal.console()
    seconds = opt.duration(budget, "--budget") or (None if epochs else 600.0)
    comparison = room.start(
        runs_dir, names, data_dir, budget=seconds, epochs=epochs, seeds=seeds, parts=folds,
        precision=precision or "auto", workers=workers, places=fleet.places(), name=name,
    )  # fmt: skip
    hire = fleet.hire_for_runs(data_dir, comparison.settings.workers)
    say(console, f"{comparison.name}: {comparison_page.protocol(comparison)}")
    with TrainingDisplay(console) as display:
        comparison = room.train(comparison, data_dir, display, hire=hire)
    measured = room.results(comparison, data_dir)
    table = room.lines(measured)
    rows = [comparison_page.cells(line) for line in table]
    console.print(tables.comparison(comparison_page.HEADER, rows))
    say(console, f"pictures: {comparison_page.write(comparison, table, measured)}")
    if comparison.status == "failures":
        raise FkdError("not all could be trained, as said above; the others are in the table")
    if comparison.status == "interrupted":
        say(console, "interrupted; the same command goes on")
        raise typer.Exit(INTERRUPTED)


@app.command()
def submit(
    run: opt.RunArgument = None,
    file: opt.File = None,
    message: opt.Message = None,
    dry_run: opt.DryRun = False,
    via: opt.ViaOption = None,
    recipe: opt.Recipes = None,
    time_limit: opt.TimeLimit = None,
    folds: opt.Folds = None,
    epochs: opt.Epochs = None,
    batch_size: opt.BatchSize = None,
    seed: opt.Seed = None,
    precision: opt.Precision = None,
    name: opt.RunName = None,
    accelerator: opt.Accelerator = None,
    title: opt.Title = None,
    shards: opt.Shards = 1,
    data_dir: opt.DataDir = opt.DATA,
    runs_dir: opt.RunsDir = opt.RUNS,
    submissions_dir: opt.SubmissionsDir = opt.SUBMISSIONS,
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
        order = cli_kernel.make_order(
            recipe, time_limit, folds, epochs, batch_size, seed, precision, accelerator, title,
            shards,
        )  # fmt: skip
        cli_kernel.submit(run, order, name, message, dry_run, data_dir, runs_dir, submissions_dir)
        return
    if given:
        raise FkdError(f"{', '.join(given)}: only --via kernel trains before it submits")
    from fkd_kaggle import pipeline

    console = terminal.console()
    if file is not None and run is not None:
        raise FkdError(f"either run {run} or --file {file} can be submitted, not both")
    # Before the predicting: who has no credentials learns it at once.
    competition = None if dry_run else terminal.competition(console)
    if file is not None:
        pipeline.check_submission(file, data_dir)
        path, expected = file, None
    else:
        chosen = _find_run(run, runs_dir)
        path = _predicted(console, chosen, data_dir, submissions_dir)
        scores = _reopened(chosen).scores
        expected = scores.expected if scores else None
    if competition is None:
        say(console, f"dry run: {path.name} is valid and was not uploaded")
    else:
        terminal.upload(
            console, competition, path, expected,
            lambda on_wait: pipeline.upload(competition, path, message or path.stem, on_wait),
        )  # fmt: skip


@app.command()
def predict(
    run: opt.RunArgument = None,
    data_dir: opt.DataDir = opt.DATA,
    runs_dir: opt.RunsDir = opt.RUNS,
    submissions_dir: opt.SubmissionsDir = opt.SUBMISSIONS,
) -> None:
    """Write a run's submission file; upload nothing."""
    _predicted(terminal.console(), _find_run(run, runs_dir), data_dir, submissions_dir)


@app.command()
def submissions(
    local: opt.Local = False, submissions_dir: opt.SubmissionsDir = opt.SUBMISSIONS
) -> None:
    """List submissions and scores, here and on Kaggle."""
    from fkd_kaggle import submission, tables

    console = terminal.console()
    remote = None if local else terminal.competition(console).submissions()
    table = tables.submissions(submission.history(submissions_dir), remote)
    console.print(table if table.row_count else "no submissions yet: fkd-kaggle submit")


@app.command()
def leaderboard(rows: opt.Rows = 20) -> None:
    """Show the top of the leaderboard."""
    from fkd_kaggle import tables

    console = terminal.console()
    competition = terminal.competition(console)
    table = tables.leaderboard(competition.leaderboard(rows), competition.user)
    console.print(table if table.row_count else "nobody is on the leaderboard yet")


@app.command()
def practice(
    data: opt.PracticeData = None,
    solution: opt.Solution = None,
    hold_out: opt.HoldOut = None,
    seed: opt.PracticeSeed = 0,
    port: opt.Port = 7777,
    state_dir: opt.StateDir = opt.PRACTICE,
    kernels_at_once: opt.KernelsAtOnce = 2,
    fault: opt.FaultOption = None,
) -> None:
    """Run a practice Kaggle on this machine until Ctrl-C."""
    from fkd_kaggle.practice import server

    console = terminal.console()

    def ready(kaggle: server.PracticeKaggle) -> None:
        variables = dict(kaggle.environment)
        if kaggle.port == server.PORT:
            variables.pop("FKD_PRACTICE_URL")
        settings = " ".join(f"{key}={value}" for key, value in variables.items())
        say(
            console,
            f"practice Kaggle at {kaggle.url}: {kaggle.dataset.about}\n"
            f"use it from another terminal with: export {settings}\n"
            "Ctrl-C ends it, and kernels that run; submissions are kept",
        )

    server.serve(
        data, solution, hold_out, state_dir=state_dir, port=port, faults=fault or (),
        kernels_at_once=kernels_at_once, seed=seed, on_ready=ready,
    )  # fmt: skip


@app.command()
def rehearse(
    recipe: opt.Recipes = None,
    time_limit: opt.TimeLimit = None,
    keep: opt.Keep = None,
    via: opt.ViaOption = None,
    shards: opt.Shards = 1,
    data: opt.PracticeData = None,
    solution: opt.Solution = None,
    hold_out: opt.HoldOut = None,
) -> None:
    """Go the whole way once on this machine, on drawn faces or data of yours."""
    from fkd_kaggle import recipes, rehearsal, tables
    from fkd_kaggle.display import TrainingDisplay
    from fkd_kaggle.kernel.watching import KernelDisplay

    console = terminal.console()
    plan = recipes.plan(recipe or ("smoke",), time_limit=opt.duration(time_limit))
    if via is None and shards > 1:
        raise FkdError("--shards is for kernels: add --via kernel")
    display = TrainingDisplay(console) if via is None else KernelDisplay(console)
    with display:
        result = rehearsal.rehearse(
            plan, keep=keep, on_event=display, tell=lambda line: say(console, line),
            shards=None if via is None else shards,
            served=rehearsal.Served(data, solution, hold_out),
        )  # fmt: skip
    console.print(tables.scores(result.scores))
    if result.leaderboard:
        console.print(tables.leaderboard(result.leaderboard, result.ours.team))
    say(console, result.verdict)
    if keep is not None:
        say(console, f"all of it is in {keep}")
    result.check()


@app.command()
def recipes(name: opt.RecipeArgument = None) -> None:
    """List what can be trained by name, or print one's file."""
    from fkd_kaggle import recipes as shelf
    from fkd_kaggle import tables

    if name is not None:
        typer.echo(shelf.text(name), nl=False)
        return
    terminal.console().print(tables.recipes([shelf.load(name) for name in shelf.names()]))


@app.command()
def runs(runs_dir: opt.RunsDir = opt.RUNS) -> None:
    """List runs with their cross-validated scores."""
    from fkd_kaggle import run as folder
    from fkd_kaggle import tables

    table = tables.runs(folder.all_runs(runs_dir))
    terminal.console().print(table if table.row_count else f"no run in {runs_dir} yet")


cli_photos.mount(app)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"fkd-kaggle {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; a user's error is one line and exit code 2, never a traceback."""
    # TensorFlow's start-up chatter is for its developers; set before anything imports it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Whoever ends a training by SIGTERM (a batch system, docker stop) gets what Ctrl-C gives.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except FkdError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        # A disk or a folder that says no is no bug of ours; what names no file may be one.
        if error.filename is None and error.errno not in _DISK_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}", file=sys.stderr)
        sys.exit(FkdError.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("interrupted", file=sys.stderr)
        raise


def _train(
    run: Run, data_dir: Path, seconds: float | None, workers: int | None, tensorboard: bool
) -> None:
    from fkd_kaggle import ensemble, fleet, report, tables
    from fkd_kaggle.display import TrainingDisplay

    console = terminal.console()
    left = sum(not ensemble.is_finished(run, member) for member in run.plan.members)
    hire = fleet.hire_for(run, data_dir, left, workers=workers, tensorboard=tensorboard)
    with TrainingDisplay(console) as display:
        scores = ensemble.train(
            run, data_dir, time_limit=seconds, on_event=display, tensorboard=tensorboard, hire=hire
        )
    console.print(tables.scores(scores))
    if scores.own:
        console.print(tables.own_scores(scores))
    if run.plan.ensemble.split != "grouped":
        say(
            console,
            "split at random, as its source did: near-duplicates stand on both sides and flatter; "
            "with --folds 5 they do not",
        )
    page = report.write(run, data_dir)
    say(console, f"report: {page}")
    status = _reopened(run).status
    if status != "finished":
        why = "the time limit" if status == "time limit" else "an interruption"
        say(console, f"stopped by {why}; to go on: fkd-kaggle train-ensemble --resume {run.name}")
    say(console, f"next: fkd-kaggle submit {run.name}")
    if status == "interrupted":
        # What was typed after && should not run as if all had been trained.
        raise typer.Exit(INTERRUPTED)


def _predicted(console: Console, run: Run, data_dir: Path, submissions_dir: Path) -> Path:
    from fkd_kaggle import pipeline

    with console.status(f"predicting with {run.name}…") as status:
        path = pipeline.write_submission(
            run, data_dir, submissions_dir,
            lambda done, count: status.update(f"predicting: {done} of {count} networks"),
        )  # fmt: skip
    say(console, f"wrote {path}")
    return path


def _find_run(name: str | None, runs_dir: Path) -> Run:
    """Return a run by name or by path, the newest where there is no name."""
    from fkd_kaggle import run as folder

    return folder.find(name, runs_dir)


def _reopened(run: Run) -> Run:
    """Return the run as its folder says now."""
    return type(run).open(run.path)


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
