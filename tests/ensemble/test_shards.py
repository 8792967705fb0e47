"""Shards: division of the members, checks before they are merged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import write_competition
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle import pipeline
from fkd_kaggle.ensemble.shards import (
    check_shard,
    copy_members,
    missing_shards,
    open_shard,
    parse_shard,
    select_members,
    shard_members,
)
from fkd_kaggle.errors import FkdError, RunError
from fkd_kaggle.recipes import plans
from fkd_kaggle.recipes.plans import Member, Plan
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.folder import Run, write_folds
from fkd_kaggle.runs.members import Progress, write_progress
from fkd_kaggle.runs.predictions import REFERENCE
from fkd_kaggle.runs.training_labels import have_same_labels

DATA = "a" * 32


@pytest.fixture
def plan() -> Plan:
    return plans.make_plan(plans.TrainingOptions(["heatmap-small"], folds=3, epochs=1))


def make_shard(folder: Path, plan: Plan, number: int, finished: int | None = None) -> Run:
    """Create the run of a shard of three whose members are finished."""
    run = Run.create(folder, f"shard-{number}", plan, DATA)
    run.update(shard=(number, 3))
    write_folds(run.path, np.arange(6) % 3)
    for member in shard_members(plan, number, 3)[:finished]:
        path = run.member_folder(member.name)
        write_progress(path, Progress(epoch=1, stopped="finished"))
        (path / "out_of_fold.npz").write_bytes(b"npz")
        (path / ".tmp-1").write_bytes(b"left by a killed process")
    return run


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", "١/٣", ""])
def test_invalid_shards_are_refused(text: str) -> None:
    with pytest.raises(FkdError, match="write 2/8 for the second of eight"):
        parse_shard(text)


def test_a_shard_is_a_number_and_a_count() -> None:
    assert parse_shard("2/8") == (2, 8)
    assert parse_shard(" 2 / 8 ") == (2, 8)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30), st.integers(1, 8))
def test_shards_contain_each_member_once_and_have_similar_loads(
    shares: list[float], count: int
) -> None:
    members = [Member(f"m{i}", Recipe("r"), i, i, share) for i, share in enumerate(shares)]
    parts = [select_members(members, index, count) for index in range(count)]
    assert sorted(one.name for part in parts for one in part) == sorted(m.name for m in members)
    loads = [sum(one.share for one in part) for part in parts]
    assert max(loads) - min(loads) <= max(shares) + 1e-9


def test_more_shards_than_members_are_refused(plan: Plan) -> None:
    with pytest.raises(FkdError, match="3 networks can be divided into at most 3 shards"):
        shard_members(plan, 1, 4)


def test_missing_shards_are_named(plan: Plan, tmp_path: Path) -> None:
    runs = [make_shard(tmp_path, plan, number) for number in (1, 3)]
    assert missing_shards(runs, plan) == ["shard 2/3 (heatmap-small-f1)"]
    runs.append(make_shard(tmp_path, plan, 2, finished=0))
    assert missing_shards(runs, plan) == ["shard 2/3 (heatmap-small-f1)"]


def test_all_members_are_copied_without_temporary_files(plan: Plan, tmp_path: Path) -> None:
    runs = [make_shard(tmp_path, plan, number) for number in (1, 2, 3)]
    whole = Run.create(tmp_path, "whole", plan, DATA)
    copy_members(runs, whole)
    names = {path.relative_to(whole.path).as_posix() for path in whole.path.rglob("*.npz")}
    assert names == {f"members/heatmap-small-f{fold}/out_of_fold.npz" for fold in range(3)}
    assert not list(whole.path.rglob(".tmp-*"))


def test_shards_with_other_data_plan_or_folds_are_refused(plan: Plan, tmp_path: Path) -> None:
    first, second = (make_shard(tmp_path, plan, number) for number in (1, 2))
    with pytest.raises(RunError, match="made on another data set"):
        check_shard(second, first, plan, "b" * 32, in_kernels=False)
    other = plans.make_plan(plans.TrainingOptions(["heatmap-small"], folds=3, epochs=2))
    with pytest.raises(RunError, match="another plan"):
        check_shard(second, first, other, DATA, in_kernels=False)
    write_folds(second.path, np.arange(6) % 2)
    with pytest.raises(RunError, match="split the faces differently"):
        check_shard(second, first, plan, DATA, in_kernels=False)


def test_shards_with_other_corrections_are_refused(plan: Plan, tmp_path: Path) -> None:
    first, second = (make_shard(tmp_path, plan, number) for number in (1, 2))
    for run in (first, second):
        (run.path / "corrections.csv").write_text("row,keypoint,x,y\n1,nose_tip,40,41\n")
    check_shard(second, first, plan, DATA, in_kernels=False)
    (second.path / "corrections.csv").write_text("row,keypoint,x,y\n1,nose_tip,40,42\n")
    with pytest.raises(RunError, match="trained with different --corrections"):
        check_shard(second, first, plan, DATA, in_kernels=False)
    (second.path / "corrections.csv").unlink()
    with pytest.raises(RunError, match="trained with different --corrections"):
        check_shard(second, first, plan, DATA, in_kernels=False)


def test_shards_with_other_reference_predictions_are_refused(plan: Plan, tmp_path: Path) -> None:
    first, second = (make_shard(tmp_path, plan, number) for number in (1, 2))
    predictions = np.full((6, 15, 2), 48, np.float32)
    predictions[0] = np.nan
    np.savez(first.path / REFERENCE, predictions=predictions)
    with pytest.raises(RunError, match="or --predictions-from"):
        check_shard(second, first, plan, DATA, in_kernels=False)
    np.savez_compressed(second.path / REFERENCE, predictions=predictions)
    check_shard(second, first, plan, DATA, in_kernels=False)
    np.savez(second.path / REFERENCE, predictions=predictions + 1)
    with pytest.raises(RunError, match="or --predictions-from"):
        check_shard(second, first, plan, DATA, in_kernels=False)


def test_the_labels_of_shards_are_copied(plan: Plan, tmp_path: Path) -> None:
    runs = [make_shard(tmp_path, plan, number) for number in (1, 2, 3)]
    for run in runs:
        (run.path / "corrections.csv").write_text("row,keypoint,x,y\n1,nose_tip,40,41\n")
        np.savez(run.path / REFERENCE, predictions=np.zeros((6, 15, 2), np.float32))
    whole = Run.create(tmp_path, "whole", plan, DATA)
    copy_members(runs, whole)
    assert have_same_labels(whole, runs[0])
    assert (whole.path / "corrections.csv").exists()


def test_a_shard_is_continued_with_the_same_corrections_only(plan: Plan, tmp_path: Path) -> None:
    data, corrections = tmp_path / "data", tmp_path / "corrections.csv"
    write_competition(data, train=60, test=4)
    corrections.write_text("row,keypoint,x,y\n1,nose_tip,40.126,41\n2,nose_tip,,\n")

    def open_again(given: Path | None) -> Run:
        return pipeline.open_shard_run((1, 3), plan, data, tmp_path, corrections=given)

    run = open_again(corrections)
    assert open_again(corrections).path == run.path
    for text in ("row,keypoint,x,y\n1,nose_tip,40.126,41\n", None):
        if text:
            corrections.write_text(text)
        with pytest.raises(RunError, match="exists with other corrections"):
            open_again(corrections if text else None)


def test_a_shard_is_continued_with_the_same_plan_only(plan: Plan, tmp_path: Path) -> None:
    run = make_shard(tmp_path, plan, 1)
    assert open_shard(run.path, plan, DATA).shard == (1, 3)
    other = plans.make_plan(plans.TrainingOptions(["heatmap-small"], folds=3, epochs=2))
    with pytest.raises(RunError, match="exists with another plan"):
        open_shard(run.path, other, DATA)
