"""Tests of the names of run folders."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle.errors import RunError
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs import folder
from fkd_kaggle.runs.folder import Run, check_run_name, is_run_name, run_name_stem
from fkd_kaggle.runs.photo_run import new_photo_run_folder


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("quick", "quick-1"),
        ("heatmap-augmentation.flip-0", "heatmap-augmentation.flip-0-1"),
        ("ünet", "unet-1"),
        ("_mine", "mine-1"),
        (".mine", "mine-1"),
        ("?", "run-1"),
        ("x" * 150, "x" * 40 + "-1"),
    ],
)
def test_a_recipe_with_any_name_can_be_trained(tmp_path: Path, recipe: str, expected: str) -> None:
    plan = make_plan(TrainingOptions(("quick",)))
    plan = replace(plan, ensemble=replace(plan.ensemble, name=recipe))
    assert Run.create(tmp_path, None, plan, "0" * 32).name == expected


def test_two_runs_that_are_created_together_get_different_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process creates the folder after the free name was found."""
    free_name = folder.next_run_name

    def find_late(runs_dir: Path, stem: str, taken: Collection[str] = ()) -> str:
        name = free_name(runs_dir, stem, taken)
        if name == "quick-1":
            (runs_dir / name).mkdir(parents=True)
        return name

    monkeypatch.setattr(folder, "next_run_name", find_late)
    plan = make_plan(TrainingOptions(("quick",)))
    run = Run.create(tmp_path / "runs", None, plan, "0" * 32)
    assert run.name == "quick-2"
    assert list((tmp_path / "runs" / "quick-1").iterdir()) == []


def test_what_an_interrupted_deletion_leaves_is_no_run(tmp_path: Path) -> None:
    plan = make_plan(TrainingOptions(("quick",)))
    run = Run.create(tmp_path, "mine", plan, "0" * 32)
    assert folder.run_names(tmp_path) == ["mine"]
    run.path.rename(tmp_path / ".deleted-mine")
    assert folder.run_names(tmp_path) == []


@pytest.mark.parametrize(
    ("note", "kind"), [("compare.json", "a comparison"), ("photo_run.json", "a photo run")]
)
def test_a_run_is_not_written_into_another_folder(tmp_path: Path, note: str, kind: str) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / note).write_text("{}")
    plan = make_plan(TrainingOptions(("quick",)))
    with pytest.raises(RunError, match=f"taken is {kind} in .*: choose another name with --run"):
        Run.create(tmp_path, "taken", plan, "0" * 32)
    assert [path.name for path in (tmp_path / "taken").iterdir()] == [note]


@given(st.text(max_size=30))
def test_every_stem_is_the_beginning_of_a_valid_name(text: str) -> None:
    assert is_run_name(f"{run_name_stem(text)}-shard-1000-of-1000")


@pytest.mark.parametrize("name", ["", "a/b", "..", "-a", "a" * 81, "a\n"])
def test_the_message_for_an_invalid_name_is_complete(name: str) -> None:
    with pytest.raises(RunError, match=r"at most 80 letters.*begin with a letter") as caught:
        check_run_name(name)
    assert "\n" not in str(caught.value)


def test_a_photo_run_lies_in_the_folder_of_the_runs(tmp_path: Path) -> None:
    assert new_photo_run_folder(tmp_path, None, "ünet") == tmp_path / "unet-1"
    with pytest.raises(RunError, match="cannot name a folder"):
        new_photo_run_folder(tmp_path, "../elsewhere", "unet")
