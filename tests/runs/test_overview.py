"""Tests of listing, choosing and deleting run folders."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fkd_kaggle.errors import NoteWarning, RunError
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs import overview
from fkd_kaggle.runs.folder import Run, find_run, latest_run
from fkd_kaggle.runs.lock import lock_run


def make_run(runs_dir: Path, name: str, *, trained: bool, age: int = 0) -> Run:
    """Return a run with or without a trained network, last changed ``age`` minutes ago."""
    plan = make_plan(TrainingOptions(("quick",)))
    run = Run.create(runs_dir, name, plan, "0" * 32)
    if trained:
        weights = run.member_folder("cascade-f0") / "best.weights.h5"
        weights.parent.mkdir(parents=True)
        weights.write_bytes(b"x" * 1000)
    time = datetime.now(UTC).timestamp() - 60 * age
    for path in run.path.rglob("*"):
        os.utime(path, (time, time))
    os.utime(run.path, (time, time))
    return run


def test_a_run_without_trained_networks_does_not_hide_older_runs(tmp_path: Path) -> None:
    make_run(tmp_path, "old", trained=True)
    make_run(tmp_path, "new", trained=False)
    assert latest_run(tmp_path).name == "old"
    assert find_run(None, tmp_path).name == "old"
    assert find_run("new", tmp_path).name == "new"


def test_state_size_and_age_of_all_folders_are_listed(tmp_path: Path) -> None:
    make_run(tmp_path, "trained", trained=True, age=5)
    make_run(tmp_path, "empty", trained=False, age=90)
    make_run(tmp_path, "damaged", trained=False, age=0)
    (tmp_path / "damaged" / "run.json").write_text("{")
    (tmp_path / "compare-1").mkdir()
    (tmp_path / "compare-1" / "compare.json").write_text("{}")
    (tmp_path / "other").mkdir()
    with pytest.warns(NoteWarning, match="damaged"):
        found = {one.name: one for one in overview.list_folders(tmp_path)}
    assert set(found) == {"trained", "empty", "damaged", "compare-1"}
    assert list(found)[:2] == ["empty", "trained"]
    assert found["trained"].state == "not trained"
    assert (found["trained"].usable, found["trained"].members) == (1, 4)
    assert found["trained"].size > 1000
    assert found["empty"].is_useless
    assert found["damaged"].state == "damaged"
    assert found["compare-1"].kind == "comparison"


def test_prune_keeps_usable_and_submitted_runs(tmp_path: Path) -> None:
    for number in range(4):
        make_run(tmp_path, f"run-{number}", trained=number != 1, age=10 - number)
    folders = overview.list_folders(tmp_path)

    def pruned(keep: int | None, submitted: set[str]) -> list[str]:
        return [one.name for one in overview.choose_prunable(folders, submitted, keep=keep)]

    assert pruned(None, set()) == ["run-1"]
    assert pruned(1, set()) == ["run-0", "run-1", "run-2"]
    assert pruned(1, {"run-0"}) == ["run-1", "run-2"]
    assert pruned(None, {"run-1"}) == []


def test_prune_keeps_the_runs_that_were_created_last(tmp_path: Path) -> None:
    for number in range(3):
        run = make_run(tmp_path, f"run-{number}", trained=True)
        note = json.loads((run.path / "run.json").read_text())
        note["created"] = f"2026-01-0{number + 1}T00:00:00+00:00"
        (run.path / "run.json").write_text(json.dumps(note))
    later = datetime.now(UTC).timestamp() + 60  # a report of the oldest run is written again
    (tmp_path / "run-0" / "report.html").touch()
    os.utime(tmp_path / "run-0" / "report.html", (later, later))
    chosen = overview.choose_prunable(overview.list_folders(tmp_path), set(), keep=1)
    assert sorted(one.name for one in chosen) == ["run-0", "run-1"]
    assert latest_run(tmp_path).name == "run-2"


@pytest.mark.parametrize("keep", [None, 0])
def test_prune_keeps_the_networks_of_a_damaged_run(tmp_path: Path, keep: int | None) -> None:
    for name in ("trained", "empty", "busy"):
        path = make_run(tmp_path, name, trained=name == "trained").path
        (path / "run.json").write_text("{")
    with lock_run(tmp_path / "busy"), pytest.warns(NoteWarning, match="damaged"):
        folders = {one.name: one for one in overview.list_folders(tmp_path)}
    assert {one.name: one.state for one in folders.values()} == {
        "trained": "damaged",
        "empty": "damaged",
        "busy": "training",
    }
    assert folders["trained"].usable == 1
    chosen = overview.choose_prunable(list(folders.values()), set(), keep=keep)
    assert [one.name for one in chosen] == ["empty"]


def test_a_deleted_folder_is_gone_and_leftovers_are_removed(tmp_path: Path) -> None:
    run = make_run(tmp_path, "run-1", trained=True)
    (tmp_path / ".deleted-run-1").mkdir()
    overview.delete_folder(run.path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".deleted-run-2").mkdir()
    assert overview.list_folders(tmp_path) == []
    overview.delete_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_suggests_a_similar_one(tmp_path: Path) -> None:
    make_run(tmp_path, "quick-1", trained=True)
    with pytest.raises(RunError, match="did you mean 'quick-1'"):
        overview.choose_folders(tmp_path, ["quick1"])
    with pytest.raises(RunError, match="unknown run"):
        overview.choose_folders(tmp_path, ["../x"])


def test_a_run_that_is_being_trained_is_named_and_not_deleted(tmp_path: Path) -> None:
    run = make_run(tmp_path, "busy", trained=False)
    make_run(tmp_path, "empty", trained=False)
    with lock_run(run.path):
        found = {one.name: one for one in overview.list_folders(tmp_path)}
        assert found["busy"].state == "training"
        chosen = overview.choose_prunable(list(found.values()), set(), keep=0)
        assert [one.name for one in chosen] == ["empty"]
        with pytest.raises(RunError, match="busy is being trained"):
            overview.delete_folder(run.path)
    assert overview.inspect_folder(run.path).state == "not trained"
    overview.delete_folder(run.path)
    assert not run.path.exists()
