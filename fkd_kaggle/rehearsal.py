"""The whole way on one machine: practice Kaggle, fetch, train, submit, leaderboard.

A rehearsal costs no account, no submission and no GPU quota, and uses the same doors as the real
thing: the official client talks to the practice Kaggle over HTTP.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from fkd_kaggle import ensemble, pipeline
from fkd_kaggle.competition import Competition, LeaderboardRow
from fkd_kaggle.errors import FkdError
from fkd_kaggle.events import OnEvent, Scores
from fkd_kaggle.practice.dataset import Rendered
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.recipes import Plan

FACES = Rendered(training=1200, test=300, seed=0)
"""What is drawn for a rehearsal: enough to learn from in two minutes."""


@dataclass(frozen=True)
class Rehearsal:
    """How a rehearsal went; scores are RMSE in pixels on all of the drawn test faces."""

    scores: Scores
    score: float
    mean_score: float
    """What answering with the training labels' means scores."""
    leaderboard: list[LeaderboardRow]


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
        Where to leave data, run and submission; a temporary folder when None.
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
        with (
            PracticeKaggle(state_dir=folder / "practice", port=0, rendered=rendered) as kaggle,
            _environment(kaggle.environment),
        ):
            tell(f"practice Kaggle at {kaggle.url}")
            competition = Competition.open()
            pipeline.fetch(competition, folder / "data", force=True)
            run = ensemble.start(folder / "runs", None, plan, folder / "data")
            scores = ensemble.train(run, folder / "data", on_event=on_event)
            mean = folder / "submissions" / "mean.csv"
            pipeline.mean_submission(folder / "data", mean)
            tell("submitting the mean predictor and the ensemble")
            mean_score = _score(pipeline.upload(competition, mean, "mean predictor"))
            path = pipeline.write_submission(run, folder / "data", folder / "submissions")
            score = _score(pipeline.upload(competition, path, run.name))
            return Rehearsal(scores, score, mean_score, competition.leaderboard())


def _score(record: pipeline.SubmissionRecord) -> float:
    """Return the private score: half of the answers, as on Kaggle."""
    if record.private_score is None:
        raise FkdError("the practice Kaggle has not scored a submission of its own rehearsal")
    return record.private_score


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
