"""The commands ``recipes``, ``runs`` and ``demo``; nothing is trained."""

from __future__ import annotations

import csv
import io
import json
import shutil
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Command, assert_one_line_error

from fkd_kaggle.photos import demo
from fkd_kaggle.photos.prediction import PhotoModel
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs.folder import Run

OLD_RUN = Path(__file__).parents[1] / "data" / "old_run" / "runs" / "old_run"


@pytest.fixture
def trained(fkd: Command) -> Path:
    """The run ``runs/old_run`` in the folder of the command; it has trained networks."""
    shutil.copytree(OLD_RUN, "runs/old_run")
    return Path("runs/old_run")


def make_empty_run(name: str) -> Path:
    """Write a run without a trained network."""
    return Run.create(Path("runs"), name, make_plan(TrainingOptions(("smoke",))), "0" * 32).path


def record_upload(run: str) -> None:
    """Write a submission of a run that was uploaded."""
    Path("submissions").mkdir()
    Path("submissions/1.csv").write_text("RowId,Location\n1,2\n")
    record = {"file": "1.csv", "sha256": "0" * 64, "run": run, "kaggle": {"ref": 7}}
    Path("submissions/1.json").write_text(json.dumps(record))


def test_delete_removes_the_named_runs_only(fkd: Command, trained: Path) -> None:
    empty = make_empty_run("empty")
    refused = fkd("runs", "delete", "empty")
    assert_one_line_error(refused, "delete 1 of the runs", "add --yes")
    assert empty.exists()
    result = fkd("runs", "delete", "empty", "--yes")
    assert result.code == 0, result.all
    assert "empty: not trained" in result.out
    assert "deleted empty (" in result.out
    assert not empty.exists()
    assert trained.exists()
    assert_one_line_error(fkd("runs", "delete", "old_rum", "--yes"), "did you mean 'old_run'")


def test_a_submitted_run_is_deleted_only_on_request(fkd: Command, trained: Path) -> None:
    record_upload("old_run")
    result = fkd("runs", "delete", "old_run", "--yes")
    assert_one_line_error(result, "old_run was submitted to Kaggle: add --submitted")
    assert "nothing to delete" in fkd("runs", "prune", "--keep", "0", "--yes").out
    assert trained.exists()
    result = fkd("runs", "delete", "old_run", "--yes", "--submitted")
    assert result.code == 0, result.all
    assert "trained networks" in result.out
    assert not trained.exists()


def test_prune_deletes_runs_without_networks(fkd: Command, trained: Path) -> None:
    empty = make_empty_run("empty")
    result = fkd("runs", "prune", "--yes")
    assert result.code == 0, result.all
    assert "deleted empty (" in result.out
    assert (empty.exists(), trained.exists()) == (False, True)
    assert fkd("runs", "prune", "--yes").out == "nothing to delete\n"
    assert fkd("runs", "prune", "--keep", "1", "--yes").out == "nothing to delete\n"
    assert "deleted old_run (" in fkd("runs", "prune", "--keep", "0", "--yes").out
    assert not trained.exists()


@pytest.mark.parametrize("command", [("delete", "old_run"), ("prune", "--keep", "0")])
def test_the_folder_of_the_runs_can_be_named_before_the_command(
    fkd: Command, trained: Path, command: tuple[str, ...]
) -> None:
    shutil.copytree(trained, "elsewhere/old_run")
    result = fkd("runs", "--runs-dir", "elsewhere", *command, "--yes")
    assert result.code == 0, result.all
    assert (trained.exists(), Path("elsewhere/old_run").exists()) == (True, False)
    shutil.copytree(trained, "elsewhere/old_run")
    result = fkd("runs", "--runs-dir", "elsewhere", *command, "--yes", "--runs-dir", "runs")
    assert result.code == 0, result.all
    assert (trained.exists(), Path("elsewhere/old_run").exists()) == (False, True)


@pytest.mark.parametrize("option", [("--json",), ("--csv", "runs.csv")])
def test_options_of_the_list_are_refused_with_a_command(
    fkd: Command, trained: Path, option: tuple[str, ...]
) -> None:
    result = fkd("runs", *option, "delete", "old_run", "--yes")
    assert_one_line_error(result, "apply to the list of runs: omit them with delete")
    assert trained.exists()


def test_a_damaged_run_with_networks_is_deleted_by_name_only(fkd: Command, trained: Path) -> None:
    (trained / "run.json").write_text("{")
    assert "nothing to delete" in fkd("runs", "prune", "--keep", "0", "--yes").out
    assert trained.exists()
    result = fkd("runs", "delete", "old_run", "--yes")
    assert "old_run: damaged, 4 trained networks" in result.out
    assert not trained.exists()


def test_a_packed_run_is_unpacked_under_another_name(fkd: Command, trained: Path) -> None:
    result = fkd("runs", "pack", "old_run", "-o", "old.zip")
    assert result.code == 0, result.all
    assert "wrote old.zip (" in result.out
    assert "on the other machine: fkd-kaggle runs unpack old.zip" in result.out
    result = fkd("runs", "unpack", "old.zip", "--name", "copy")
    assert result.code == 0, result.all
    assert "unpacked runs/copy" in result.out
    assert "next: fkd-kaggle predict copy" in result.out
    assert Run.open(Path("runs/copy")).scores == Run.open(trained).scores
    assert_one_line_error(fkd("runs", "unpack", "old.zip"), "old_run")


def test_runs_are_listed_as_a_table_and_as_json(fkd: Command, trained: Path) -> None:
    assert "old_run" in fkd("runs").out
    assert "old_run" in fkd("runs", "--json").out
    json.loads(fkd("runs", "--json").out)
    assert "no run in elsewhere yet" in fkd("runs", "--runs-dir", "elsewhere").out


def test_all_keys_of_recipes_are_listed(fkd: Command) -> None:
    result = fkd("recipes", "--keys")
    assert result.code == 0, result.all
    titles = [line for line in result.out.splitlines() if line.startswith("Keys of ")]
    assert titles[0] == "Keys of a recipe of one network"
    assert titles[-1] == "Keys of each of the members of an ensemble"
    assert "Keys of the table options, for architecture = 'plain-cnn'" in titles
    for key in ("batch_size", "pool_after", "trained_folds"):
        assert key in result.out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--keys", "--json"), "--keys lists all keys"),
        (("--keys", "--csv", "keys.csv"), "--keys lists all keys"),
        (("--keys", "--time", "3m"), "--keys lists all keys"),
        (("deep15", "--keys"), "--keys lists all keys"),
        (("deep15", "--csv", "recipe.csv"), "apply to the table of all recipes"),
        (("deep15", "--time", "3m"), "apply to the table of all recipes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_of_recipes_that_do_not_go_together_are_refused(
    fkd: Command, arguments: tuple[str, ...], reason: str
) -> None:
    assert_one_line_error(fkd("recipes", *arguments), reason)
    assert list(Path().glob("*.csv")) == []


def test_recipes_are_sorted_by_what_they_reach_in_a_time(
    fkd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fkd_kaggle.ensemble import run_times
    from fkd_kaggle.workers import calibration

    monkeypatch.setattr(run_times, "measure_core", lambda: calibration.REFERENCE_CORE)
    monkeypatch.setattr(run_times, "has_fast_bfloat16", lambda: True)
    for time, expected in (("3m", {False, True}), ("1s", {True})):
        result = fkd("recipes", "--time", time, "--csv", "recipes.csv")
        assert result.code == 0, result.all
        rows = list(csv.DictReader(io.StringIO(Path("recipes.csv").read_text())))
        too_long = [row["trained in that time"].startswith("needs ") for row in rows]
        assert set(too_long) == expected
        assert too_long == sorted(too_long)
    assert_one_line_error(fkd("recipes", "--json", "--time", "3m"), "omit --time and --csv")
    assert_one_line_error(fkd("recipes", "--time", "soon"), "--time")


def test_a_recipe_is_printed_as_toml_and_as_json(fkd: Command) -> None:
    assert 'architecture = "' in fkd("recipes", "deep15").out
    assert "deep15" in json.dumps(json.loads(fkd("recipes", "deep15", "--json").out))


class FakeServer:
    """Stands in for the demo's server; serving ends as after Ctrl-C, without an exception."""

    started: list[FakeServer]

    def __init__(self, model: Any, title: str, *, port: int) -> None:
        self.title, self.url, self.closed = title, f"http://127.0.0.1:{port}/", False
        self.started.append(self)

    def serve(self) -> None:
        assert not self.closed

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_demo_opens_a_page_until_ctrl_c(
    fkd: Command, trained: Path, monkeypatch: pytest.MonkeyPatch, calibrated: bool
) -> None:
    opened: list[str] = []
    FakeServer.started = []
    model = SimpleNamespace(calibration=object() if calibrated else None)
    monkeypatch.setattr(demo, "DemoServer", FakeServer)
    monkeypatch.setattr(PhotoModel, "open", lambda run, data_dir: model)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    result = fkd("demo", "old_run", "--port", "4567")
    assert result.code == 0, result.all
    assert "demo of old_run: http://127.0.0.1:4567/ (Ctrl-C ends it)" in result.out
    assert ("no expected errors: --data-dir" in result.out) != calibrated
    assert "demo ended" in result.out
    (server,) = FakeServer.started
    assert server.closed
    assert (server.title, opened) == ("old_run", [server.url])
    fkd("demo", "--no-open")
    assert opened == [server.url]


def test_tables_are_printed_as_csv_instead_of_a_file_named_dash(fkd: Command) -> None:
    Path("submissions").mkdir()
    Path("submissions/1.csv").write_text("RowId,Location\n1,2\n")
    commands = [("recipes",), ("runs",), ("submissions", "--local")]
    printed = []
    for command in commands:
        result = fkd(*command, "--csv", "-")
        assert (result.code, result.err) == (0, "")
        printed.append(list(csv.DictReader(io.StringIO(result.out))))
    recipes, runs, submissions = printed
    assert "cascade" in {row["name"] for row in recipes}
    assert runs == []
    assert [row["file"] for row in submissions] == ["1.csv"]
    assert not Path("-").exists()


@pytest.mark.parametrize(
    "command", [("report",), ("annotate", "one.jpg"), ("runs", "pack", "one")], ids=" ".join
)
def test_an_output_that_cannot_be_printed_needs_a_file(
    fkd: Command, command: tuple[str, ...]
) -> None:
    assert_one_line_error(fkd(*command, "--output", "-"), "'-' is no file", "name a file")
    assert not Path("-").exists()
