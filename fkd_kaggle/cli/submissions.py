"""The commands for submissions: ``submit``, ``predict``, ``submissions`` and ``leaderboard``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fkd_kaggle.cli import connection, kernel_options, kernel_submission, options
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.errors import CompetitionError, FkdError
from fkd_kaggle.files import STANDARD_OUTPUT

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.kaggle_api.competition import Competition
    from fkd_kaggle.recipes.plans import TrainingOptions
    from fkd_kaggle.runs.folder import Run

File = Annotated[
    Path | None, typer.Option("--file", metavar="CSV", help="Submit this file instead of a run.")
]

Message = Annotated[
    str | None,
    typer.Option("--message", "-m", metavar="TEXT", help="Description of the submission."),
]

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Write and check the file, but do not upload it.")
]

Local = Annotated[
    bool, typer.Option("--local", help="List only local submissions, without a request to Kaggle.")
]

Rows = Annotated[int, typer.Option("--rows", metavar="N", min=1, help="Number of teams.")]


@options.with_training_options
def submit(
    training: TrainingOptions,
    runs: options.RunsArgument = None,
    file: File = None,
    message: Message = None,
    dry_run: DryRun = False,
    accept_implausible: options.AcceptImplausible = False,
    yes: options.Yes = False,
    via: options.ViaOption = None,
    name: options.RunName = None,
    accelerator: kernel_options.Accelerator = None,
    title: kernel_options.Title = None,
    shards: options.Shards = 1,
    session_limit: kernel_options.SessionLimit = None,
    corrections: options.Corrections = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """Predict the test faces and submit them.

    Several runs are blended into one submission, with weights fitted on held-out faces. With
    --via kernel, a kernel on Kaggle trains the networks first.
    """
    folders = kernel_submission.Folders(data_dir, runs_dir, submissions_dir)
    given = options.given_training_options(training) + [
        option
        for option, value in (
            ("--run", name),
            ("--accelerator", accelerator),
            ("--title", title),
            ("--shards", None if shards == 1 else shards),
            ("--session-limit", session_limit),
            ("--corrections", corrections),
        )
        if value is not None
    ]
    if accept_implausible and file is None:
        raise FkdError("--accept-implausible: only with --file, whose locations it accepts")
    if via is None:
        if given:
            raise FkdError(f"{', '.join(given)}: only with --via kernel, which trains first")
        _submit(runs or [], file, message, dry_run, accept_implausible, yes, folders)
        return
    if file is not None:
        raise FkdError("--file and --via kernel exclude each other: a file needs no training")
    if len(runs or []) > 1:
        raise FkdError("several runs cannot be submitted with --via kernel: name one run")
    run = runs[0] if runs else None
    if run is not None and given:
        raise FkdError(f"run {run} continues with its own options: omit {', '.join(given)}")
    job = kernel_options.make_job(
        training,
        accelerator,
        title,
        shards,
        session_limit,
        corrections=corrections,
        data_dir=data_dir,
    )
    kernel_submission.submit(run, job, name, message, dry_run, folders, yes=yes)


def predict(
    runs: options.RunsArgument = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """Write the submission file of a run without uploading it.

    Several runs are blended into one file, with weights fitted on held-out faces.
    """
    _predict(
        make_console(), runs or [], kernel_submission.Folders(data_dir, runs_dir, submissions_dir)
    )


def submissions(
    local: Local = False,
    json: options.Json = False,
    csv: options.Csv = None,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """List submissions and their scores.

    Lists the local submission files and the submissions on Kaggle.
    """
    from fkd_kaggle.data import submission
    from fkd_kaggle.display import json_output, submission_tables

    options.check_json(json=json, csv=csv)
    console = make_console(stderr=json or csv == STANDARD_OUTPUT)
    remote = None if local else connection.connect_competition(console).submissions()
    files = submission.list_submissions(submissions_dir)
    if json:
        typer.echo(json_output.to_json(json_output.submissions_document(files, remote)))
        return
    table = submission_tables.submissions_table(files, remote)
    options.print_table(console, table, csv, "no submissions yet: fkd-kaggle submit")


def leaderboard(rows: Rows = 20, json: options.Json = False) -> None:
    """Show the top of the leaderboard."""
    from fkd_kaggle.display import json_output, submission_tables

    console = make_console(stderr=json)
    competition = connection.connect_competition(console)
    teams = competition.leaderboard(rows)
    own = _own_team(competition)
    if json:
        typer.echo(json_output.to_json(json_output.leaderboard_document(teams, own)))
        return
    table = submission_tables.leaderboard_table(teams, own)
    console.print(table if table.row_count else "the leaderboard is empty")


def _own_team(competition: Competition) -> str:
    """Return the name of the user's team on the leaderboard.

    On Kaggle, a team has a display name, which the newest submission states. Without a submission,
    or if Kaggle refuses to list them, the name of the user is returned.
    """
    try:
        teams = [record.team for record in competition.submissions() if record.team]
    except CompetitionError:
        teams = []
    return teams[0] if teams else competition.user


def _submit(
    runs: Sequence[str],
    file: Path | None,
    message: str | None,
    dry_run: bool,
    accept_implausible: bool,
    yes: bool,
    folders: kernel_submission.Folders,
) -> None:
    """Submit a file, or the predictions of a trained run."""
    from fkd_kaggle import pipeline

    console = make_console()
    if file is not None and runs:
        raise FkdError(
            f"run {', '.join(runs)} and --file {file} exclude each other: submit one, not both"
        )
    # Connect before predicting, which takes long: missing credentials are reported at once.
    competition = None if dry_run else connection.connect_competition(console)
    if file is not None:
        path = pipeline.prepare_submission(
            file,
            folders.data,
            folders.submissions,
            accept_implausible=accept_implausible,
            write=not dry_run,
        )
        if path != file:
            print_line(console, f"the columns RowId and Location of {file} are submitted as {path}")
        expected, message = None, message or file.stem
    else:
        path, expected = _predict(console, runs, folders)
    if competition is None:
        print_line(console, f"dry run: {path.name} is valid and was not uploaded")
        return
    connection.upload_and_report(
        console,
        competition,
        path,
        expected,
        lambda on_wait: pipeline.upload_submission(
            competition,
            path,
            message or path.stem,
            on_wait,
            on_resume=lambda ref: print_line(
                console, f"{path.name} was submitted before: waiting for submission {ref}"
            ),
        ),
        folders.submissions,
        yes=yes,
    )


def _predict(
    console: Console, names: Sequence[str], folders: kernel_submission.Folders
) -> tuple[Path, float | None]:
    """Write the submission file of one or several runs; return it and the expected score."""
    from fkd_kaggle.runs.folder import find_run

    if len(names) > 1:
        found = [find_run(name, folders.runs) for name in names]
        return _write_mixture(console, found, folders)
    run = options.choose_run(console, names[0] if names else None, folders.runs)
    path = _write_submission(console, run, folders.data, folders.submissions)
    scores = run.scores
    return path, scores.expected if scores else None


def _write_mixture(
    console: Console, runs: Sequence[Run], folders: kernel_submission.Folders
) -> tuple[Path, float | None]:
    """Write the submission file of several runs and print the blend's scores."""
    from fkd_kaggle import pipeline
    from fkd_kaggle.display import tables
    from fkd_kaggle.runs.scores import score_notes

    with console.status(f"predicting with {', '.join(run.name for run in runs)}…") as status:
        path, mixture = pipeline.write_mixture_submission(
            runs,
            folders.data,
            folders.submissions,
            lambda done, count: status.update(f"predicting: {done} of {count} networks"),
        )
    console.print(tables.scores_table(mixture.scores))
    for note in score_notes(mixture.scores):
        print_line(console, note)
    fitted = (
        f"weights fitted on {mixture.faces:,} faces that all runs hold out"
        if mixture.faces
        else "equal weights: the runs hold out too few faces in common"
    )
    print_line(console, fitted)
    print_line(console, f"wrote {path}")
    return path, mixture.scores.expected


def _write_submission(console: Console, run: Run, data_dir: Path, submissions_dir: Path) -> Path:
    """Write the submission file of a run, show the progress and return the file's path."""
    from fkd_kaggle import pipeline

    with console.status(f"predicting with {run.name}…") as status:
        path = pipeline.write_run_submission(
            run,
            data_dir,
            submissions_dir,
            lambda done, count: status.update(f"predicting: {done} of {count} networks"),
        )
    print_line(console, f"wrote {path}")
    return path
