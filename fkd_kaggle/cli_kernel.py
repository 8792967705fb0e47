"""The command line's part about kernels: ``fkd-kaggle kernel …`` and ``submit --via kernel``.

Options in, one room called, its result printed, as in ``cli``; nothing heavy is imported early.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fkd_kaggle import options as opt
from fkd_kaggle import terminal
from fkd_kaggle.errors import CompetitionError, RunError
from fkd_kaggle.terminal import INTERRUPTED, say

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.competition import Competition
    from fkd_kaggle.kernel.orders import Order
    from fkd_kaggle.kernel.records import Record

app = typer.Typer(
    name="kernel",
    help="Train on Kaggle's GPUs: build, push, follow and collect kernels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def build(
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
    owner: opt.Owner = None,
    folder: opt.BuildFolder = opt.KERNEL,
) -> None:
    """Write the folder that `kaggle kernels push` takes."""
    from fkd_kaggle.kernel import orders

    console = terminal.console()
    order = make_order(
        recipe, time_limit, folds, epochs, batch_size, seed, precision, accelerator, title, shards
    )
    user = owner or terminal.competition(console).user
    for built in orders.build_folder(order, folder, user, name):
        say(console, f"wrote {built}; push it with: kaggle kernels push -p {built}")
    if shards > 1:
        say(console, "push the last when the others are complete: it blends what they have trained")


@app.command()
def push(
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
    runs_dir: opt.RunsDir = opt.RUNS,
) -> None:
    """Build a kernel and push it, which starts it."""
    from fkd_kaggle.kernel import remote
    from fkd_kaggle.kernel.watching import KernelDisplay

    console = terminal.console()
    order = make_order(
        recipe, time_limit, folds, epochs, batch_size, seed, precision, accelerator, title
    )
    competition = terminal.competition(console)
    _tell_quota(console, competition)
    record = remote.push(competition, order, runs_dir, KernelDisplay(console), name)
    say(console, f"next: fkd-kaggle submit {record.run} --via kernel")


@app.command()
def status(kernel: opt.KernelArgument = None, runs_dir: opt.RunsDir = opt.RUNS) -> None:
    """Say how a kernel is doing."""
    from fkd_kaggle.kernel import remote

    console = terminal.console()
    noted = _noted(runs_dir, kernel)
    competition = terminal.competition(console)
    for record in noted:
        for line in remote.describe(competition, record):
            say(console, line)


@app.command()
def logs(
    kernel: opt.KernelArgument = None,
    follow: opt.Follow = False,
    runs_dir: opt.RunsDir = opt.RUNS,
) -> None:
    """Print what a kernel has printed; with --follow, until it ends."""
    from fkd_kaggle.kernel import remote
    from fkd_kaggle.kernel.watching import KernelDisplay

    console = terminal.console()
    noted = _noted(runs_dir, kernel)
    competition = terminal.competition(console)
    if follow:
        with _going_on(console, runs_dir), KernelDisplay(console) as display:
            remote.follow(competition, noted, runs_dir, display)
        return
    for record in noted:
        lines = [line.text.rstrip("\n") for line in competition.kernel_logs(record.kernel)]
        # Kaggle stores a log when its kernel ends.
        for line in lines or [f"no log of {record.kernel} is stored yet: add --follow"]:
            say(console, line)


@app.command()
def output(
    kernel: opt.KernelArgument = None,
    folder: opt.OutputFolder = None,
    data_dir: opt.DataDir = opt.DATA,
    runs_dir: opt.RunsDir = opt.RUNS,
    submissions_dir: opt.SubmissionsDir = opt.SUBMISSIONS,
) -> None:
    """Fetch what an ended kernel left: the run, the submission, the log."""
    from fkd_kaggle.kernel import collecting, remote

    console = terminal.console()
    record = _noted(runs_dir, kernel)[-1]
    competition = terminal.competition(console)
    if folder is not None:
        for path in competition.kernel_output(record.kernel, folder):
            say(console, f"wrote {path}")
        return
    remote.check_ended(competition, record)
    collected = collecting.collect(competition, record, runs_dir)
    _ensure_data(console, competition, data_dir)
    path = collecting.adopt(collected, runs_dir, data_dir, submissions_dir)
    for what in (collected.run.path, path, collected.log):
        say(console, f"wrote {what}")
    say(console, f"next: fkd-kaggle submit {record.run} --via kernel")


@app.command()
def stop(kernel: opt.KernelArgument = None, runs_dir: opt.RunsDir = opt.RUNS) -> None:
    """Stop a running kernel, or say where that can be done."""
    console = terminal.console()
    for record in _noted(runs_dir, kernel):
        terminal.competition(console).kernel_stop(record.kernel)
        say(console, f"stopped {record.kernel}")


# --- submit --via kernel --------------------------------------------------------------------------


def submit(
    run: str | None,
    order: Order,
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
    from fkd_kaggle.kernel import collecting, remote
    from fkd_kaggle.kernel.orders import Order
    from fkd_kaggle.kernel.watching import KernelDisplay

    console = terminal.console()
    if run is not None:
        record = _noted(runs_dir, run)[-1]
        if record.state == "submitted":
            raise RunError(
                f"run {record.run} was submitted as {record.submission} already, see `fkd-kaggle "
                f"submissions`; `fkd-kaggle submit {record.run}` predicts and submits again"
            )
        order, name = Order.from_dict(record.order), record.run
    competition = terminal.competition(console)
    _ensure_data(console, competition, data_dir)
    _tell_quota(console, competition)
    with _going_on(console, runs_dir):
        with KernelDisplay(console) as display:
            collected = remote.train(competition, order, runs_dir, display, run_name=name)
        path = collecting.adopt(collected, runs_dir, data_dir, submissions_dir)
        for what in (collected.run.path, collected.log, path):
            say(console, f"wrote {what}")
        if dry_run:
            say(console, f"dry run: {path.name} is valid and was not submitted")
            return
        terminal.upload(
            console, competition, path, collected.expected,
            lambda on_wait: collecting.submit(
                competition, collected, path, runs_dir, message or path.stem, on_wait
            ),
        )  # fmt: skip


def make_order(
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
) -> Order:
    """Return what the options order."""
    from fkd_kaggle import recipes
    from fkd_kaggle.kernel import orders

    plan = recipes.plan(
        recipe or (orders.RECIPE,), folds=folds, epochs=epochs, batch_size=batch_size, seed=seed,
        precision=precision or "auto", time_limit=opt.duration(time_limit),
    )  # fmt: skip
    return orders.Order(plan, shards, accelerator or orders.ACCELERATOR, title)


def _noted(runs_dir: Path, name: str | None) -> list[Record]:
    """Return what was pushed under a name to the Kaggle that we talk to."""
    from fkd_kaggle import kaggle_client
    from fkd_kaggle.kernel import records

    practice = kaggle_client.practice_url() is not None
    return records.find(runs_dir, name, practice=practice)


def _ensure_data(console: Console, competition: Competition, data_dir: Path) -> None:
    """Fetch the competition's files where they are missing: submissions are checked by them.

    Before anything is pushed, since it also shows whether the rules are accepted.
    """
    from fkd_kaggle import pipeline

    if not pipeline.is_fetched(data_dir):
        say(console, f"fetching the competition's files to {data_dir}: answers are checked by them")
        pipeline.fetch(competition, data_dir)


def _tell_quota(console: Console, competition: Competition) -> None:
    # Worth knowing, not worth failing for.
    with suppress(CompetitionError):
        hours = competition.gpu_hours_left()
        if hours is not None:
            say(console, f"GPU hours left this week: {hours:.1f}")


@contextmanager
def _going_on(console: Console, runs_dir: Path) -> Iterator[None]:
    """Say after Ctrl-C what goes on without us, and how to come back to it."""
    from fkd_kaggle.kernel import records

    try:
        yield
    except KeyboardInterrupt:
        under_way = [one for one in records.read_all(runs_dir) if one.state in records.OPEN]
        running = [one for one in under_way if one.state == "pushed"]
        if running:
            newest = running[-1]
            say(
                console,
                f"kernel {newest.kernel} goes on running on Kaggle"
                f"{', and so does its GPU time' if newest.gpu else ''}; to stop it: "
                f"{newest.url or 'fkd-kaggle kernel stop'}",
            )
        if under_way:
            again = (running or under_way)[-1].run
            say(console, f"to go on from here: fkd-kaggle submit {again} --via kernel")
        raise typer.Exit(INTERRUPTED) from None
