"""Tests of ``--json``: one document on standard output, with the documented fields."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from fkd_kaggle.data import submission
from fkd_kaggle.display import json_output
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.runs.folder import list_runs

OLD_RUNS = Path(__file__).parents[1] / "data" / "old_run" / "runs"

PAGE = Path(__file__).parents[2] / "docs" / "json.md"


def documented_fields(command: str) -> set[str]:
    """Return the fields that docs/json.md lists for a command, without those of inner objects."""
    section = PAGE.read_text().split(f"## {command}\n")[1].split("\n## ")[0]
    return fields_of(section.split("` contains:")[0])


def fields_of(text: str) -> set[str]:
    """Return the names in the first cells of a table."""
    cells = re.findall(r"(?m)^\| (`[^|]*) \|", text)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def document(command: Command, *arguments: str | Path) -> Any:
    """Run a command and return the document on standard output."""
    result = command(*arguments, "--json")
    assert result.code == 0, result.all
    return json.loads(result.out)


def test_runs_have_the_documented_fields(fkd: Command) -> None:
    shutil.copytree(OLD_RUNS / "old_run", "runs/old_run")
    (run,) = document(fkd, "runs")["runs"]
    assert set(run) == documented_fields("runs")
    assert run["name"] == "old_run"
    assert run["scores"]["combined"] > 0
    inner = PAGE.read_text().split("`scores` contains:")[1].split("\n## ")[0]
    assert set(run["scores"]) == fields_of(inner)
    assert document(fkd, "runs", "--runs-dir", "nowhere") == {"runs": []}


def test_recipes_have_the_documented_fields(fkd: Command) -> None:
    recipes = document(fkd, "recipes")["recipes"]
    assert {frozenset(recipe) for recipe in recipes} == {frozenset(documented_fields("recipes"))}
    quick = next(recipe for recipe in recipes if recipe["name"] == "quick")
    assert quick["kind"] == "ensemble"
    assert quick["members"] == ["cascade"]
    assert document(fkd, "recipes", "heatmap")["recipes"][0]["architecture"] == "heatmap"


def test_submissions_have_the_documented_fields(
    fkd: Command, practice: PracticeKaggle, competition_dir: Path
) -> None:
    sample = competition_dir / "SampleSubmission.csv"
    assert fkd("fetch", "-q").code == 0
    assert fkd("submit", "--file", sample, "-m", "zeros", "--accept-implausible").code == 0
    (entry,) = document(fkd, "submissions")["submissions"]
    assert set(entry) == documented_fields("submissions")
    assert entry["status"] == "complete"
    assert entry["message"] == "zeros"
    assert entry["public_score"] > 1
    assert document(fkd, "submissions", "--local") == {"submissions": []}
    rows = document(fkd, "leaderboard")["leaderboard"]
    assert {frozenset(row) for row in rows} == {frozenset(documented_fields("leaderboard"))}
    assert sum(row["own"] for row in rows) == 1


def test_local_submission_is_one_entry(tmp_path: Path) -> None:
    file = submission.LocalSubmission(
        tmp_path / "a.csv", "quick-1", None, float("nan"), None, None, None
    )
    text = json_output.to_json(json_output.submissions_document([file], None))
    (entry,) = json.loads(text)["submissions"]
    assert entry["run"] == "quick-1"
    assert entry["expected"] is None
    assert entry["status"] is None


def test_runs_of_earlier_versions_are_documents() -> None:
    found = list_runs(OLD_RUNS)
    assert len(json_output.runs_document(found)["runs"]) == len(found) > 0


def test_page_documents_every_command_with_json(fkd: Command) -> None:
    for name in ("runs", "submissions", "leaderboard", "recipes", "evaluate", "doctor"):
        assert "--json" in fkd(name, "--help").out
        assert len(documented_fields(name)) > 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_null(value: float) -> None:
    assert json.loads(json_output.to_json({"a": [value, 1.5]})) == {"a": [None, 1.5]}
