"""``gather``: the runs of shards become one run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Command, assert_one_line_error

from fkd_kaggle.runs.folder import Run

pytestmark = pytest.mark.slow


@pytest.fixture
def shards(report_run: Run, tmp_path: Path) -> Path:
    """A folder with the runs ``half-1`` and ``half-2``: one fold each of ``report_run``."""
    for number in (1, 2):
        path = tmp_path / "runs" / f"half-{number}"
        shutil.copytree(report_run.path, path)
        for member in report_run.plan.members:
            if member.fold != number - 1:
                shutil.rmtree(path / "members" / member.name)
        for name in ("blend.npz", "report.html", "report.json"):
            (path / name).unlink(missing_ok=True)
        info = json.loads((path / "run.json").read_text())
        info.pop("scores")
        (path / "run.json").write_text(json.dumps(info))
    return tmp_path / "runs"


def test_shards_are_blended_like_one_run(
    fkd: Command, shards: Path, report_run: Run, report_data: Path
) -> None:
    folders = ("--data-dir", report_data, "--runs-dir", shards)
    result = fkd("gather", "half-1", "half-2", "--run", "whole", *folders)
    assert result.code == 0, result.all
    assert "expected on the leaderboard" in result.out
    assert f"report: {shards / 'whole' / 'report.html'}" in result.out.replace("\n", "")
    assert "run whole: 4 networks of 2 runs" in result.out
    assert result.out.endswith("next: fkd-kaggle submit whole\n")
    whole = Run.open(shards / "whole")
    assert whole.scores is not None
    assert report_run.scores is not None
    assert whole.scores.combined == pytest.approx(report_run.scores.combined)


def test_a_missing_shard_is_named_unless_a_part_is_enough(
    fkd: Command, shards: Path, report_data: Path
) -> None:
    folders = ("--data-dir", report_data, "--runs-dir", shards)
    result = fkd("gather", "half-1", "--run", "whole", *folders)
    assert_one_line_error(result, "heatmap-small-f1", "deep15-f1", "--partial")
    assert not (shards / "whole").exists()
    result = fkd("gather", "half-1", "--run", "whole", "--partial", *folders)
    assert result.code == 0, result.all
    assert Run.open(shards / "whole").scores is not None
