"""Runs in MLflow: with the extra ``mlflow``, and with a client that records its calls."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fkd_kaggle.errors import FkdError
from fkd_kaggle.report.mlflow_log import MlflowLogger, connect_mlflow
from fkd_kaggle.report.run import write_run_page
from fkd_kaggle.runs.folder import Run

URI = "https://someone:secret@mlflow.example"


class RecordingClient:
    """The methods of MLflow's client that are used; keeps what is logged in memory."""

    def __init__(self, tracking_uri: str = URI, refuses: str = "") -> None:
        self.tracking_uri = tracking_uri
        self.refuses = refuses
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.files: list[str] = []
        self.params: dict[str, str] = {}
        self.metrics: dict[str, list[tuple[float, int | None]]] = {}
        self.status = ""

    def _request(self, name: str) -> None:
        if name == self.refuses:
            raise ConnectionError(f"no route to {self.tracking_uri}\nRetried 2 times")

    def search_experiments(self, max_results: int) -> list[str]:
        self._request("search_experiments")
        return list(self.experiments)[:max_results]

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        number = self.experiments.get(name)
        return SimpleNamespace(experiment_id=number) if number else None

    def create_experiment(self, name: str) -> str:
        assert name not in self.experiments
        self.experiments[name] = str(len(self.experiments) + 1)
        return self.experiments[name]

    def create_run(
        self, experiment_id: str, run_name: str, tags: dict[str, str]
    ) -> SimpleNamespace:
        self._request("create_run")
        number = f"run-{len(self.runs)}"
        self.runs[number] = {"experiment": experiment_id, "name": run_name, "tags": tags}
        return SimpleNamespace(info=SimpleNamespace(run_id=number))

    def log_param(self, run_id: str, key: str, value: str) -> None:
        assert run_id in self.runs
        assert key not in self.params, "MLflow refuses a second value"
        self.params[key] = value

    def log_metric(self, run_id: str, key: str, value: float, step: int | None = None) -> None:
        self._request("log_metric")
        self.metrics.setdefault(key, []).append((value, step))

    def log_artifact(self, run_id: str, local_path: str) -> None:
        assert Path(local_path).is_file()
        self.files.append(Path(local_path).name)

    def set_terminated(self, run_id: str, status: str | None = None) -> None:
        assert run_id in self.runs
        self.status = status or "FINISHED"


@pytest.fixture
def recording_mlflow(monkeypatch: pytest.MonkeyPatch) -> type[RecordingClient]:
    """Make ``RecordingClient`` MLflow's client."""
    module = ModuleType("mlflow.tracking")
    module.MlflowClient = RecordingClient  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", module)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return RecordingClient


def test_parameters_scores_histories_and_files_of_a_run_are_logged(
    report_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(report_run.path, tmp_path / report_run.name)
    run = Run.open(tmp_path / report_run.name)
    for name in ("report.html", "report.json"):
        (run.path / name).write_text("a page")
    client = RecordingClient()
    assert MlflowLogger(URI, client).log_run(run) == "run-0"
    logged = client.runs["run-0"]
    assert (logged["experiment"], logged["name"]) == ("1", report_run.name)
    assert logged["tags"]["status"] == report_run.status == "finished"
    assert logged["tags"]["data"] == report_run.data
    plan, scores = report_run.plan, report_run.scores
    assert client.params["folds"] == "2"
    assert client.params["time_limit"] == "60.0"
    recipe = plan.members[0].recipe
    assert client.params[f"{recipe.name}.architecture"] == recipe.architecture
    assert client.params[f"{recipe.name}.digest"] == recipe.digest
    assert scores is not None
    for name in ("complete", "partial", "combined", "expected"):
        assert client.metrics[name] == [(getattr(scores, name), None)]
    for name, score in scores.by_member.items():
        assert client.metrics[f"alone {name}"] == [(score, None)]
    member = plan.members[0].name
    assert client.metrics[f"rmse {member}"] == [(2.0, 1), (1.5, 2)]
    assert set(client.files) == {"report.html", "report.json", "run.json"}
    assert client.status == "FINISHED"


def test_later_runs_are_logged_to_the_same_experiment(report_run: Run) -> None:
    client = RecordingClient()
    logger = MlflowLogger(URI, client)
    logger.log_run(report_run)
    client.params.clear()
    assert logger.log_run(report_run) == "run-1"
    assert {run["experiment"] for run in client.runs.values()} == {"1"}


def test_a_run_without_scores_and_report_is_logged(report_run: Run, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    content = json.loads((report_run.path / "run.json").read_text())
    content.pop("scores")
    (tmp_path / "bare" / "run.json").write_text(json.dumps(content))
    client = RecordingClient()
    MlflowLogger(URI, client).log_run(Run.open(tmp_path / "bare"))
    assert client.params["folds"] == "2"
    assert client.metrics == {}
    assert client.files == ["run.json"]


@pytest.mark.parametrize("request_name", ["create_run", "log_metric"])
def test_a_failure_names_the_command_that_logs_again_and_no_password(
    report_run: Run, request_name: str
) -> None:
    client = RecordingClient(refuses=request_name)
    with pytest.raises(FkdError) as caught:
        MlflowLogger(URI, client).log_run(report_run)
    message = str(caught.value)
    assert f"`fkd-kaggle report {report_run.name} --mlflow URI` logs it again" in message
    assert "no route to https://" in message
    assert "mlflow.example" in message
    assert "\n" not in message
    assert "secret" not in message
    # A run that exists in MLflow is not left as if it were under way.
    assert client.status == ("FAILED" if client.runs else "")


def test_a_server_that_refuses_the_first_request_is_one_line(
    recording_mlflow: type[RecordingClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(client: RecordingClient, max_results: int) -> None:
        raise ConnectionError(f"HTTP 401 from {client.tracking_uri}\nUnauthorized")

    monkeypatch.setattr(recording_mlflow, "search_experiments", refuse)
    with pytest.raises(FkdError, match=r"^cannot reach .*HTTP 401.*; check --mlflow$") as caught:
        connect_mlflow(URI)
    assert "secret" not in str(caught.value)


def test_a_folder_relative_to_the_current_one_is_a_full_uri_for_mlflow(
    recording_mlflow: type[RecordingClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert connect_mlflow("file:mine").client.tracking_uri == (tmp_path / "mine").as_uri()
    absolute = (tmp_path / "other").as_uri()
    assert connect_mlflow(absolute).client.tracking_uri == absolute
    assert connect_mlflow(URI).client.tracking_uri == URI


def test_mlflow_gives_up_after_seconds_unless_the_user_wants_more(
    recording_mlflow: type[RecordingClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "9")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    connect_mlflow(URI)
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "9"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "20"


def test_a_run_is_logged_with_its_report(
    report_run: Run, report_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("mlflow")
    write_run_page(report_run, report_data)
    logger = connect_mlflow((tmp_path / "mlruns").as_uri())
    number = logger.log_run(report_run)
    logged = logger.client.get_run(number)
    assert logged.info.status == "FINISHED"
    assert logged.data.params["folds"] == "2"
    assert report_run.scores is not None
    assert logged.data.metrics["combined"] == pytest.approx(report_run.scores.combined)
    member = report_run.plan.members[0].name
    assert len(logger.client.get_metric_history(number, f"rmse {member}")) == 2
    names = {one.path for one in logger.client.list_artifacts(number)}
    assert names == {"report.html", "report.json", "run.json"}


def test_an_unreachable_server_is_one_line() -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(FkdError) as caught:
        connect_mlflow("http://someone:secret@127.0.0.1:9")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_mlflow(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("mlflow"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_mlflow)
    for name in [one for one in sys.modules if one.startswith("mlflow")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(FkdError, match=r"pip install 'fkd-kaggle\[mlflow\]'"):
        connect_mlflow("file:mlruns")
