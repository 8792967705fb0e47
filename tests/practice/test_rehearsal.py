"""The rehearsal: fetch, train and submit on few synthetic faces; its verdict."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY_CNN

from fkd_kaggle.errors import CompetitionError, DataError, FkdError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.submissions import SubmissionRecord
from fkd_kaggle.kernel.events import KernelEvent, KernelStateChanged
from fkd_kaggle.practice import rehearsal, server
from fkd_kaggle.practice.dataset import PracticeData, ServedDataset, SyntheticSize
from fkd_kaggle.practice.rehearsal import Rehearsal
from fkd_kaggle.practice.server import PORT, PortUnavailableError, PracticeKaggle
from fkd_kaggle.recipes import plans
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.runs.scores import Scores
from fkd_kaggle.training.events import EnsembleEnded, EpochEnded, Event


def record(private: float | None) -> SubmissionRecord:
    return SubmissionRecord(1, "a.csv", "", None, "complete", "", private, private, "practice")


def rehearsed(ensemble: float | None, mean: float | None) -> Rehearsal:
    return Rehearsal(Scores(None, None, None, None, {}), record(ensemble), record(mean), [])


@pytest.mark.slow
@pytest.mark.parametrize("shards", [None, 1])
def test_a_rehearsal_keeps_data_run_and_submissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int | None
) -> None:
    """Trained in this process, and by the kernel script in a kernel."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KAGGLE_API_ENVIRONMENT", "FKD_PRACTICE_URL", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_CNN)
    events: list[Event | KernelEvent] = []
    steps: list[str] = []
    keep = tmp_path / "kept"
    plan = plans.make_plan(plans.TrainingOptions([str(path)], folds=2, precision="float32"))
    faces = SyntheticSize(training=24, test=12)
    result = rehearsal.rehearse(
        plan, keep=keep, on_event=events.append, on_step=steps.append, shards=shards,
        source=PracticeData(synthetic=faces),
    )  # fmt: skip
    last = EnsembleEnded if shards is None else KernelStateChanged
    assert isinstance(events[-1], last), events
    assert result.scores.combined is not None
    assert result.ensemble.private_score is not None
    assert result.mean.private_score is not None
    assert "practice" in [row.team for row in result.leaderboard]
    assert f"{result.mean.private_score:.3f}" in result.verdict
    assert any("http://localhost:" in line for line in steps)
    assert len(list((keep / "submissions").glob("*.csv"))) == 2
    assert list((keep / "runs").glob("*/report.html"))
    assert os.environ.get("KAGGLE_API_ENVIRONMENT") == before.get("KAGGLE_API_ENVIRONMENT")
    assert os.environ.get("FKD_PRACTICE_URL") == before.get("FKD_PRACTICE_URL")


@pytest.fixture
def taken_port() -> Iterator[None]:
    """Another socket listens on the default port of the practice Kaggle."""
    with socket.socket() as taken:
        # Connections of an earlier test may be in the state TIME_WAIT.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # another program listens there already
            taken.bind(("127.0.0.1", PORT))
            taken.listen()
        yield


@pytest.mark.slow
def test_ctrl_c_ends_the_rehearsal_and_removes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_port: None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_CNN)
    plan = plans.make_plan(plans.TrainingOptions([str(path)], folds=2, precision="float32"))
    plan = replace(plan, ensemble=replace(plan.ensemble, trained_folds=1))
    steps: list[str] = []

    def interrupt(event: Event) -> None:
        if isinstance(event, EpochEnded):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearsal.rehearse(
            plan,
            on_event=interrupt,
            on_step=steps.append,
            source=PracticeData(synthetic=SyntheticSize(24, 12)),
        )
    assert not any("submitting" in line for line in steps)
    assert not any(f":{PORT}" in line for line in steps)  # it uses a free port
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.fixture
def smoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plan:
    """A plan for rehearsals that end before they train, without credentials."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KAGGLE_API_ENVIRONMENT", "FKD_PRACTICE_URL", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    return plans.make_plan(plans.TrainingOptions(["smoke"]))


def test_rehearsals_in_one_folder_have_no_daily_limit(tmp_path: Path, smoke: Plan) -> None:
    left: list[int | None] = []

    def ask(step: str) -> None:
        if step.startswith("fetching"):
            left.append(Competition.open().submissions_left())
            raise KeyboardInterrupt  # before the training

    with pytest.raises(KeyboardInterrupt):
        rehearsal.rehearse(
            smoke,
            keep=tmp_path / "kept",
            on_event=print,
            on_step=ask,
            source=PracticeData(synthetic=SyntheticSize(24, 12)),
        )
    assert left[0] is not None
    assert left[0] > 1000


@pytest.mark.parametrize("error", [CompetitionError("disk full"), DataError("no competition")])
def test_data_that_cannot_be_prepared_is_prepared_once(
    tmp_path: Path, smoke: Plan, monkeypatch: pytest.MonkeyPatch, error: FkdError
) -> None:
    prepared: list[Path] = []

    def fail(state_dir: Path, source: PracticeData) -> ServedDataset:
        prepared.append(state_dir)
        raise error

    monkeypatch.setattr(server, "prepare_dataset", fail)
    with pytest.raises(type(error), match=str(error)):
        rehearsal.rehearse(smoke, keep=tmp_path, on_event=print, on_step=print)
    assert len(prepared) == 1


def test_a_taken_port_has_an_exception_of_its_own(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortUnavailableError, match="is taken"):
            PracticeKaggle(state_dir=tmp_path, port=taken.getsockname()[1])
    assert not list(tmp_path.iterdir())


def test_half_of_the_mean_predictors_error_passes() -> None:
    rehearsed(1.0, 2.0).check()
    with pytest.raises(FkdError, match=r"rehearsal failed: the score is 0\.51 ×"):
        rehearsed(1.02, 2.0).check()


def test_a_rehearsal_without_scores_fails() -> None:
    with pytest.raises(FkdError, match="not scored"):
        rehearsed(None, 2.0).check()
    assert rehearsed(1.0, 4.0).share == 0.25
