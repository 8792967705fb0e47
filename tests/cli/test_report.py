"""The command ``report`` and the options of corrections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Command, assert_one_line_error
from report_runs import make_run

from fkd_kaggle.ensemble import run_blend
from fkd_kaggle.ensemble.blend import FittedBlend, fit_blend
from fkd_kaggle.report import mlflow_log
from fkd_kaggle.runs.folder import Run


@pytest.mark.slow
def test_a_page_is_written_again(fkd: Command, report_data: Path, tmp_path: Path) -> None:
    run = make_run(report_data, tmp_path / "runs", "one", noise=1.0)
    folders = ("--data-dir", report_data, "--runs-dir", tmp_path / "runs")
    result = fkd("report", *folders)
    assert result.code == 0, result.all
    assert str(run.path / "report.html") in result.out
    assert (run.path / "report.html").exists()
    result = fkd("report", "one", "-o", tmp_path / "page.html", *folders)
    assert result.code == 0, result.all
    assert (tmp_path / "page.html").exists()


@pytest.mark.slow
def test_mlflow_gets_the_current_page_also_with_another_output(
    fkd: Command, report_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(report_data, tmp_path / "runs", "one", noise=1.0)
    logged = []

    class Logger:
        def log_run(self, run: Run) -> str:
            logged.append((run.path / "report.html").exists())
            return "1"

    monkeypatch.setattr(mlflow_log, "connect_mlflow", lambda uri: Logger())
    folders = ("--data-dir", report_data, "--runs-dir", tmp_path / "runs")
    result = fkd("report", run.name, "-o", tmp_path / "page.html", "--mlflow", "URI", *folders)
    assert result.code == 0, result.all
    assert logged == [True]


@pytest.mark.slow
def test_a_run_without_a_blend_is_blended_first(
    fkd: Command, report_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(report_data, tmp_path / "runs", "one", noise=1.0)
    (run.path / "out_of_fold.npz").unlink()
    run.update(status="training")

    def end_training(*arguments: Any) -> FittedBlend:
        run.update(status="time limit")  # another process ends the training meanwhile
        return fit_blend(*arguments)

    monkeypatch.setattr(run_blend, "fit_blend", end_training)
    result = fkd("report", "one", "--data-dir", report_data, "--runs-dir", tmp_path / "runs")
    assert result.code == 0, result.all
    assert (run.path / "out_of_fold.npz").exists()
    assert run.status == "time limit"


@pytest.mark.slow
def test_two_runs_are_compared_in_a_sentence(
    fkd: Command, report_data: Path, tmp_path: Path
) -> None:
    for name, noise in (("one", 1.0), ("two", 1.6)):
        make_run(report_data, tmp_path / "runs", name, noise=noise, seed=len(name))
    folders = ("--data-dir", report_data, "--runs-dir", tmp_path / "runs")
    result = fkd("report", "two", "one", *folders)
    assert result.code == 0, result.all
    assert "one is better by" in result.out
    assert "px on all faces" in result.out
    assert (tmp_path / "runs" / "report-two-one.html").exists()
    assert_one_line_error(fkd("report", "two", "two", *folders), "named twice")


def test_wrong_runs_are_refused_with_one_line(
    fkd: Command, report_data: Path, competition_dir: Path, tmp_path: Path
) -> None:
    make_run(report_data, tmp_path / "runs", "one", noise=1.0)
    runs = ("--runs-dir", tmp_path / "runs")
    assert_one_line_error(fkd("report", "none", "--data-dir", report_data, *runs), "none")
    assert_one_line_error(
        fkd("report", "one", "--data-dir", competition_dir, *runs), "another data set"
    )
    assert_one_line_error(
        fkd("report", "one", "-o", tmp_path, "--data-dir", report_data, *runs), "is a folder"
    )


@pytest.mark.slow
def test_explore_shows_corrected_labels(fkd: Command, report_data: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "corrections.csv", tmp_path / "out"
    path.write_text("row,keypoint,x,y\n1,nose_tip,40,41\n2,nose_tip,,\n")
    result = fkd("explore", "--data-dir", report_data, "-o", out, "--corrections", path)
    assert result.code == 0, result.all
    page = (out / "explore.html").read_text(encoding="utf-8")
    assert "1 moved, 1 dropped" in page
    path.write_text("row,keypoint,x,y\n1,nose,40,41\n")
    failed = fkd("explore", "--data-dir", report_data, "--corrections", path)
    assert_one_line_error(failed, "line 2", "nose")
