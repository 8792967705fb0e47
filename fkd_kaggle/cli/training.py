"""The command ``train-ensemble``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fkd_kaggle.cli import options, training_session
from fkd_kaggle.display.console import INTERRUPTED
from fkd_kaggle.errors import FkdError

if TYPE_CHECKING:
    from fkd_kaggle.ensemble.training_estimate import TrainingEstimate
    from fkd_kaggle.recipes.plans import Member, Plan, TrainingOptions
    from fkd_kaggle.runs.folder import Run

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
    cluster: options.Cluster = None,
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
    from fkd_kaggle.runs.folder import find_run
    from fkd_kaggle.runs.members import is_finished

    address = options.check_cluster(cluster, workers, tensorboard)
    logger = training_session.connect_mlflow_server(mlflow)

    def estimate(plan: Plan, members: Sequence[Member]) -> TrainingEstimate:
        return training_session.estimate_and_print(
            plan,
            members,
            data_dir,
            runs_dir,
            training.time_limit,
            workers,
            address,
            is_resumed=resume is not None,
        )

    if resume is None:
        plan, members, create = _plan(training, shard)
        estimated = estimate(plan, members)
        run = create(
            plan,
            data_dir,
            runs_dir,
            name,
            corrections=corrections,
            predictions_from=find_run(predictions_from, runs_dir) if predictions_from else None,
            accept_implausible=accept_implausible,
        )
    else:
        _refuse_options(training, name, shard, corrections, predictions_from)
        run = find_run(resume, runs_dir)
        todo = [member for member in run.plan.members if not is_finished(run, member)]
        estimated = estimate(run.plan, todo)
    try:
        training_session.train(
            run,
            data_dir,
            estimated,
            training.time_limit,
            workers,
            tensorboard,
            cluster=address,
            live=live,
            logger=logger,
        )
    except KeyboardInterrupt:
        training_session.explain_interruption(run, data_dir)
        # A shell then skips the commands after `&&`.
        raise typer.Exit(INTERRUPTED) from None


def _plan(
    training: TrainingOptions, shard: str | None
) -> tuple[Plan, Sequence[Member], Callable[..., Run]]:
    """Return the plan of a new run, the members to train, and the function that creates the run."""
    from fkd_kaggle import pipeline
    from fkd_kaggle.ensemble.shards import parse_shard, shard_members

    plan = options.plan_from(training)
    if shard is None:
        return plan, plan.members, pipeline.create_run
    part = parse_shard(shard)
    create = functools.partial(pipeline.open_shard_run, part)
    return plan, shard_members(plan, *part), create


def _refuse_options(
    training: TrainingOptions,
    name: str | None,
    shard: str | None,
    corrections: Path | None,
    predictions_from: str | None,
) -> None:
    """Raise FkdError if a run is to be resumed with options that only a new run can have."""
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
        raise FkdError(f"--resume continues with the run's own options: omit {', '.join(extra)}")
