"""The commands for Kaggle kernels: ``kernel …``, and ``submit --via kernel``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fkd_kaggle.cli import connection, options
from fkd_kaggle.display.console import INTERRUPTED, make_console, print_line
from fkd_kaggle.errors import CompetitionError, FkdError, KernelError, RunError, TrainingFailedError
from fkd_kaggle.formatting import format_duration

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.kaggle_api.competition import Competition
    from fkd_kaggle.kernel.collect import CollectedRun
    from fkd_kaggle.kernel.job import KernelJob
    from fkd_kaggle.kernel.records import KernelRecord
    from fkd_kaggle.recipes.plans import TrainingOptions
    from fkd_kaggle.runs.folder import Run

KERNEL: Final = Path("kernel")


def complete_kernel(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the runs with pushed kernels that start with ``incomplete``."""
    from fkd_kaggle.kernel import records

    found = records.read_records(Path(context.params.get("runs_dir") or options.RUNS))
    names = dict.fromkeys(record.run for record in found)
    return [name for name in names if name.startswith(incomplete)]


Accelerator = Annotated[
    str | None,
    typer.Option(
        "--accelerator",
        metavar="NAME",
        help="Kaggle's name of the machine: NvidiaTeslaT4 (two T4, the default), None for no GPU, "
        "or a GPU of certain competitions, such as NvidiaL4 or NvidiaH100. TPUs cannot be used.",
    ),
]

Title = Annotated[
    str | None,
    typer.Option(
        "--title",
        metavar="TEXT",
        help="Title of the kernel on Kaggle, from which Kaggle makes its address; default: from "
        "the name of the run.",
    ),
]

SessionLimit = Annotated[
    str | None,
    typer.Option(
        "--session-limit",
        metavar="TIME",
        help="Time after which Kaggle may end the session, such as 12h; the training ends before. "
        "Default: 9h.",
    ),
]

Notebook = Annotated[
    bool,
    typer.Option(
        "--notebook", help="Build a notebook with explanations and figures instead of a script."
    ),
]

Owner = Annotated[
    str | None,
    typer.Option("--owner", metavar="USER", help="Kaggle user who owns the kernel; default: you."),
]

BuildFolder = Annotated[
    Path, typer.Option("--folder", metavar="FOLDER", help="Folder to write the kernel to.")
]

OutputFolder = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="FOLDER", help="Only download the files, unchanged, to this folder."
    ),
]

Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Continue to print until the kernel ends.")
]

KernelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="KERNEL",
        autocompletion=complete_kernel,
        show_default=False,
        help="Run or kernel that was pushed from here; default: the newest. NAME/2 is version 2.",
    ),
]

app = typer.Typer(
    name="kernel",
    help="Train on Kaggle's GPUs: build, push, follow and collect kernels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@dataclass(frozen=True)
class Folders:
    """The folders that a command reads and writes."""

    data: Path
    runs: Path
    submissions: Path


@app.command()
@options.with_training_options
def build(
    training: TrainingOptions,
    name: options.RunName = None,
    accelerator: Accelerator = None,
    title: Title = None,
    shards: options.Shards = 1,
    session_limit: SessionLimit = None,
    notebook: Notebook = False,
    corrections: options.Corrections = None,
    owner: Owner = None,
    folder: BuildFolder = KERNEL,
    data_dir: options.DataDir = options.DATA,
) -> None:
    """Write a folder for `kaggle kernels push`."""
    from fkd_kaggle.kernel.build import build_job_folder
    from fkd_kaggle.kernel.push import session_timeout

    console = make_console()
    job = make_job(
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
    accelerator: Accelerator = None,
    title: Title = None,
    session_limit: SessionLimit = None,
    notebook: Notebook = False,
    corrections: options.Corrections = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Build a kernel and push it, which starts it."""
    from fkd_kaggle.kernel.live_display import KernelDisplay
    from fkd_kaggle.kernel.training import push_without_waiting

    console = make_console()
    job = make_job(
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
    _print_gpu_quota(console, competition)
    record = push_without_waiting(competition, job, runs_dir, KernelDisplay(console), name)
    print_line(console, f"next: fkd-kaggle submit {record.run} --via kernel")


@app.command()
def status(kernel: KernelArgument = None, runs_dir: options.RunsDir = options.RUNS) -> None:
    """Print the state of a kernel."""
    from fkd_kaggle.kernel.training import describe_kernel

    console = make_console()
    found = _find_records(runs_dir, kernel)
    competition = connection.connect_competition(console)
    for record in found:
        for line in describe_kernel(competition, record):
            print_line(console, line)


@app.command()
def logs(
    kernel: KernelArgument = None,
    follow: Follow = False,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Print the log of a kernel; with --follow, until the kernel ends."""
    from fkd_kaggle.kernel.live_display import KernelDisplay
    from fkd_kaggle.kernel.training import follow_to_end

    console = make_console()
    found = _find_records(runs_dir, kernel)
    competition = connection.connect_competition(console)
    if follow and all(record.is_newest for record in found):
        with _explain_interruption(console, runs_dir), KernelDisplay(console) as display:
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
    kernel: KernelArgument = None,
    folder: OutputFolder = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """Download the run, the submission and the log of a finished kernel."""
    from fkd_kaggle.kernel.collect import collect_output
    from fkd_kaggle.kernel.training import check_succeeded

    console = make_console()
    record = _find_records(runs_dir, kernel)[-1]
    competition = connection.connect_competition(console)
    if folder is not None:
        for path in competition.kernel_output(record.kernel, folder, record.version):
            print_line(console, f"wrote {path}")
        return
    if not record.is_newest:
        raise KernelError(
            f"version {record.version} of {record.kernel} is not the newest that was pushed from "
            "here: download its files, unchanged, with --folder FOLDER"
        )
    check_succeeded(competition, record)
    collected = collect_output(competition, record, runs_dir)
    _ensure_data(console, competition, data_dir)
    _adopt_submission(console, collected, Folders(data_dir, runs_dir, submissions_dir))
    _check_failures(collected.run)
    print_line(console, f"next: fkd-kaggle submit {record.run} --via kernel")


@app.command()
def stop(kernel: KernelArgument = None, runs_dir: options.RunsDir = options.RUNS) -> None:
    """Stop the running kernels of a run, or print the pages on which they can be stopped."""
    console = make_console()
    found = _find_records(runs_dir, kernel)
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


def submit(
    run: str | None,
    job: KernelJob,
    name: str | None,
    message: str | None,
    dry_run: bool,
    folders: Folders,
    *,
    yes: bool = False,
) -> None:
    """Train a job on Kaggle, or follow it if it was pushed before, and submit its predictions.

    Parameters
    ----------
    run
        Name of a run that was pushed before; its own job replaces ``job``. None for a new run.
    job
        The training.
    name
        Name of the new run; None for a name made from the recipes.
    message
        Description of the submission; None for the name of its file.
    dry_run
        Check the submission without submitting it.
    folders
        Folders of data, runs and submissions.
    yes
        Submit without asking, whatever the result.
    """
    from fkd_kaggle.kernel.collect import submit_collected
    from fkd_kaggle.kernel.live_display import KernelDisplay
    from fkd_kaggle.kernel.training import train_on_kaggle

    console = make_console()
    if run is not None:
        job, name = _pushed_job(run, folders.runs)
    competition = connection.connect_competition(console)
    _ensure_data(console, competition, folders.data)
    _print_gpu_quota(console, competition)
    with _explain_interruption(console, folders.runs):
        with KernelDisplay(console) as display:
            collected = train_on_kaggle(competition, job, folders.runs, display, run_name=name)
        path = _adopt_submission(console, collected, folders)
        _check_failures(collected.run)
        if dry_run:
            print_line(console, f"dry run: {path.name} is valid and was not submitted")
            return
        connection.upload_and_report(
            console,
            competition,
            path,
            collected.expected,
            lambda on_wait: submit_collected(
                competition, collected, path, folders.runs, message or path.stem, on_wait
            ),
            yes=yes,
        )


def make_job(
    training: TrainingOptions,
    accelerator: str | None,
    title: str | None,
    shards: int = 1,
    session_limit: str | None = None,
    *,
    notebook: bool = False,
    corrections: Path | None = None,
    data_dir: Path = options.DATA,
) -> KernelJob:
    """Return the training that the options describe, as a job for Kaggle.

    Parameters
    ----------
    training
        Training options; without a recipe, the kernels' default recipe is trained.
    accelerator
        Kaggle's name of the machine; None for the default.
    title
        Title of the kernel; None for a title made from the name of the run.
    shards
        Number of kernels that share the training.
    session_limit
        Time after which Kaggle may end a session, as text; None for the default.
    notebook
        Whether the kernels are notebooks instead of scripts.
    corrections
        corrections.csv to train with, checked against training.csv; None for none.
    data_dir
        Folder of the competition's files; read only with ``corrections``.

    Raises
    ------
    DataError
        The corrections do not fit training.csv, or training.csv is missing.
    RecipeError
        A recipe is unknown or an option is invalid.
    KernelError
        The accelerator cannot be used, or the session limit is out of range.
    """
    from fkd_kaggle.kernel import job, machines
    from fkd_kaggle.kernel.training import read_corrections_text

    console = make_console()
    machine = accelerator or machines.ACCELERATOR
    warning = machines.check_accelerator(machine)
    if warning:
        print_line(console, f"warning: {warning}")
    limit = options.parse_duration(session_limit, "--session-limit") or job.SESSION_LIMIT
    job.check_session_limit(limit)
    plan = options.plan_from(training, default=job.RECIPE)
    text = "" if corrections is None else read_corrections_text(corrections, data_dir)
    made = job.KernelJob(plan, shards, machine, title, limit, notebook, text)
    if plan.time_limit is not None and plan.time_limit > job.training_time(limit):
        print_line(
            console,
            f"warning: a session is planned for {format_duration(limit)}, so the training ends "
            f"after {format_duration(job.training_time(limit))}; see --session-limit",
        )
    return made


def _pushed_job(run: str, runs_dir: Path) -> tuple[KernelJob, str]:
    """Return the job and the name of a run that was pushed before.

    Raises
    ------
    RunError
        The run was submitted already.
    """
    record = _find_records(runs_dir, run)[-1]
    if record.state == "submitted":
        raise RunError(
            f"run {record.run} was submitted as {record.submission} already, see `fkd-kaggle "
            f"submissions`; `fkd-kaggle submit {record.run}` predicts and submits again"
        )
    return record.job, record.run


def _find_records(runs_dir: Path, name: str | None) -> list[KernelRecord]:
    """Return the records of the kernels pushed for a run, to Kaggle or to the practice Kaggle."""
    from fkd_kaggle.kaggle_api import endpoint
    from fkd_kaggle.kernel import records

    practice = endpoint.practice_url() is not None
    return records.find_records(runs_dir, name, practice=practice)


def _adopt_submission(console: Console, collected: CollectedRun, folders: Folders) -> Path:
    """Check the submission of a collected run, copy it to the submissions and return its path."""
    from fkd_kaggle.kernel import collect

    path = collect.adopt_submission(collected, folders.runs, folders.data, folders.submissions)
    for written in (collected.run.path, collected.log, path):
        print_line(console, f"wrote {written}")
    _write_report(console, collected.run, folders)
    return path


def _check_failures(run: Run) -> None:
    """Check that all networks of a collected run were trained; submit none of a part silently.

    Raises
    ------
    TrainingFailedError
        Networks could not be trained; the message names them.
    """
    if run.status != "failures":
        return
    failures = run.failures
    missing = [one.name for one in run.plan.members if not run.member_folder(one.name).is_dir()]
    names = [f"{name} ({reason})" for name, reason in failures.items()]
    names += [name for name in missing if name not in failures]
    raise TrainingFailedError(
        f"networks of the kernel could not be trained: {', '.join(names) or 'see its log'}; "
        f"`fkd-kaggle submit {run.name}` submits the blend of the others, `fkd-kaggle "
        f"train-ensemble --resume {run.name}` trains the missing ones on this machine"
    )


def _write_report(console: Console, run: Run, folders: Folders) -> None:
    """Write the page of a collected run, unless an interrupted call has written it.

    A kernel carries no scripts for the page. A failure is printed: the submission goes on.
    """
    from fkd_kaggle.report.run import PAGE, write_run_page

    page = run.path / PAGE
    try:
        if not page.exists():
            page = write_run_page(run, folders.data, folders.submissions)
    except FkdError as error:
        print_line(console, f"no report: {error}")
    else:
        print_line(console, f"report: {page}")


def _ensure_data(console: Console, competition: Competition, data_dir: Path) -> None:
    """Fetch the competition's files, which submissions are checked against, if they are missing.

    Called before a kernel is pushed, because it also shows whether the rules are accepted.
    """
    from fkd_kaggle import pipeline

    if not pipeline.is_fetched(data_dir):
        print_line(
            console,
            f"fetching the competition's files to {data_dir}, to check the submission with them",
        )
        pipeline.fetch_data(competition, data_dir)


def _print_gpu_quota(console: Console, competition: Competition) -> None:
    """Print the GPU hours left this week, if Kaggle tells them."""
    with suppress(CompetitionError):
        hours = competition.gpu_hours_left()
        if hours is not None:
            print_line(console, f"GPU hours left this week: {hours:.1f}")


@contextmanager
def _explain_interruption(console: Console, runs_dir: Path) -> Iterator[None]:
    """After Ctrl-C, print which kernels continue to run and how to follow or stop them."""
    from fkd_kaggle.kernel import records

    try:
        yield
    except KeyboardInterrupt:
        unfinished = [
            record for record in records.read_records(runs_dir) if record.state in records.OPEN
        ]
        running = [record for record in unfinished if record.state == "pushed"]
        if running:
            newest = running[-1]
            print_line(
                console,
                f"kernel {newest.kernel} continues to run on Kaggle"
                f"{' and to use GPU time' if newest.uses_gpu else ''}; to stop it: "
                f"{newest.url or 'fkd-kaggle kernel stop'}",
            )
        if unfinished:
            name = (running or unfinished)[-1].run
            print_line(console, f"to continue: fkd-kaggle submit {name} --via kernel")
        raise typer.Exit(INTERRUPTED) from None
