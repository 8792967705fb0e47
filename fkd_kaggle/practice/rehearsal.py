"""The rehearsal: fetch, train (in this process or in kernels) and submit, on a practice Kaggle.

It needs no account, no submission and no GPU quota. Like the real workflow, it uses the official
client over HTTP. Prints nothing itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fkd_kaggle import pipeline
from fkd_kaggle.errors import FkdError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.credentials import environment_variables
from fkd_kaggle.kaggle_api.submissions import LeaderboardRow, SubmissionRecord
from fkd_kaggle.kernel import collect
from fkd_kaggle.kernel.events import OnKernelEvent
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.kernel.training import train_on_kaggle
from fkd_kaggle.practice.baselines import write_mean_submission
from fkd_kaggle.practice.dataset import PracticeData
from fkd_kaggle.practice.server import (
    PORT,
    SYNTHETIC_FACES,
    PortUnavailableError,
    PracticeKaggle,
)
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.report.run import write_run_page
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.scores import NO_SCORES, Scores
from fkd_kaggle.training.events import OnEvent

MAX_ERROR_SHARE: Final = 0.5
"""Highest private error that passes, as a share of the mean predictor's."""

DAILY_LIMIT: Final = 1_000_000
"""Submissions a day; no limit in practice.

A rehearsal submits twice, and those in one ``keep`` folder share the count of the day.
"""

Submit = Callable[[Competition], SubmissionRecord]


@dataclass(frozen=True)
class Rehearsal:
    """The result of a rehearsal."""

    scores: Scores
    """The run's cross-validated scores."""
    ensemble: SubmissionRecord
    """The ensemble's submission."""
    mean: SubmissionRecord
    """The submission of the mean of the training labels for every face."""
    leaderboard: list[LeaderboardRow]
    is_scored: bool = True
    """Whether the practice Kaggle had a solution."""

    @property
    def share(self) -> float:
        """The ensemble's private score as a share of the mean predictor's.

        Raises
        ------
        FkdError
            A submission has no score.
        """
        if not (self.ensemble.private_score and self.mean.private_score):
            raise FkdError("the practice Kaggle has not scored the submissions of the rehearsal")
        return self.ensemble.private_score / self.mean.private_score

    @property
    def verdict(self) -> str:
        """The result in one line."""
        if not self.is_scored:
            return "accepted, not scored: this data has no solution of its test set"
        return (
            f"score: {self.ensemble.public_score:.3f} public, "
            f"{self.ensemble.private_score:.3f} private; the mean predictor's: "
            f"{self.mean.public_score:.3f}, {self.mean.private_score:.3f}"
        )

    def check(self) -> None:
        """Check that the networks have learned; without a solution, check nothing.

        Raises
        ------
        FkdError
            The share is more than ``MAX_ERROR_SHARE``, or a submission has no score.
        """
        if self.is_scored and self.share > MAX_ERROR_SHARE:
            raise FkdError(
                f"rehearsal failed: the score is {self.share:.2f} × the mean predictor's, more "
                f"than {MAX_ERROR_SHARE}: give it more time with --time-limit"
            )


def rehearse(
    plan: Plan,
    *,
    on_event: Callable[[Any], None],
    on_step: Callable[[str], None],
    keep: Path | None = None,
    shards: int | None = None,
    source: PracticeData = SYNTHETIC_FACES,
) -> Rehearsal:
    """Run fetch, train and submit against a practice Kaggle.

    Parameters
    ----------
    plan
        What to train.
    on_event
        Called with each event of the training: of ``training.events``, or of ``kernel.events`` for
        kernels.
    on_step
        Called before each step with a line that describes it.
    keep
        Folder for data, run, report and submissions; None for a temporary folder.
    shards
        Number of kernels to train in; None to train in this process.
    source
        The data that the practice Kaggle serves.

    Raises
    ------
    FkdError
        A step fails.
    """
    work = nullcontext(str(keep)) if keep else tempfile.TemporaryDirectory(prefix="fkd-rehearsal-")
    with work as name:
        folder = Path(name)
        on_step(f"preparing {_describe(source)} for a practice Kaggle")
        with (
            _start(folder / "practice", source) as kaggle,
            environment_variables(kaggle.environment),
        ):
            on_step(f"fetching the data from the practice Kaggle at {kaggle.url}")
            competition = Competition.open()
            data = folder / "data"
            pipeline.fetch_data(competition, data, force=True)
            if shards is None:
                run, submit = _train_locally(plan, folder, on_event)
            else:
                job = KernelJob(plan, shards)
                run, submit = _train_in_kernels(competition, job, folder, on_event)
            if keep:
                on_step(f"report: {write_run_page(run, data)}")
            on_step("submitting the mean predictor, for comparison, and the ensemble")
            mean = folder / "submissions" / "mean.csv"
            write_mean_submission(data, mean)
            mean_record = pipeline.upload_submission(competition, mean, "mean predictor")
            ensemble_record = submit(competition)
            return Rehearsal(
                scores=run.scores or NO_SCORES,
                ensemble=ensemble_record,
                mean=mean_record,
                leaderboard=competition.leaderboard(),
                is_scored=kaggle.dataset.scorer.solution is not None,
            )


def _describe(source: PracticeData) -> str:
    if source.data is not None:
        return str(source.data)
    return f"{source.synthetic.training} + {source.synthetic.test} synthetic faces"


def _train_locally(plan: Plan, folder: Path, on_event: OnEvent) -> tuple[Run, Submit]:
    """Train in this process; return the run and a function that submits it."""
    data = folder / "data"
    run = pipeline.create_run(plan, data, folder / "runs")
    pipeline.train(run, data, on_event=on_event)
    if run.status == "interrupted":
        # Training ends normally on Ctrl-C; the rehearsal must end as well.
        raise KeyboardInterrupt

    def submit(competition: Competition) -> SubmissionRecord:
        path = pipeline.write_run_submission(run, data, folder / "submissions")
        return pipeline.upload_submission(competition, path, run.name)

    return run, submit


def _train_in_kernels(
    competition: Competition, job: KernelJob, folder: Path, on_event: OnKernelEvent
) -> tuple[Run, Submit]:
    """Train in kernels of the practice Kaggle; return the run and a function that submits it."""
    runs = folder / "runs"
    collected = train_on_kaggle(competition, job, runs, on_event)
    path = collect.adopt_submission(collected, runs, folder / "data", folder / "submissions")

    def submit(competition: Competition) -> SubmissionRecord:
        return collect.submit_collected(competition, collected, path, runs, collected.run.name)

    return collected.run, submit


def _start(state_dir: Path, source: PracticeData) -> PracticeKaggle:
    """Return a practice Kaggle on the default port, or on a free one if that is unavailable.

    Raises
    ------
    CompetitionError, DataError
        As ``PracticeKaggle``.
    """
    try:
        return PracticeKaggle(source, state_dir=state_dir, port=PORT, daily_limit=DAILY_LIMIT)
    except PortUnavailableError:
        return PracticeKaggle(source, state_dir=state_dir, port=0, daily_limit=DAILY_LIMIT)
