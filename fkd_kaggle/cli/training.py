"""The commands that train on this machine: ``train-ensemble`` and ``compare``."""

from __future__ import annotations

import functools
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import INTERRUPTED, make_console, print_line
from fkd_kaggle.errors import FkdError, TrainingFailedError

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.ensemble.training_estimate import TrainingEstimate
    from fkd_kaggle.recipes.plans import Member, Plan, TrainingOptions
    from fkd_kaggle.report.mlflow_log import MlflowLogger
    from fkd_kaggle.runs.folder import Run
    from fkd_kaggle.training.events import Event, OnEvent
    from fkd_kaggle.workers.pool import StartRunsPool

DEFAULT_BUDGET = 600.0
"""Training time of a compared recipe in seconds, if neither time nor epochs are given."""

Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="RUN",
        autocompletion=options.complete_run,
        help="Continue a run that was stopped, with the options of its start.",
    ),
]

TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write logs for TensorBoard to the run's folder.")
]

PredictionsFrom = Annotated[
    str | None,
    typer.Option(
        "--predictions-from",
        metavar="RUN",
        autocompletion=options.complete_run,
        help="Earlier run whose out-of-fold predictions find outliers, for recipes with the key "
        "outlier_deviations.",
    ),
]

Live = Annotated[
    bool,
    typer.Option(
        "--live", help="Serve a page of the training on this machine; its address is printed."
    ),
]

MlflowUri = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        metavar="URI",
        show_default=False,
        help="Log parameters, metrics and the report to MLflow: a server or file:FOLDER. Needs "
        "fkd-kaggle[mlflow].",
    ),
]

ComparedNames = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        autocompletion=options.complete_recipe,
        show_default=False,
        help="Recipes and ensembles: names or paths of .toml files.",
    ),
]

Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        "-b",
        metavar="TIME",
        help="Training time of each recipe or ensemble, for each seed and held-out fold: 90s or "
        "10m. Default: 10m, or no limit with --epochs.",
    ),
]

Seeds = Annotated[
    int,
    typer.Option(
        "--seeds", metavar="N", min=1, help="Number of random seeds to train each recipe with."
    ),
]

ComparedFolds = Annotated[
    int | None,
    typer.Option(
        "--folds",
        metavar="N",
        help="Number of folds; each is held out once. Default: one fold of five is held out.",
    ),
]

ComparisonName = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Name of a new comparison, or of an existing one to continue or to add recipes to.",
    ),
]


Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Train on all nodes of a Ray cluster: auto (the cluster of this machine, which is "
        "started if there is none), HOST:PORT or ray://HOST:PORT.",
    ),
]

Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Train the I-th of N fixed shares of the networks, for batch systems; "
        "`fkd-kaggle gather` merges the runs. The same command continues a shard.",
    ),
]


@options.with_training_options
def train_ensemble(
    training: TrainingOptions,
    name: options.RunName = None,
    resume: Resume = None,
    shard: Shard = None,
    workers: options.Workers = None,
    cluster: Cluster = None,
    tensorboard: TensorBoard = False,
    accept_implausible: options.AcceptImplausible = False,
    corrections: options.Corrections = None,
    predictions_from: PredictionsFrom = None,
    live: Live = False,
    mlflow: MlflowUri = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Train an ensemble; Ctrl-C keeps the trained networks."""
    from fkd_kaggle import pipeline
    from fkd_kaggle.ensemble.shards import parse_shard, shard_members
    from fkd_kaggle.runs.folder import find_run
    from fkd_kaggle.runs.members import is_finished

    address = _check_cluster(cluster, workers, tensorboard)
    logger = _connect_mlflow(mlflow)
    if resume is None:
        plan = options.plan_from(training)
        part = parse_shard(shard) if shard is not None else None
        members = plan.members if part is None else shard_members(plan, *part)
        estimate = _estimate(
            plan, members, data_dir, runs_dir, training.time_limit, workers, address
        )
        earlier = find_run(predictions_from, runs_dir) if predictions_from else None
        create = pipeline.create_run
        if part is not None:
            create = functools.partial(pipeline.open_shard_run, part)
        run = create(
            plan,
            data_dir,
            runs_dir,
            name,
            corrections=corrections,
            predictions_from=earlier,
            accept_implausible=accept_implausible,
        )
    else:
        given = options.given_training_options(training) + [
            option
            for option, value in (
                ("--run", name),
                ("--shard", shard),
                ("--corrections", corrections),
                ("--predictions-from", predictions_from),
            )
            if value is not None
        ]
        if extra := [option for option in given if option != "--time-limit"]:
            raise FkdError(
                f"--resume continues with the run's own options: omit {', '.join(extra)}"
            )
        run = find_run(resume, runs_dir)
        todo = [member for member in run.plan.members if not is_finished(run, member)]
        estimate = _estimate(
            run.plan, todo, data_dir, runs_dir, training.time_limit, workers, address
        )
    try:
        _train(
            run,
            data_dir,
            estimate,
            training.time_limit,
            workers,
            tensorboard,
            cluster=address,
            live=live,
            logger=logger,
        )
    except KeyboardInterrupt:
        _explain_interruption(run, data_dir)
        # A shell then skips the commands after `&&`.
        raise typer.Exit(INTERRUPTED) from None


def compare(
    names: ComparedNames,
    budget: Budget = None,
    epochs: options.Epochs = None,
    seeds: Seeds = 1,
    folds: ComparedFolds = None,
    precision: options.Precision = None,
    workers: options.Workers = None,
    cluster: Cluster = None,
    name: ComparisonName = None,
    accept_implausible: options.AcceptImplausible = False,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Compare recipes trained with equal budgets.

    All are trained and scored on the same folds. The same command continues after Ctrl-C.
    """
    from fkd_kaggle.data import dataset
    from fkd_kaggle.display import tables
    from fkd_kaggle.display.training import TrainingDisplay
    from fkd_kaggle.ensemble import comparison_results
    from fkd_kaggle.ensemble.comparison import start_comparison, train_comparison
    from fkd_kaggle.recipes import validation
    from fkd_kaggle.report import comparison as page
    from fkd_kaggle.runs.comparison import open_comparison
    from fkd_kaggle.runs.members import is_finished
    from fkd_kaggle.workers import devices, local, ray_cluster, ray_connection

    console = make_console()
    address = _check_cluster(cluster, workers)
    seconds = options.parse_duration(budget, "--budget") or (None if epochs else DEFAULT_BUDGET)
    faces = dataset.read_plausible_training(data_dir, accept_implausible=accept_implausible)
    validation.check_fold_count(folds, len(faces.images))
    if address is None:
        machine = devices.inspect_machine()
    else:
        machine = ray_connection.cluster_devices(address)
    comparison = start_comparison(
        runs_dir,
        names,
        data_dir,
        budget=seconds,
        epochs=epochs,
        seeds=seeds,
        folds=folds,
        precision=precision or "auto",
        workers=workers,
        default_workers=local.default_worker_count(machine),
        name=name,
    )
    start_workers: StartRunsPool | None
    if address is None:
        start_workers = local.workers_for_runs(data_dir, comparison.settings.workers, machine)
    else:
        start_workers = ray_cluster.workers_for_runs(address, data_dir)
    print_line(console, f"{comparison.name}: {page.describe_protocol(comparison)}")
    with TrainingDisplay(console) as display:
        train_comparison(comparison, data_dir, display, start_workers=start_workers)
    comparison = open_comparison(comparison.path)
    if comparison.status == "interrupted":
        finished = sum(
            is_finished(run, member) for run in comparison.runs for member in run.plan.members
        )
        print_line(
            console, f"interrupted; {finished} networks are kept; the same command continues"
        )
        raise typer.Exit(INTERRUPTED)
    measured = comparison_results.measure_runs(comparison, data_dir)
    table = comparison_results.average_over_seeds(measured)
    rows = [page.table_cells(line) for line in table]
    compared = tables.comparison_table(page.HEADER, rows)
    console.print(compared)
    if dropped := compared.dropped(console.width):
        print_line(
            console, f"not shown: {', '.join(dropped)}; in {comparison.path / 'compare.csv'}"
        )
    print_line(console, f"figures: {page.write_comparison_page(comparison, table, measured)}")
    if comparison.status == "failures":
        raise TrainingFailedError(
            "some networks could not be trained, see above; the table has the others"
        )


def _check_cluster(
    cluster: str | None, workers: int | None, tensorboard: bool = False
) -> str | None:
    """Return the address of a cluster; refuse options that apply to this machine only."""
    if cluster is not None and (workers is not None or tensorboard):
        raise FkdError(
            "--workers and --tensorboard apply to this machine: omit them with --cluster"
        )
    return cluster


def _connect_mlflow(uri: str | None) -> MlflowLogger | None:
    """Return a connection to MLflow, so that a wrong address is refused before the training."""
    if uri is None:
        return None
    from fkd_kaggle.report.mlflow_log import connect_mlflow

    return connect_mlflow(uri)


def _estimate(
    plan: Plan,
    todo: Sequence[Member],
    data_dir: Path,
    runs_dir: Path,
    time_limit: float | None,
    workers: int | None,
    cluster: str | None,
) -> TrainingEstimate:
    """Print what is trained and how long it takes; refuse a time limit that is too short."""
    from fkd_kaggle.display import time_plan
    from fkd_kaggle.ensemble.training_estimate import estimate_training, fitting_ensembles
    from fkd_kaggle.formatting import format_duration

    estimate = estimate_training(
        plan,
        todo,
        data_dir,
        runs_dir,
        time_limit=time_limit,
        workers=workers,
        # Without members to train, no cluster is needed.
        cluster=cluster if todo else None,
    )
    if time_limit is not None and todo and time_limit < estimate.minimum:
        raise FkdError(time_plan.describe_minimum(estimate, format_duration(time_limit)))
    fitting = fitting_ensembles(estimate, plan) if time_limit is not None else []
    if todo:
        print_line(make_console(), time_plan.describe_estimate(estimate, fitting))
    return estimate


def _train(
    run: Run,
    data_dir: Path,
    estimate: TrainingEstimate,
    time_limit: float | None,
    workers: int | None,
    tensorboard: bool,
    *,
    cluster: str | None = None,
    live: bool = False,
    logger: MlflowLogger | None = None,
) -> None:
    """Train the unfinished members of a run and print scores, report and the next command."""
    from fkd_kaggle import pipeline
    from fkd_kaggle.display import tables
    from fkd_kaggle.display.training import TrainingDisplay
    from fkd_kaggle.ensemble.training_estimate import remember_speeds
    from fkd_kaggle.report.run import write_run_page
    from fkd_kaggle.runs.predictions import has_blended_out_of_fold
    from fkd_kaggle.runs.scores import score_notes

    console = make_console()
    clock = _StartClock()
    before = run.scores
    with ExitStack() as stack:
        listeners: list[OnEvent] = [clock]
        if live:
            from fkd_kaggle.report.live import serve_live_page

            page = stack.enter_context(serve_live_page(run))
            print_line(console, f"live page: {page.url}")
            listeners.append(page.on_event)
        listeners.append(stack.enter_context(TrainingDisplay(console)))
        scores = pipeline.train(
            run,
            data_dir,
            time_limit=time_limit,
            chosen=[member.name for member in estimate.plan.members],
            workers=workers,
            cluster=cluster,
            tensorboard=tensorboard,
            on_event=_to_all(listeners),
            command=shlex.join(["fkd-kaggle", *sys.argv[1:]]),
            began=clock.began,
        )
    remember_speeds(run, estimate)
    if run.status == "interrupted":
        raise KeyboardInterrupt
    if run.shard is not None:
        _print_shard(console, run, data_dir)
        return
    console.print(tables.members_table(run, scores))
    console.print(tables.scores_table(scores))
    for note in score_notes(scores):
        print_line(console, note)
    if before is not None and before.best is not None and scores.best is not None:
        print_line(console, tables.describe_change(before.best, scores.best))
    if scores.published_metrics:
        console.print(tables.published_metrics_table(scores))
    if run.plan.ensemble.split != "grouped":
        print_line(
            console,
            "the split is random, as in the publication: near-duplicates of training faces are "
            "held out, so the score is too good; --folds 5 keeps near-duplicates together",
        )
    limit = run.plan.time_limit if time_limit is None else time_limit
    if not clock.leaves_time(limit):
        print_line(console, f"no report: the time is over; fkd-kaggle report {run.name} writes it")
    elif has_blended_out_of_fold(run):
        with console.status("writing the report…"):
            report = write_run_page(run, data_dir, options.SUBMISSIONS)
        print_line(console, f"report: {report}")
        if logger is not None:
            print_line(console, f"{run.name} is run {logger.log_run(run)} in MLflow")
    _print_next_commands(console, run, data_dir)


class _StartClock:
    """Measures how long Keras takes to start here and now; the report takes about as long."""

    def __init__(self) -> None:
        self.began = options.command_began()
        self._trained_from = time.monotonic()
        self._called = self._trained_from

    def __call__(self, event: Event) -> None:
        """Note when the training begins."""
        from fkd_kaggle.training.events import EnsembleStarted

        if isinstance(event, EnsembleStarted):
            self._trained_from = time.monotonic()

    def leaves_time(self, limit: float | None) -> bool:
        """Return whether the report can be written within a time limit and its tolerance."""
        if limit is None:
            return True
        now, start = time.monotonic(), self._trained_from - self._called
        return now + start <= self.began + limit + max(10.0, 0.1 * limit)


def _to_all(listeners: Sequence[OnEvent]) -> OnEvent:
    """Return a function that passes each event to all listeners."""

    def on_event(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return on_event


def _explain_interruption(run: Run, data_dir: Path) -> None:
    """Print what an interrupted run keeps and which command continues it."""
    from fkd_kaggle.runs.members import is_finished, is_usable, member_progress

    console, members = make_console(), run.plan.members
    finished = sum(is_finished(run, member) for member in members)
    begun = sum(
        not is_finished(run, member) and member_progress(run, member).epoch > 0
        for member in members
    )
    partly = f", and the checkpoints of {begun} more" if begun else ""
    print_line(
        console,
        f"stopped by an interruption; run {run.name} keeps {finished} of {len(members)} trained "
        f"networks{partly}; to continue: {_resume_command(run, data_dir)}",
    )
    if any(is_usable(run, member) for member in members):
        print_line(
            console, f"to use what is trained: fkd-kaggle predict {_run_argument(run, data_dir)}"
        )


def _print_shard(console: Console, run: Run, data_dir: Path) -> None:
    """Print how far the run of a shard is, and what follows."""
    from fkd_kaggle.ensemble.shards import shard_members
    from fkd_kaggle.runs.members import is_finished

    shard, shards = run.shard or (1, 1)
    members = shard_members(run.plan, shard, shards)
    finished = sum(is_finished(run, member) for member in members)
    print_line(
        console,
        f"shard {shard} of {shards}: {finished} of {len(members)} networks are trained, in "
        f"{run.path}",
    )
    _check_failures(run, data_dir)
    if finished < len(members):
        print_line(console, f"to continue: {_resume_command(run, data_dir)}")
    print_line(console, "next, with the runs of all shards: fkd-kaggle gather RUN...")


def _print_next_commands(console: Console, run: Run, data_dir: Path) -> None:
    """Print how to continue or submit a run.

    Raises
    ------
    TrainingFailedError
        Members failed; the message names them.
    """
    _check_failures(run, data_dir)
    if run.status == "time limit":
        print_line(
            console, f"stopped by the time limit; to continue: {_resume_command(run, data_dir)}"
        )
    scores = run.scores
    if scores is not None and scores.is_constant:
        print_line(console, "next: train longer, or another recipe: fkd-kaggle recipes")
    else:
        print_line(console, f"next: fkd-kaggle submit {_run_argument(run, data_dir)}")


def _check_failures(run: Run, data_dir: Path) -> None:
    """Raise TrainingFailedError if members failed; the message names them."""
    failures = run.failures
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise TrainingFailedError(
            f"{len(failures)} of {len(run.plan.members)} networks could not be trained "
            f"({reasons}); to continue: {_resume_command(run, data_dir)}"
        )


def _resume_command(run: Run, data_dir: Path) -> str:
    return f"fkd-kaggle train-ensemble --resume {_run_argument(run, data_dir)}"


def _run_argument(run: Run, data_dir: Path) -> str:
    """Return the run and the data as arguments of a command."""
    name = run.name if run.path.parent == options.RUNS else shlex.quote(str(run.path))
    data = "" if data_dir == options.DATA else f" --data-dir {shlex.quote(str(data_dir))}"
    return f"{name}{data}"
