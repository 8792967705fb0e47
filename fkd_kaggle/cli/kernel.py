"""The commands for Kaggle kernels: ``kernel …``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import typer

from fkd_kaggle.cli import connection, kernel_options, kernel_submission, options
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.errors import CompetitionError, KernelError

if TYPE_CHECKING:
    from fkd_kaggle.recipes.plans import TrainingOptions

app = typer.Typer(
    name="kernel",
    help="Train on Kaggle's GPUs: build, push, follow and collect kernels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
@options.with_training_options
def build(
    training: TrainingOptions,
    name: options.RunName = None,
    accelerator: kernel_options.Accelerator = None,
    title: kernel_options.Title = None,
    shards: options.Shards = 1,
    session_limit: kernel_options.SessionLimit = None,
    notebook: kernel_options.Notebook = False,
    corrections: options.Corrections = None,
    owner: kernel_options.Owner = None,
    folder: kernel_options.BuildFolder = kernel_options.KERNEL,
    data_dir: options.DataDir = options.DATA,
) -> None:
    """Write a folder for `kaggle kernels push`."""
    from fkd_kaggle.kernel.build import build_job_folder
    from fkd_kaggle.kernel.push import session_timeout

    console = make_console()
    job = kernel_options.make_job(
        training,
        accelerator,
        title,
        shards,
        session_limit,
        notebook=notebook,
        corrections=corrections,
        data_dir=data_dir,
    )
    user = owner or connection.connect_competition(console).user
    # The API cannot stop a session, so a push should have a timeout.
    seconds = session_timeout(job)
    for built in build_job_folder(job, folder, user, name):
        command = f"kaggle kernels push -p {shlex.quote(str(built))} -t {seconds}"
        print_line(console, f"wrote {built}; push it with: {command}")
    if shards > 1:
        print_line(
            console, "push the last folder when the other kernels are complete: it blends them"
        )


@app.command()
@options.with_training_options
def push(
    training: TrainingOptions,
    name: options.RunName = None,
    accelerator: kernel_options.Accelerator = None,
    title: kernel_options.Title = None,
    session_limit: kernel_options.SessionLimit = None,
    notebook: kernel_options.Notebook = False,
    corrections: options.Corrections = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Build a kernel and push it, which starts it."""
    from fkd_kaggle.kernel.live_display import KernelDisplay
    from fkd_kaggle.kernel.training import push_without_waiting

    console = make_console()
    job = kernel_options.make_job(
        training,
        accelerator,
        title,
        1,
        session_limit,
        notebook=notebook,
        corrections=corrections,
        data_dir=data_dir,
    )
    competition = connection.connect_competition(console)
    kernel_submission.print_gpu_quota(console, competition)
    record = push_without_waiting(competition, job, runs_dir, KernelDisplay(console), name)
    print_line(console, f"next: fkd-kaggle submit {record.run} --via kernel")


@app.command()
def status(
    kernel: kernel_options.KernelArgument = None, runs_dir: options.RunsDir = options.RUNS
) -> None:
    """Print the state of a kernel."""
    from fkd_kaggle.kernel.training import describe_kernel

    console = make_console()
    found = kernel_submission.find_records(runs_dir, kernel)
    competition = connection.connect_competition(console)
    for record in found:
        for line in describe_kernel(competition, record):
            print_line(console, line)


@app.command()
def logs(
    kernel: kernel_options.KernelArgument = None,
    follow: kernel_options.Follow = False,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Print the log of a kernel; with --follow, until the kernel ends."""
    from fkd_kaggle.kernel.live_display import KernelDisplay
    from fkd_kaggle.kernel.training import follow_to_end

    console = make_console()
    found = kernel_submission.find_records(runs_dir, kernel)
    competition = connection.connect_competition(console)
    if follow and all(record.is_newest for record in found):
        with (
            kernel_submission.explain_interruption(console, runs_dir, found[-1].run),
            KernelDisplay(console) as display,
        ):
            follow_to_end(competition, found, runs_dir, display)
        return
    for record in found:
        log = competition.kernel_logs(record.kernel, record.version, follow=follow)
        lines = [line.text.rstrip("\n") for line in log]
        # Kaggle stores a log when its kernel ends.
        for line in lines or [f"no log of {record.kernel} is stored yet: add --follow"]:
            print_line(console, line)


@app.command()
def output(
    kernel: kernel_options.KernelArgument = None,
    folder: kernel_options.OutputFolder = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """Download the run, the submission and the log of a finished kernel."""
    from fkd_kaggle.kernel.collect import collect_output
    from fkd_kaggle.kernel.training import check_succeeded

    console = make_console()
    record = kernel_submission.find_records(runs_dir, kernel)[-1]
    competition = connection.connect_competition(console)
    if folder is not None:
        paths = competition.kernel_output(record.kernel, folder, record.version)
        if not paths:
            check_succeeded(competition, record)
        for path in paths:
            print_line(console, f"wrote {path}")
        return
    if record.shard is not None:
        raise KernelError(
            f"{record.kernel} trained shard {record.shard + 1} of {record.shards}: `fkd-kaggle "
            f"submit {record.run} --via kernel` blends them; --folder FOLDER downloads its files"
        )
    if not record.is_newest:
        raise KernelError(
            f"version {record.version} of {record.kernel} is not the newest that was pushed from "
            "here: download its files, unchanged, with --folder FOLDER"
        )
    check_succeeded(competition, record)
    collected = collect_output(competition, record, runs_dir)
    kernel_submission.ensure_data(console, competition, data_dir)
    kernel_submission.adopt_submission(
        console, collected, kernel_submission.Folders(data_dir, runs_dir, submissions_dir)
    )
    kernel_submission.check_failures(collected.run)
    print_line(console, f"next: fkd-kaggle submit {record.run} --via kernel")


@app.command()
def stop(
    kernel: kernel_options.KernelArgument = None, runs_dir: options.RunsDir = options.RUNS
) -> None:
    """Stop the running kernels of a run, or print the pages on which they can be stopped."""
    console = make_console()
    found = kernel_submission.find_records(runs_dir, kernel)
    competition = connection.connect_competition(console)
    problems = []
    for record in [one for one in found if one.state in ("pushing", "pushed")] or found:
        try:
            competition.kernel_stop(record.kernel)
        except CompetitionError as error:
            problems.append(error)
        else:
            print_line(console, f"stopped {record.kernel}")
    for problem in problems[:-1]:
        print_line(console, str(problem))
    if problems:
        raise problems[-1]
