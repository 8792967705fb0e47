"""``predict`` and ``submit`` with several runs, which are blended into one submission."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Command, assert_one_line_error
from report_runs import make_run

Folders = tuple[str | Path, ...]


@pytest.fixture(scope="module")
def runs_dir(report_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs ``one`` and ``two``; read only."""
    folder = tmp_path_factory.mktemp("mixture")
    for name, noise in (("one", 1.0), ("two", 1.1)):
        make_run(report_data, folder, name, noise, seed=len(name) + int(10 * noise))
    return folder


@pytest.fixture
def folders(report_data: Path, runs_dir: Path, tmp_path: Path) -> Folders:
    """The options of the folders."""
    submissions = ("--submissions-dir", tmp_path / "submissions")
    return ("--data-dir", report_data, "--runs-dir", runs_dir, *submissions)


@pytest.mark.slow
def test_several_runs_give_one_file_with_fitted_weights_and_their_scores(
    fkd: Command, folders: Folders, report_data: Path, tmp_path: Path
) -> None:
    result = fkd("predict", "one", "two", *folders)
    assert result.code == 0, result.all
    assert "weights fitted on 150 faces that all runs hold out" in result.out
    assert "expected on the leaderboard" in result.out
    (path,) = (tmp_path / "submissions").glob("*.csv")
    assert f"wrote {path}" in result.out.replace("\n", "")
    lines = path.read_text().splitlines()
    rows = len((report_data / "SampleSubmission.csv").read_text().splitlines())
    assert len(lines) == rows
    locations = np.array([float(line.split(",")[1]) for line in lines[1:]])
    assert np.isfinite(locations).all()
    assert (locations >= 0).all()
    assert (locations <= 96).all()


def test_a_run_that_is_named_twice_is_refused(
    fkd: Command, folders: Folders, tmp_path: Path
) -> None:
    assert_one_line_error(fkd("predict", "one", "one", *folders), "one", "twice")
    assert not list(tmp_path.glob("submissions/*.csv"))
