"""The whole way on one machine: practice Kaggle, fetch, train, submit, leaderboard.

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

from fkd_kaggle import ensemble, pipeline, report
from fkd_kaggle.competition import Competition, LeaderboardRow, SubmissionRecord
from fkd_kaggle.errors import CompetitionError, FkdError
from fkd_kaggle.events import OnEvent, Scores
from fkd_kaggle.practice.dataset import Rendered
from fkd_kaggle.practice.server import PORT, PracticeKaggle
from fkd_kaggle.recipes import Plan
from fkd_kaggle.run import Run

FACES = Rendered(training=1200, test=300, seed=0)
"""What is drawn for a rehearsal: enough to learn from in two minutes."""
PASSING = 0.5
"""A rehearsal's score must be at most this share of the mean predictor's."""


@dataclass(frozen=True)
class Rehearsal:
    """How a rehearsal went."""

    scores: Scores
    ours: SubmissionRecord
    mean: SubmissionRecord
    """The submission that answers with the training labels' means, whatever the face."""
    leaderboard: list[LeaderboardRow]

    @property
    def share(self) -> float:
        """Return our error as a share of the mean predictor's, on the private half."""
        if not (self.ours.private_score and self.mean.private_score):
            raise FkdError("the practice Kaggle has not scored its own rehearsal")
        return self.ours.private_score / self.mean.private_score

    @property
    def verdict(self) -> str:
        """Return the result in one line."""
        return (
            f"score: {self.ours.public_score:.3f} public, {self.ours.private_score:.3f} private; "
            f"the mean predictor's: {self.mean.public_score:.3f}, {self.mean.private_score:.3f}"
        )

    def check(self) -> None:
        """Refuse a score that shows that nothing was learned.

        Raises
        ------
        FkdError
            The score is more than half of the mean predictor's.
        """
        if self.share > PASSING:
            raise FkdError(
                f"rehearsal failed: the score is {self.share:.2f} × the mean predictor's, more "
                f"than {PASSING}: give it more time with --time-limit"
            )


def rehearse(
    plan: Plan,
    *,
    keep: Path | None = None,
    on_event: OnEvent,
    tell: Callable[[str], None],
    rendered: Rendered = FACES,
) -> Rehearsal:
    """Do everything once against a practice Kaggle of our own.

    Parameters
    ----------
    plan
        What to train.
    keep
        Where to leave data, run, report and submissions; a temporary folder when None.
    on_event, tell
        Told how training goes, and what step is next in one line.
    rendered
        How many faces to draw.

    Raises
    ------
    FkdError
        Any step fails.
    """
    place = nullcontext(str(keep)) if keep else tempfile.TemporaryDirectory(prefix="fkd-rehearsal-")
    with place as name:
        folder = Path(name)
        tell(f"drawing {rendered.training} training and {rendered.test} test faces")
        with _practice(folder / "practice", rendered) as kaggle, _environment(kaggle.environment):
            tell(f"fetching them from the practice Kaggle at {kaggle.url}")
            competition = Competition.open()
            data = folder / "data"
            pipeline.fetch(competition, data, force=True)
            run = ensemble.start(folder / "runs", None, plan, data)
            scores = ensemble.train(run, data, on_event=on_event)
            if Run.open(run.path).status == "interrupted":
                # Training ends well on Ctrl-C; whoever pressed it wants the rehearsal ended.
                raise KeyboardInterrupt
            if keep:
                tell(f"report: {report.write(run, data)}")
            tell("submitting the mean predictor, for comparison, and the ensemble")
            mean = folder / "submissions" / "mean.csv"
            pipeline.mean_submission(data, mean)
            mean_record = pipeline.upload(competition, mean, "mean predictor")
            path = pipeline.write_submission(run, data, folder / "submissions")
            record = pipeline.upload(competition, path, run.name)
            return Rehearsal(scores, record, mean_record, competition.leaderboard())


def _practice(state_dir: Path, rendered: Rendered) -> PracticeKaggle:
    """Return a practice Kaggle where the client looks for one, or elsewhere if that is taken."""
    try:
        return PracticeKaggle(state_dir=state_dir, port=PORT, rendered=rendered)
    except CompetitionError:
        return PracticeKaggle(state_dir=state_dir, port=0, rendered=rendered)


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
