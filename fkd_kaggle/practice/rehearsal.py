"""The whole way on one machine: practice Kaggle, fetch, train (here or in a kernel), submit.

A rehearsal costs no account, no submission and no GPU quota, and goes through the same doors as
the real thing: the official client talks to a practice Kaggle over HTTP. Prints nothing itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle import files, pipeline
from fkd_kaggle.data import dataset
from fkd_kaggle.data.submission import submission_text
from fkd_kaggle.errors import CompetitionError, DataError, FkdError
from fkd_kaggle.kaggle_api.competition import Competition, LeaderboardRow, SubmissionRecord
from fkd_kaggle.kernel import collect
from fkd_kaggle.kernel.events import OnKernelEvent
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.kernel.training import train_on_kaggle
from fkd_kaggle.practice.dataset import SyntheticSize
from fkd_kaggle.practice.server import PORT, PracticeKaggle
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.report.run import write_run_page
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.scores import NO_SCORES, Scores
from fkd_kaggle.training.events import OnEvent


def write_mean_submission(data_dir: Path, target: Path) -> None:
    """Write the submission that answers every question with the training labels' mean.

    The yardstick of a rehearsal: what one scores without looking at a face.
    """
    training = dataset.read_training(data_dir)
    lookup = dataset.read_lookup(data_dir)
    means = np.nanmean(training.keypoints.reshape(len(training.ids), -1), axis=0)
    if np.isnan(means).any():
        raise DataError(f"{data_dir / 'training.csv'} has a keypoint that no row labels")
    locations = (f"{value:.5f}" for value in means[lookup.features].tolist())
    files.write_text(target, submission_text(lookup.row_ids, locations))


FACES = SyntheticSize(training=1200, test=300)
"""What is drawn for a rehearsal: enough to learn from in two minutes."""

PASSING = 0.5
"""A rehearsal's score must be at most this share of the mean predictor's."""


@dataclass(frozen=True)
class PracticeData:
    """What the practice Kaggle of a rehearsal serves: as its own options say, else drawn faces."""

    data: Path | None = None
    solution: Path | None = None
    hold_out: float | None = None
    rendered: SyntheticSize = FACES


DRAWN_FACES = PracticeData()

Submit = Callable[[Competition], SubmissionRecord]



@dataclass(frozen=True)
class Rehearsal:
    """How a rehearsal went."""

    scores: Scores
    ours: SubmissionRecord
    mean: SubmissionRecord
    """The submission that answers with the training labels' means, whatever the face."""
    leaderboard: list[LeaderboardRow]
    answers: bool = True
    """Whether the practice Kaggle had answers to score by."""

    @property
    def share(self) -> float:
        """Return our error as a share of the mean predictor's, on the private half."""
        if not (self.ours.private_score and self.mean.private_score):
            raise FkdError("the practice Kaggle has not scored its own rehearsal")
        return self.ours.private_score / self.mean.private_score

    @property
    def verdict(self) -> str:
        """Return the result in one line."""
        if not self.answers:
            return "taken, not scored: this data comes without answers to its test set"
        return (
            f"score: {self.ours.public_score:.3f} public, {self.ours.private_score:.3f} private; "
            f"the mean predictor's: {self.mean.public_score:.3f}, {self.mean.private_score:.3f}"
        )

    def check(self) -> None:
        """Refuse a score that shows that nothing was learned; nothing without answers.

        Raises
        ------
        FkdError
            The score is more than half of the mean predictor's.
        """
        if self.answers and self.share > PASSING:
            raise FkdError(
                f"rehearsal failed: the score is {self.share:.2f} × the mean predictor's, more "
                f"than {PASSING}: give it more time with --time-limit"
            )


def rehearse(
    plan: Plan,
    *,
    keep: Path | None = None,
    on_event: Callable[[Any], None],
    tell: Callable[[str], None],
    shards: int | None = None,
    served: PracticeData = DRAWN_FACES,
) -> Rehearsal:
    """Do everything once against a practice Kaggle of our own.

    Parameters
    ----------
    plan
        What to train.
    keep
        Where to leave data, run, report and submissions; a temporary folder when None.
    on_event, tell
        Told how training goes (events of ``events``, for kernels of ``kernel.events``), and
        what step is next in one line.
    shards
        Train in so many kernels; None trains in this process.
    served
        The data to do it on.

    Raises
    ------
    FkdError
        Any step fails.
    """
    place = nullcontext(str(keep)) if keep else tempfile.TemporaryDirectory(prefix="fkd-rehearsal-")
    with place as name:
        folder = Path(name)
        what = served.data or f"{served.rendered.training} + {served.rendered.test} drawn faces"
        tell(f"making {what} ready for a practice Kaggle")
        with _practice(folder / "practice", served) as kaggle, _environment(kaggle.environment):
            tell(f"fetching them from the practice Kaggle at {kaggle.url}")
            competition = Competition.open()
            data = folder / "data"
            pipeline.fetch_data(competition, data, force=True)
            if shards is None:
                run, submit = _train_locally(plan, folder, on_event)
            else:
                run, submit = _train_in_kernels(
                    competition, KernelJob(plan, shards), folder, on_event
                )
            if keep:
                tell(f"report: {write_run_page(run, data)}")
            tell("submitting the mean predictor, for comparison, and the ensemble")
            mean = folder / "submissions" / "mean.csv"
            write_mean_submission(data, mean)
            mean_record = pipeline.upload_submission(competition, mean, "mean predictor")
            record = submit(competition)
            return Rehearsal(
                run.scores or NO_SCORES, record, mean_record,
                competition.leaderboard(), kaggle.dataset.scorer.answers is not None,
            )  # fmt: skip


def _train_locally(plan: Plan, folder: Path, on_event: OnEvent) -> tuple[Run, Submit]:
    """Train in this process; return the run and how to submit it."""
    data = folder / "data"
    run = pipeline.create_run(plan, data, folder / "runs")
    pipeline.train(run, data, on_event=on_event)
    if run.status == "interrupted":
        # Training ends well on Ctrl-C; whoever pressed it wants the rehearsal ended.
        raise KeyboardInterrupt

    def submit(competition: Competition) -> SubmissionRecord:
        path = pipeline.write_run_submission(run, data, folder / "submissions")
        return pipeline.upload_submission(competition, path, run.name)

    return run, submit


def _train_in_kernels(
    competition: Competition, order: KernelJob, folder: Path, on_event: OnKernelEvent
) -> tuple[Run, Submit]:
    """Train in kernels that the practice Kaggle runs; return the run and how to submit it."""
    runs = folder / "runs"
    collected = train_on_kaggle(competition, order, runs, on_event)
    path = collect.adopt_submission(collected, runs, folder / "data", folder / "submissions")

    def submit(competition: Competition) -> SubmissionRecord:
        return collect.submit_collected(competition, collected, path, runs, collected.run.name)

    return collected.run, submit


def _practice(state_dir: Path, served: PracticeData) -> PracticeKaggle:
    """Return a practice Kaggle where the client looks for one, or elsewhere if that is taken."""

    def at(port: int) -> PracticeKaggle:
        return PracticeKaggle(
            served.data, served.solution, served.hold_out, state_dir=state_dir, port=port,
            rendered=served.rendered,
        )  # fmt: skip

    try:
        return at(PORT)
    except CompetitionError:
        return at(0)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Point the official client at the practice Kaggle for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
