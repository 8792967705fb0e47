"""Runs in MLflow; needs the extra ``mlflow``."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from fkd_kaggle.errors import FkdError
from fkd_kaggle.report.mlflow_log import connect_mlflow
from fkd_kaggle.report.run import write_run_page
from fkd_kaggle.runs.folder import Run


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
