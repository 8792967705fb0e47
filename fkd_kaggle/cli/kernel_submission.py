"""``submit --via kernel``, and the steps that it shares with the commands ``kernel …``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fkd_kaggle.cli import connection
from fkd_kaggle.display.console import INTERRUPTED, make_console, print_line
from fkd_kaggle.errors import CompetitionError, FkdError, RunError, TrainingFailedError

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.kaggle_api.competition import Competition
    from fkd_kaggle.kernel.collect import CollectedRun
    from fkd_kaggle.kernel.job import KernelJob
    from fkd_kaggle.kernel.records import KernelRecord
    from fkd_kaggle.runs.folder import Run


@dataclass(frozen=True)
class Folders:
    """The folders that a command reads and writes."""

    data: Path
    runs: Path
    submissions: Path


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
        Check the submission without submitting it. The kernel is trained all the same, and uses
        GPU time.
    folders
        Folders of data, runs and submissions.
    yes
        Submit without asking, whatever the result.

    Raises
    ------
    KernelError
        The run was never pushed, or a kernel cannot be built or pushed, fails, or leaves no
        submission.
    CompetitionError
        Kaggle refuses or cannot be reached.
    DataError, SubmissionError
        A file of the competition or the submission is damaged or invalid.
    RunError
        The run was submitted before, or another run has the given name.
    TrainingFailedError
        Networks could not be trained; nothing is submitted.
    typer.Exit
        The user pressed Ctrl-C; the kernels that continue to run are printed.
    """
    from fkd_kaggle.kernel.collect import submit_collected
    from fkd_kaggle.kernel.live_display import KernelDisplay
    from fkd_kaggle.kernel.training import train_on_kaggle

    console = make_console()
    if run is not None:
        job, name = _pushed_job(run, folders.runs)
    competition = connection.connect_competition(console)
    ensure_data(console, competition, folders.data)
    print_gpu_quota(console, competition)
    with explain_interruption(console, folders.runs, name, job):
        with KernelDisplay(console) as display:
            collected = train_on_kaggle(competition, job, folders.runs, display, run_name=name)
        path = adopt_submission(console, collected, folders)
        check_failures(collected.run)
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
            folders.submissions,
            yes=yes,
        )


def find_records(runs_dir: Path, name: str | None) -> list[KernelRecord]:
    """Return the records of the kernels pushed for a run, to Kaggle or to the practice Kaggle.

    Parameters
    ----------
    runs_dir
        Folder of the runs, which contains the records.
    name
        Run or kernel; None for the newest.

    Raises
    ------
    KernelError
        Nothing was pushed from here, or the name is unknown.
    """
    from fkd_kaggle.kaggle_api import endpoint
    from fkd_kaggle.kernel import records

    practice = endpoint.practice_url() is not None
    return records.find_records(runs_dir, name, practice=practice)


def adopt_submission(console: Console, collected: CollectedRun, folders: Folders) -> Path:
    """Check the submission of a collected run, copy it to the submissions and return its path.

    Parameters
    ----------
    console
        Where the written files are named.
    collected
        The run and its submission.
    folders
        Folders of data, runs and submissions.

    Raises
    ------
    FkdError
        The submission is missing or invalid.
    """
    from fkd_kaggle.kernel import collect

    path = collect.adopt_submission(collected, folders.runs, folders.data, folders.submissions)
    for written in (collected.run.path, collected.log, path):
        print_line(console, f"wrote {written}")
    _write_report(console, collected.run, folders)
    return path


def check_failures(run: Run) -> None:
    """Refuse to submit a run with missing networks; the user decides.

    Parameters
    ----------
    run
        The collected run.

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


def ensure_data(console: Console, competition: Competition, data_dir: Path) -> None:
    """Fetch the competition's files, which submissions are checked against, if they are missing.

    Called before a kernel is pushed, because it also shows whether the rules are accepted.

    Parameters
    ----------
    console
        Where a download is announced.
    competition
        The session with Kaggle.
    data_dir
        Folder of the competition's files.

    Raises
    ------
    CompetitionError
        Kaggle refuses or cannot be reached.
    DataError
        A file is damaged.
    """
    from fkd_kaggle import pipeline

    if not pipeline.is_fetched(data_dir):
        print_line(
            console,
            f"fetching the competition's files to {data_dir}, to check the submission with them",
        )
        pipeline.fetch_data(competition, data_dir)


def print_gpu_quota(console: Console, competition: Competition) -> None:
    """Print the GPU hours left this week, if Kaggle tells them."""
    with suppress(CompetitionError):
        hours = competition.gpu_hours_left()
        if hours is not None:
            print_line(console, f"GPU hours left this week: {hours:.1f}")


@contextmanager
def explain_interruption(
    console: Console, runs_dir: Path, run: str | None = None, job: KernelJob | None = None
) -> Iterator[None]:
    """After Ctrl-C, print which kernels of a run continue to run, and how to follow or stop them.

    Parameters
    ----------
    console
        Where the lines are printed.
    runs_dir
        Folder of the runs, which contains the records of kernels.
    run
        Name of the run. Default: the newest run of the job.
    job
        The training. Default: that of the newest run.

    Raises
    ------
    typer.Exit
        The user pressed Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        for line in _interruption_lines(_unfinished(runs_dir, run, job)):
            print_line(console, line)
        raise typer.Exit(INTERRUPTED) from None


def _unfinished(runs_dir: Path, run: str | None, job: KernelJob | None) -> list[KernelRecord]:
    """Return the records of a run that was not submitted, on the Kaggle that is used; oldest first.

    The parameters are those of ``explain_interruption``.
    """
    from fkd_kaggle.kaggle_api import endpoint
    from fkd_kaggle.kernel import records

    practice = endpoint.practice_url() is not None
    known = [
        record
        for record in records.read_records(runs_dir)
        if record.practice == practice
        and (run is None or record.run == run)
        and (job is None or record.digest == job.digest(practice=practice))
    ]
    return [one for one in known if one.run == known[-1].run and one.state in records.OPEN]


def _interruption_lines(unfinished: Sequence[KernelRecord]) -> list[str]:
    """Return the lines about the unfinished kernels of one run."""
    running = [record for record in unfinished if record.state == "pushed"]
    lines = []
    if running:
        names = ", ".join(record.kernel for record in running)
        kernels, verb, them = (
            ("kernel", "continues", "it") if len(running) == 1 else ("kernels", "continue", "them")
        )
        gpu = " and to use GPU time" if any(record.uses_gpu for record in running) else ""
        lines.append(
            f"{kernels} {names} {verb} to run on Kaggle{gpu}; to stop {them}: fkd-kaggle kernel "
            f"stop {running[-1].run}"
        )
    if unfinished:
        lines.append(f"to continue: fkd-kaggle submit {unfinished[-1].run} --via kernel")
    return lines


def _pushed_job(run: str, runs_dir: Path) -> tuple[KernelJob, str]:
    """Return the job and the name of a run that was pushed before.

    Raises
    ------
    RunError
        The run was submitted already.
    """
    record = find_records(runs_dir, run)[-1]
    if record.state == "submitted":
        raise RunError(
            f"run {record.run} was submitted as {record.submission} already, see `fkd-kaggle "
            f"submissions`; `fkd-kaggle submit {record.run}` predicts and submits again"
        )
    return record.job, record.run


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
