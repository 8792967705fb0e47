"""What a command prints around a training; ``pipeline.train`` is a fake."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from report_runs import make_run

from fkd_kaggle import pipeline
from fkd_kaggle.cli import options, training_session
from fkd_kaggle.ensemble import run_times, training_estimate
from fkd_kaggle.ensemble.training_estimate import TrainingEstimate
from fkd_kaggle.errors import FkdError, TrainingFailedError
from fkd_kaggle.recipes.plans import Member, TrainingOptions, make_plan
from fkd_kaggle.report import run as report
from fkd_kaggle.report.mlflow_log import MlflowLogger
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import read_histories
from fkd_kaggle.runs.speeds import Histories
from fkd_kaggle.training.events import EnsembleStarted, OnEvent
from fkd_kaggle.workers.calibration import REFERENCE_CORE
from fkd_kaggle.workers.devices import Machine

pytestmark = pytest.mark.slow

remember_speeds = training_estimate.remember_speeds


class Session:
    """A blended run whose training is a fake that sets a status."""

    def __init__(self, run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run, self.data_dir = run, data_dir
        self.status = "finished"
        self.arguments: dict[str, Any] = {}
        self.remembered = 0
        monkeypatch.setattr(pipeline, "train", self._train)
        monkeypatch.setattr(training_estimate, "remember_speeds", self._remember)
        monkeypatch.setattr(report, "write_run_page", lambda *arguments: Path("report.html"))

    def _train(self, run: Run, data_dir: Path, *, on_event: OnEvent, **arguments: Any) -> Any:
        self.arguments = arguments
        run.update(status=self.status)
        return run.scores

    def _remember(self, run: Run, estimate: object, before: Histories) -> None:
        assert before.keys() == read_histories(run).keys()
        self.remembered += 1

    def train(self, time_limit: float | None = None, **arguments: Any) -> None:
        plan = SimpleNamespace(members=self.run.plan.members)
        estimate = cast(TrainingEstimate, SimpleNamespace(plan=plan))
        training_session.train(
            self.run, self.data_dir, estimate, time_limit, None, False, **arguments
        )


@pytest.fixture
def session(report_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    run = make_run(report_data, tmp_path / "runs", "one", noise=1.0)
    return Session(run, report_data, monkeypatch)


def squeezed(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the printed text on one line."""
    return " ".join(capsys.readouterr().out.split())


def test_scores_report_and_next_command_are_printed(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    session.train(600.0)
    out = squeezed(capsys)
    assert "report: report.html" in out
    assert f"next: fkd-kaggle submit {session.run.path} --data-dir {session.data_dir}" in out
    assert session.remembered == 1
    assert session.arguments["chosen"] == [member.name for member in session.run.plan.members]


def test_a_resumed_run_that_is_finished_remembers_no_speed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its networks may have been trained on another machine."""
    monkeypatch.setattr(training_estimate, "remember_speeds", remember_speeds)
    assert read_histories(session.run)
    session.train()
    assert not (session.run.path / "speed.json").exists()


def test_there_is_no_report_when_the_time_is_over(
    session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.status = "time limit"
    now = time.monotonic()
    monkeypatch.setattr(options, "command_began", lambda: now - 1000)
    session.train(60.0)
    out = squeezed(capsys)
    command = f"fkd-kaggle report {session.run.path} --data-dir {session.data_dir}"
    assert f"no report: the time is over; {command} writes it" in out
    assert "report.html" not in out
    assert "stopped by the time limit; to continue: fkd-kaggle train-ensemble --resume" in out


def test_a_run_that_is_not_logged_to_mlflow_for_lack_of_time_is_named(
    session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(options, "command_began", lambda: now - 1000)
    session.train(60.0, logger=cast(MlflowLogger, SimpleNamespace()))
    command = f"fkd-kaggle report {session.run.path} --data-dir {session.data_dir} --mlflow URI"
    expected = f"no report, nothing in MLflow: the time is over; {command} does both"
    assert expected in squeezed(capsys)


def test_the_live_page_is_served_during_the_training_only(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    session.train(600.0, live=True)
    assert "live page: http://127.0.0.1:" in squeezed(capsys)


def test_the_run_is_logged_to_mlflow(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    logger = SimpleNamespace(log_run=lambda run: f"number-of-{run.name}")
    session.train(600.0, logger=cast(MlflowLogger, logger))
    assert "one is run number-of-one in MLflow" in squeezed(capsys)


def test_an_interruption_is_raised_and_explained(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    session.status = "interrupted"
    with pytest.raises(KeyboardInterrupt):
        session.train(600.0)
    training_session.explain_interruption(session.run, session.data_dir)
    out = squeezed(capsys)
    assert "run one keeps 4 of 4 trained networks; to continue:" in out
    assert "to use what is trained: fkd-kaggle predict" in out
    assert session.remembered == 1


def test_a_shard_is_gathered_next(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    session.run.update(shard=(1, 2))
    session.train(600.0)
    out = squeezed(capsys)
    assert "shard 1 of 2: 2 of 2 networks are trained" in out
    assert "next, with the runs of all shards: fkd-kaggle gather RUN..." in out
    assert "submit" not in out


def test_failed_members_are_named(session: Session) -> None:
    session.run.update(failures={"deep15-f0": "out of memory"})
    with pytest.raises(TrainingFailedError) as error:
        session.train(600.0)
    message = str(error.value)
    assert message.startswith("1 of 4 networks could not be trained (deep15-f0: out of memory)")
    assert "to continue: fkd-kaggle train-ensemble --resume" in message


def test_mlflow_is_connected_only_if_wanted() -> None:
    assert training_session.connect_mlflow_server(None) is None


def test_the_estimate_is_printed_and_a_limit_that_is_too_short_refused(
    report_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run_times, "measure_core", lambda: REFERENCE_CORE)
    monkeypatch.setattr(run_times, "has_fast_bfloat16", lambda: True)
    plan = make_plan(TrainingOptions(("quick",)))

    def estimate(limit: float | None, todo: Sequence[Member]) -> TrainingEstimate:
        return training_session.estimate_and_print(
            plan, todo, report_data, tmp_path, limit, None, None
        )

    assert estimate(None, plan.members).todo == plan.members
    assert squeezed(capsys).startswith("expected duration: about ")
    with pytest.raises(FkdError, match="--time-limit 1 s is too short"):
        estimate(1.0, plan.members)
    # A finished run has nothing to say, whatever the limit.
    assert estimate(1.0, ()).todo == ()
    assert squeezed(capsys) == ""


def test_no_other_recipe_is_proposed_for_a_run_that_is_resumed(
    report_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run_times, "measure_core", lambda: REFERENCE_CORE)
    monkeypatch.setattr(run_times, "has_fast_bfloat16", lambda: True)
    monkeypatch.setattr(run_times, "inspect_machine", lambda: Machine((), 2, 32 << 30))
    plan = make_plan(TrainingOptions(("winning",)))
    for is_resumed in (False, True):
        training_session.estimate_and_print(
            plan, plan.members, report_data, tmp_path, 150.0, None, None, is_resumed=is_resumed
        )
        out = squeezed(capsys)
        assert out.startswith("2:30 min on 2 cores: ")
        assert ("--recipe quick fits" in out) is not is_resumed
        assert "; all epochs of the full plan take about " in out


def test_events_reach_all_listeners_and_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []
    clock = training_session._StartClock()
    start = EnsembleStarted("one", (), 0, 10, "float32", None)
    training_session._to_all([clock, events.append])(start)
    assert events == [start]
    assert clock.leaves_time(None)
    assert clock.leaves_time(60.0)
    monkeypatch.setattr(clock, "began", clock.began - 71)
    assert not clock.leaves_time(60.0)
