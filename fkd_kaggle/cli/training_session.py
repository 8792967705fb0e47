"""Training a run for a command: the estimate before it, the progress, and the results after it."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.errors import FkdError, TrainingFailedError

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.ensemble.training_estimate import TrainingEstimate
    from fkd_kaggle.recipes.plans import Member, Plan
    from fkd_kaggle.report.mlflow_log import MlflowLogger
    from fkd_kaggle.runs.folder import Run
    from fkd_kaggle.runs.scores import Scores
    from fkd_kaggle.training.events import Event, OnEvent


def connect_mlflow_server(uri: str | None) -> MlflowLogger | None:
    """Return a connection to MLflow, so that a wrong address is refused before the training."""
    if uri is None:
        return None
    from fkd_kaggle.report.mlflow_log import connect_mlflow

    return connect_mlflow(uri)


def estimate_and_print(
    plan: Plan,
    todo: Sequence[Member],
    data_dir: Path,
    runs_dir: Path,
    time_limit: float | None,
    workers: int | None,
    cluster: str | None,
    *,
    is_resumed: bool = False,
) -> TrainingEstimate:
    """Print what is trained and how long it takes; refuse a time limit that is too short.

    Parameters
    ----------
    plan
        The plan of the run.
    todo
        Its members to train.
    data_dir, runs_dir
        Folders of the competition's files and of the runs.
    time_limit
        Seconds; None for the plan's own limit.
    workers
        Number of networks trained at the same time; None for the default, 0 to train one after the
        other in this process.
    cluster
        Address of a Ray cluster; None for this machine.
    is_resumed
        Whether the run exists, so that no other recipe can be chosen or proposed.

    Raises
    ------
    DataError
        training.csv is missing or invalid.
    FkdError
        The time limit is too short, or the cluster cannot be used.
    """
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
    if todo:
        proposes = time_limit is not None and not is_resumed
        fitting = fitting_ensembles(estimate, plan) if proposes else []
        print_line(make_console(), time_plan.describe_estimate(estimate, fitting))
    return estimate


def train(
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
    """Train the unfinished members of a run and print scores, report and the next command.

    Raises
    ------
    KeyboardInterrupt
        The training was interrupted.
    TrainingFailedError
        Members failed; the message names them.
    """
    from fkd_kaggle import pipeline
    from fkd_kaggle.display.training import TrainingDisplay
    from fkd_kaggle.ensemble.training_estimate import remember_speeds
    from fkd_kaggle.runs.history import read_histories

    console = make_console()
    clock = _StartClock()
    before, histories = run.scores, read_histories(run)
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
    remember_speeds(run, estimate, histories)
    if run.status == "interrupted":
        raise KeyboardInterrupt
    if run.shard is not None:
        _print_shard(console, run, data_dir)
        return
    _print_results(console, run, scores, before)
    limit = run.plan.time_limit if time_limit is None else time_limit
    if clock.leaves_time(limit):
        _write_report(console, run, data_dir, logger)
    else:
        print_line(console, _explain_missing_report(run, data_dir, has_logger=logger is not None))
    _print_next_commands(console, run, data_dir)


def _print_results(console: Console, run: Run, scores: Scores, before: Scores | None) -> None:
    """Print the members and the scores of a run, and the change since it was resumed."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.runs.scores import score_notes

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


def _write_report(console: Console, run: Run, data_dir: Path, logger: MlflowLogger | None) -> None:
    """Write the page of a blended run and log the run to MLflow, if wanted."""
    from fkd_kaggle.report.run import write_run_page
    from fkd_kaggle.runs.predictions import has_blended_out_of_fold

    if not has_blended_out_of_fold(run):
        return
    with console.status("writing the report…"):
        report = write_run_page(run, data_dir, options.SUBMISSIONS)
    print_line(console, f"report: {report}")
    if logger is not None:
        print_line(console, f"{run.name} is run {logger.log_run(run)} in MLflow")


def _explain_missing_report(run: Run, data_dir: Path, *, has_logger: bool) -> str:
    """Return that the time is over, and the command that writes the report and logs to MLflow."""
    command = f"fkd-kaggle report {options.run_argument(run.path, data_dir)}"
    if has_logger:
        return f"no report, nothing in MLflow: the time is over; {command} --mlflow URI does both"
    return f"no report: the time is over; {command} writes it"


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


def explain_interruption(run: Run, data_dir: Path) -> None:
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
        argument = options.run_argument(run.path, data_dir)
        print_line(console, f"to use what is trained: fkd-kaggle predict {argument}")


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
        print_line(console, f"next: fkd-kaggle submit {options.run_argument(run.path, data_dir)}")


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
    return f"fkd-kaggle train-ensemble --resume {options.run_argument(run.path, data_dir)}"
