"""The command line's part about kernels: ``fkd-kaggle kernel …`` and ``submit --via kernel``.

Options in, one room called, its result printed, as in ``cli``; nothing heavy is imported early.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fkd_kaggle.cli import connection, options
from fkd_kaggle.display.console import INTERRUPTED, make_console, print_line
from fkd_kaggle.errors import CompetitionError, RunError

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.kaggle_api.competition import Competition
    from fkd_kaggle.kernel.job import KernelJob
    from fkd_kaggle.kernel.records import KernelRecord

app = typer.Typer(
    name="kernel",
    help="Train on Kaggle's GPUs: build, push, follow and collect kernels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def build(
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
    owner: options.Owner = None,
    folder: options.BuildFolder = options.KERNEL,
) -> None:
    """Write the folder that `kaggle kernels push` takes."""
    from fkd_kaggle.kernel.build import build_job_folder

    console = make_console()
    order = make_job(
        recipe, time_limit, folds, epochs, batch_size, seed, precision, accelerator, title, shards
    )
    user = owner or connection.connect_competition(console).user
    for built in build_job_folder(order, folder, user, name):
        print_line(console, f"wrote {built}; push it with: kaggle kernels push -p {built}")
    if shards > 1:
        print_line(
            console, "push the last when the others are complete: it blends what they have trained"
        )


@app.command()
def push(
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
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Build a kernel and push it, which starts it."""
    from fkd_kaggle.kernel import training
    from fkd_kaggle.kernel.live_display import KernelDisplay

    console = make_console()
    order = make_job(
        recipe, time_limit, folds, epochs, batch_size, seed, precision, accelerator, title
    )
    competition = connection.connect_competition(console)
    _tell_quota(console, competition)
    record = training.push_without_waiting(
        competition, order, runs_dir, KernelDisplay(console), name
    )
    print_line(console, f"next: fkd-kaggle submit {record.run} --via kernel")


@app.command()
def status(kernel: options.KernelArgument = None, runs_dir: options.RunsDir = options.RUNS) -> None:
    """Say how a kernel is doing."""
    from fkd_kaggle.kernel import training

    console = make_console()
    noted = _find_records(runs_dir, kernel)
    competition = connection.connect_competition(console)
    for record in noted:
        for line in training.describe_kernel(competition, record):
            print_line(console, line)


@app.command()
def logs(
    kernel: options.KernelArgument = None,
    follow: options.Follow = False,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Print what a kernel has printed; with --follow, until it ends."""
    from fkd_kaggle.kernel import training
    from fkd_kaggle.kernel.live_display import KernelDisplay

    console = make_console()
    noted = _find_records(runs_dir, kernel)
    competition = connection.connect_competition(console)
    if follow:
        with _explain_interruption(console, runs_dir), KernelDisplay(console) as display:
            training.follow_to_end(competition, noted, runs_dir, display)
        return
    for record in noted:
        lines = [line.text.rstrip("\n") for line in competition.kernel_logs(record.kernel)]
        # Kaggle stores a log when its kernel ends.
        for line in lines or [f"no log of {record.kernel} is stored yet: add --follow"]:
            print_line(console, line)


@app.command()
def output(
    kernel: options.KernelArgument = None,
    folder: options.OutputFolder = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """Fetch what an ended kernel left: the run, the submission, the log."""
    from fkd_kaggle.kernel import collect, training

    console = make_console()
    record = _find_records(runs_dir, kernel)[-1]
    competition = connection.connect_competition(console)
    if folder is not None:
        for path in competition.kernel_output(record.kernel, folder):
            print_line(console, f"wrote {path}")
        return
    training.check_succeeded(competition, record)
    collected = collect.collect_output(competition, record, runs_dir)
    _ensure_data(console, competition, data_dir)
    path = collect.adopt_submission(collected, runs_dir, data_dir, submissions_dir)
    for what in (collected.run.path, path, collected.log):
        print_line(console, f"wrote {what}")
    print_line(console, f"next: fkd-kaggle submit {record.run} --via kernel")


@app.command()
def stop(kernel: options.KernelArgument = None, runs_dir: options.RunsDir = options.RUNS) -> None:
    """Stop a running kernel, or say where that can be done."""
    console = make_console()
    for record in _find_records(runs_dir, kernel):
        connection.connect_competition(console).kernel_stop(record.kernel)
        print_line(console, f"stopped {record.kernel}")


def submit(
    run: str | None,
    order: KernelJob,
    name: str | None,
    message: str | None,
    dry_run: bool,
    data_dir: Path,
    runs_dir: Path,
    submissions_dir: Path,
) -> None:
    """Have an order trained on Kaggle, or taken up where it is, and submit what comes of it.

    ``run`` names one that was pushed before; its own order counts then.
    """
    from fkd_kaggle.kernel import collect, training
    from fkd_kaggle.kernel.job import KernelJob
    from fkd_kaggle.kernel.live_display import KernelDisplay

    console = make_console()
    if run is not None:
        record = _find_records(runs_dir, run)[-1]
        if record.state == "submitted":
            raise RunError(
                f"run {record.run} was submitted as {record.submission} already, see `fkd-kaggle "
                f"submissions`; `fkd-kaggle submit {record.run}` predicts and submits again"
            )
        order, name = KernelJob.from_dict(record.order), record.run
    competition = connection.connect_competition(console)
    _ensure_data(console, competition, data_dir)
    _tell_quota(console, competition)
    with _explain_interruption(console, runs_dir):
        with KernelDisplay(console) as display:
            collected = training.train_on_kaggle(
                competition, order, runs_dir, display, run_name=name
            )
        path = collect.adopt_submission(collected, runs_dir, data_dir, submissions_dir)
        for what in (collected.run.path, collected.log, path):
            print_line(console, f"wrote {what}")
        if dry_run:
            print_line(console, f"dry run: {path.name} is valid and was not submitted")
            return
        connection.upload_and_report(
            console, competition, path, collected.expected,
            lambda on_wait: collect.submit_collected(
                competition, collected, path, runs_dir, message or path.stem, on_wait
            ),
        )  # fmt: skip


def make_job(
    recipe: list[str] | None,
    time_limit: str | None,
    folds: int | None,
    epochs: int | None,
    batch_size: int | None,
    seed: int | None,
    precision: str | None,
    accelerator: str | None,
    title: str | None,
    shards: int = 1,
) -> KernelJob:
    """Return what the options order."""
    from fkd_kaggle.kernel import job
    from fkd_kaggle.recipes import plans

    plan = plans.make_plan(
        recipe or (job.RECIPE,), folds=folds, epochs=epochs, batch_size=batch_size, seed=seed,
        precision=precision or "auto", time_limit=options.duration(time_limit),
    )  # fmt: skip
    return job.KernelJob(plan, shards, accelerator or job.ACCELERATOR, title)


def _find_records(runs_dir: Path, name: str | None) -> list[KernelRecord]:
    """Return what was pushed under a name to the Kaggle that we talk to."""
    from fkd_kaggle.kaggle_api import client
    from fkd_kaggle.kernel import records

    practice = client.practice_url() is not None
    return records.find_records(runs_dir, name, practice=practice)


def _ensure_data(console: Console, competition: Competition, data_dir: Path) -> None:
    """Fetch the competition's files where they are missing: submissions are checked by them.

    Before anything is pushed, since it also shows whether the rules are accepted.
    """
    from fkd_kaggle import pipeline

    if not pipeline.is_fetched(data_dir):
        print_line(
            console, f"fetching the competition's files to {data_dir}: answers are checked by them"
        )
        pipeline.fetch_data(competition, data_dir)


def _tell_quota(console: Console, competition: Competition) -> None:
    # Worth knowing, not worth failing for.
    with suppress(CompetitionError):
        hours = competition.gpu_hours_left()
        if hours is not None:
            print_line(console, f"GPU hours left this week: {hours:.1f}")


@contextmanager
def _explain_interruption(console: Console, runs_dir: Path) -> Iterator[None]:
    """Say after Ctrl-C what goes on without us, and how to come back to it."""
    from fkd_kaggle.kernel import records

    try:
        yield
    except KeyboardInterrupt:
        under_way = [one for one in records.read_records(runs_dir) if one.state in records.OPEN]
        running = [one for one in under_way if one.state == "pushed"]
        if running:
            newest = running[-1]
            print_line(
                console,
                f"kernel {newest.kernel} goes on running on Kaggle"
                f"{', and so does its GPU time' if newest.gpu else ''}; to stop it: "
                f"{newest.url or 'fkd-kaggle kernel stop'}",
            )
        if under_way:
            again = (running or under_way)[-1].run
            print_line(console, f"to go on from here: fkd-kaggle submit {again} --via kernel")
        raise typer.Exit(INTERRUPTED) from None
