"""The command line: options in, one room called, its result printed. No logic of its own.

Imports nothing heavy until a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fkd_kaggle import __version__
from fkd_kaggle.errors import FkdError, RunError

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.competition import Competition
    from fkd_kaggle.recipes import Plan
    from fkd_kaggle.run import Run

app = typer.Typer(
    name="fkd-kaggle",
    help="Win Kaggle's Facial Keypoints Detection from the command line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataDir = Annotated[
    Path, typer.Option("--data-dir", help="Folder of the competition's files.", show_default=True)
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Folder of the runs.")]
SubmissionsDir = Annotated[
    Path, typer.Option("--submissions-dir", help="Folder of the submission files.")
]
Recipes = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        "-r",
        help="A network or an ensemble by name (see `fkd-kaggle recipes`), or a .toml file of "
        "your own; may be repeated.",
    ),
]
TimeLimit = Annotated[
    str | None,
    typer.Option("--time-limit", "-t", help="For the whole training: 90s, 20m, 1.5h."),
]
DATA, RUNS, SUBMISSIONS = Path("data"), Path("runs"), Path("submissions")


@app.command()
def fetch(
    data_dir: DataDir = DATA,
    force: Annotated[
        bool, typer.Option("--force", help="Download again what is already there.")
    ] = False,
) -> None:
    """Download, unpack and check the competition's files."""
    from fkd_kaggle import pipeline

    console = _console()
    if pipeline.is_fetched(data_dir) and not force:
        console.print(f"{data_dir} has the competition's files already; --force fetches again")
        summary = pipeline.check(data_dir)
    else:
        competition = _competition()
        with _bytes_progress(console) as on_progress:
            summary = pipeline.fetch(competition, data_dir, force=force, on_progress=on_progress)
    console.print(
        f"training: {summary.complete + summary.partial} faces, {summary.complete} of the complete "
        f"source (15 points), {summary.partial} of the partial one (4)\n"
        f"test: {summary.test_complete + summary.test_partial} faces, {summary.test_complete} "
        f"asked for 15 points, {summary.test_partial} for 4; {summary.asked} values in all",
        highlight=False,
    )


@app.command("train-ensemble")
def train_ensemble(
    recipe: Recipes = None,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    name: Annotated[str | None, typer.Option("--run", help="Name of the new run.")] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", help="Go on with a run that was interrupted.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Parts of the faces, each held out in turn.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of every network.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Faces in a batch.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of folds, weights and views.")] = None,
    precision: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or float16; auto looks at the device.")
    ] = "auto",
    time_limit: TimeLimit = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write logs for TensorBoard into the run.")
    ] = False,
) -> None:
    """Train an ensemble on partly labelled faces; Ctrl-C keeps what is trained."""
    from fkd_kaggle import recipes
    from fkd_kaggle.run import Run

    seconds = parse_duration(time_limit)
    if resume is not None:
        run = Run.open(_run_path(resume, runs_dir))
    else:
        plan = recipes.plan(
            recipe or (), folds=folds, epochs=epochs, batch_size=batch_size, seed=seed,
            precision=precision, time_limit=seconds,
        )  # fmt: skip
        run = _new_run(runs_dir, name, plan, data_dir)
    _train(run, data_dir, seconds, tensorboard)


@app.command()
def submit(
    run: Annotated[
        str | None, typer.Argument(help="Name or folder of a run; the newest by default.")
    ] = None,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    submissions_dir: SubmissionsDir = SUBMISSIONS,
    file: Annotated[
        Path | None, typer.Option("--file", help="Submit this CSV file instead of a run.")
    ] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="For your list.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write and check the file, upload nothing.")
    ] = False,
) -> None:
    """Predict the test faces, check the submission, upload it and report the score."""
    from fkd_kaggle import pipeline

    console = _console()
    if file is not None:
        pipeline.check_submission(file, data_dir)
        path, expected = file, None
    else:
        chosen = _find_run(run, runs_dir)
        path = _predicted(console, chosen, data_dir, submissions_dir)
        expected = _opened(chosen).scores
    if dry_run:
        console.print("dry run: nothing was uploaded")
        return
    competition = _competition()
    with console.status("uploading and waiting for the score…"):
        record = pipeline.upload(competition, path, message or path.stem)
    if record.public_score is None and record.private_score is None:
        console.print("accepted, but not scored: this Kaggle has no answers for the test set")
    else:
        from fkd_kaggle.display import pixels

        line = (
            f"score: public {pixels(record.public_score)}, private {pixels(record.private_score)}"
        )
        if expected and expected.expected:
            line += f" (expected {pixels(expected.expected)})"
        console.print(line, highlight=False)
    left = competition.submissions_left()
    if left is not None:
        console.print(f"{left} submissions left today", highlight=False)


@app.command()
def predict(
    run: Annotated[
        str | None, typer.Argument(help="Name or folder of a run; the newest by default.")
    ] = None,
    data_dir: DataDir = DATA,
    runs_dir: RunsDir = RUNS,
    submissions_dir: SubmissionsDir = SUBMISSIONS,
) -> None:
    """Write the submission file of a run and upload nothing."""
    _predicted(_console(), _find_run(run, runs_dir), data_dir, submissions_dir)


@app.command()
def submissions(
    submissions_dir: SubmissionsDir = SUBMISSIONS,
    local: Annotated[bool, typer.Option("--local", help="Ask Kaggle nothing.")] = False,
) -> None:
    """List submissions and their scores, those on this disk and those Kaggle knows."""
    from rich.table import Table

    from fkd_kaggle import submission
    from fkd_kaggle.display import pixels

    remote = {} if local else {one.ref: one for one in _competition().submissions()}
    table = Table("file", "run", "expected", "public", "private", "status", box=None)
    for mine in submission.history(submissions_dir):
        theirs = remote.pop(mine.ref, None) if mine.ref else None
        public = theirs.public_score if theirs else mine.public_score
        private = theirs.private_score if theirs else mine.private_score
        status = theirs.status if theirs else ("uploaded" if mine.ref else "not uploaded")
        table.add_row(mine.path.name, mine.run, pixels(mine.expected), pixels(public),
                      pixels(private), status)  # fmt: skip
    for theirs in remote.values():
        table.add_row(theirs.file_name, "[dim]elsewhere[/]", "–", pixels(theirs.public_score),
                      pixels(theirs.private_score), theirs.status)  # fmt: skip
    _console().print(table if table.row_count else "no submissions yet")


@app.command()
def leaderboard(
    rows: Annotated[int, typer.Option(help="How many teams.")] = 20,
) -> None:
    """Show the first teams of the leaderboard."""
    _console().print(_leaderboard(_competition(), rows))


@app.command()
def practice(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder or zip in the competition's format; drawn faces by default."),
    ] = None,
    solution: Annotated[
        Path | None, typer.Option(help="CSV of the answers (RowId,Location) to score by.")
    ] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(help="Make this share of the training faces the test set, with answers."),
    ] = None,
    port: Annotated[int, typer.Option(help="Where the client looks is 7777.")] = 7777,
    state_dir: Annotated[Path, typer.Option(help="Keeps submissions between runs.")] = Path(
        "practice"
    ),
    fault: Annotated[
        list[str] | None,
        typer.Option(help="Misbehave: 401, 403, 404, 429:times=2, 503, cut-download:after=1000, …"),
    ] = None,
) -> None:
    """Run a practice Kaggle on this machine, which the official client talks to unchanged."""
    from fkd_kaggle.practice import server

    console = _console()

    def ready(kaggle: server.PracticeKaggle) -> None:
        console.print(f"practice Kaggle at {kaggle.url}: {kaggle.dataset.about}", highlight=False)
        variables = dict(kaggle.environment)
        if kaggle.port == server.PORT:
            variables.pop("FKD_PRACTICE_URL")
        settings = " ".join(f"{key}={value}" for key, value in variables.items())
        console.print(f"in another terminal: export {settings}", highlight=False)
        console.print("Ctrl-C ends it; submissions are kept")

    server.serve(
        data, solution, hold_out, state_dir=state_dir, port=port, faults=fault or (),
        on_ready=ready,
    )  # fmt: skip


@app.command()
def rehearse(
    recipe: Recipes = None,
    time_limit: TimeLimit = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep data, run and submission in this folder.")
    ] = None,
) -> None:
    """Go the whole way on this machine: practice Kaggle, fetch, train, submit, leaderboard."""
    from fkd_kaggle import recipes, rehearsal
    from fkd_kaggle.display import TrainingDisplay, pixels, scores_table

    console = _console()
    plan = recipes.plan(recipe or ("smoke",), time_limit=parse_duration(time_limit))
    with TrainingDisplay(console) as display:
        result = rehearsal.rehearse(plan, keep=keep, on_event=display, tell=_teller(console))
    console.print(scores_table(result.scores))
    console.print(_leaderboard_table(result.leaderboard))
    console.print(
        f"score {pixels(result.score)}, {result.score / result.mean_score:.2f} × the mean "
        f"predictor's {pixels(result.mean_score)}",
        highlight=False,
    )
    if keep is None:
        console.print("nothing was kept; --keep FOLDER keeps it")
    if result.score > result.mean_score / 2:
        raise FkdError(
            f"rehearsal failed: the score {result.score:.3f} is more than half of the mean "
            f"predictor's {result.mean_score:.3f}; give it more time with --time-limit"
        )


@app.command()
def recipes() -> None:
    """List the networks and ensembles that can be trained by name."""
    from rich.table import Table

    from fkd_kaggle import recipes as shelf

    table = Table("name", "kind", "what", "reached", box=None)
    for name in shelf.names():
        item = shelf.load(name)
        if isinstance(item, shelf.Ensemble):
            kind = f"ensemble of {len(item.members)}"
        else:
            kind = item.architecture
        reached = ", ".join(f"{key} {value}" for key, value in item.reached.items())
        table.add_row(name, kind, item.description, reached)
    _console().print(table)


@app.command()
def runs(runs_dir: RunsDir = RUNS) -> None:
    """List the runs with their cross-validated scores."""
    from rich.table import Table

    from fkd_kaggle import run as folder
    from fkd_kaggle.display import pixels

    table = Table("run", "created", "status", "recipes", "cross-validated", "expected", box=None)
    for one in folder.all_runs(runs_dir):
        scores = one.scores
        table.add_row(
            one.name, str(one.info["created"])[:16], one.status, ", ".join(one.info["recipes"]),
            pixels(scores.combined if scores else None),
            pixels(scores.expected if scores else None),
        )  # fmt: skip
    _console().print(table if table.row_count else f"no run in {runs_dir} yet")


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
    try:
        app()
    except FkdError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def parse_duration(text: str | None) -> float | None:
    """Return seconds from 90s, 20m, 1.5h or plain seconds.

    Raises
    ------
    FkdError
        It is none of these, or not above zero.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smh]?)", text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds <= 0:
        raise FkdError(f"{text!r} is not a duration: write 90s, 20m or 1.5h")
    return seconds


def _train(run: Run, data_dir: Path, seconds: float | None, tensorboard: bool) -> None:
    from fkd_kaggle import ensemble, report
    from fkd_kaggle.display import TrainingDisplay, scores_table

    console = _console()
    with TrainingDisplay(console) as display:
        scores = ensemble.train(
            run, data_dir, time_limit=seconds, on_event=display, tensorboard=tensorboard
        )
    console.print(scores_table(scores))
    pages = report.write(run, data_dir)
    console.print(f"report: {pages}", highlight=False, soft_wrap=True)
    status = _opened(run).status
    if status != "finished":
        console.print(
            f"stopped by {status}; go on with: fkd-kaggle train-ensemble --resume {run.name}"
        )
    console.print(f"next: fkd-kaggle submit {run.name}", highlight=False)


def _predicted(console: Console, run: Run, data_dir: Path, submissions_dir: Path) -> Path:
    from fkd_kaggle import pipeline

    with console.status(f"predicting with {run.name}…") as status:
        path = pipeline.write_submission(
            run, data_dir, submissions_dir,
            lambda done, count: status.update(f"predicting: {done} of {count} networks"),
        )  # fmt: skip
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    return path


def _new_run(runs_dir: Path, name: str | None, plan: Plan, data_dir: Path) -> Run:
    from fkd_kaggle import ensemble

    return ensemble.start(runs_dir, name, plan, data_dir)


def _find_run(name: str | None, runs_dir: Path) -> Run:
    from fkd_kaggle import run as folder

    return folder.Run.open(_run_path(name, runs_dir)) if name else folder.latest(runs_dir)


def _run_path(name: str, runs_dir: Path) -> Path:
    """Return the folder of a run given by name or by path."""
    for path in (runs_dir / name, Path(name)):
        if (path / "run.json").exists():
            return path
    raise RunError(f"no run {name!r} in {runs_dir}: `fkd-kaggle runs` lists them")


def _opened(run: Run) -> Run:
    """Return the run as its folder says now."""
    from fkd_kaggle.run import Run

    return Run.open(run.path)


def _competition() -> Competition:
    from fkd_kaggle.competition import Competition

    return Competition.open()


def _leaderboard(competition: Competition, rows: int) -> Any:
    return _leaderboard_table(competition.leaderboard(rows))


def _leaderboard_table(rows: Any) -> Any:
    from rich.table import Table

    from fkd_kaggle.display import pixels

    table = Table(title="leaderboard", title_justify="left", box=None)
    for name in ("#", "team", "score"):
        table.add_column(name, justify="left" if name == "team" else "right")
    for row in rows:
        table.add_row(str(row.rank), row.team, pixels(row.score))
    return table


def _teller(console: Console) -> Any:
    return lambda line: console.print(line, highlight=False)


@contextmanager
def _bytes_progress(console: Console) -> Iterator[Any]:
    """Show a download bar; yields what to call with (bytes so far, bytes in all or None)."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(
        "downloading", BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console
    ) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _console() -> Console:
    from rich.console import Console

    return Console()
