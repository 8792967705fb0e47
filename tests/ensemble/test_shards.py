"""Shards: division of the members, checks before they are merged."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_competition
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle import pipeline
from fkd_kaggle.data import dataset
from fkd_kaggle.ensemble.shards import (
    check_shard,
    copy_members,
    merge_shards,
    missing_shards,
    open_shard,
    parse_shard,
    select_members,
    shard_members,
)
from fkd_kaggle.errors import FkdError, KernelError, RunError
from fkd_kaggle.recipes import plans
from fkd_kaggle.recipes.plans import Member, Plan
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.folder import REFERENCE, Run, write_folds
from fkd_kaggle.runs.members import Progress, weights_path, write_progress
from fkd_kaggle.runs.training_labels import have_same_labels

DATA = "a" * 32


@pytest.fixture
def plan() -> Plan:
    return plans.make_plan(plans.TrainingOptions(["heatmap-small"], folds=3, epochs=1))


def make_shard(
    folder: Path, plan: Plan, number: int, finished: int | None = None, data: str = DATA
) -> Run:
    """Create the run of a shard of three whose members are finished."""
    run = Run.create(folder, f"shard-{number}", plan, data)
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


def test_a_finished_copy_of_a_member_is_preferred_then_one_with_weights(
    plan: Plan, tmp_path: Path
) -> None:
    runs = [make_shard(tmp_path, plan, number, finished=0) for number in (1, 2, 3)]
    (name, other, _) = [member.name for member in plan.members]
    for run in runs:
        write_progress(run.member_folder(name), Progress(epoch=1))
        write_progress(run.member_folder(other), Progress(epoch=1))
    for run in runs[1:]:
        weights_path(run.member_folder(name)).write_text(run.name)
        weights_path(run.member_folder(other)).write_text(run.name)
    write_progress(runs[2].member_folder(other), Progress(epoch=2, stopped="finished"))
    (runs[2].member_folder(other) / "out_of_fold.npz").write_bytes(b"npz")
    whole = Run.create(tmp_path, "whole", plan, DATA)
    copy_members(runs, whole)
    assert weights_path(whole.member_folder(name)).read_text() == "shard-2"
    assert weights_path(whole.member_folder(other)).read_text() == "shard-3"


def test_members_without_weights_are_returned_as_missing(plan: Plan, tmp_path: Path) -> None:
    runs = [make_shard(tmp_path, plan, number) for number in (1, 2, 3)]
    trained, interrupted, absent = plan.members
    weights_path(runs[0].member_folder(trained.name)).write_bytes(b"weights")
    shutil.rmtree(runs[2].member_folder(absent.name))
    whole = Run.create(tmp_path, "whole", plan, DATA)
    assert runs[1].member_folder(interrupted.name).is_dir()
    assert merge_shards(runs, whole) == [interrupted.name, absent.name]


def test_copied_files_keep_their_modification_times(plan: Plan, tmp_path: Path) -> None:
    run = make_shard(tmp_path, plan, 1)
    (member,) = shard_members(plan, 1, 3)
    times = {
        "out_of_fold.npz": 1_600_000_000_123_456_700,
        "progress.json": 1_500_000_000_000_000_000,
    }
    for name, time in times.items():
        os.utime(run.member_folder(member.name) / name, ns=(time, time))
    whole = Run.create(tmp_path, "whole", plan, DATA)
    copy_members([run], whole)
    copied = whole.member_folder(member.name)
    assert {name: (copied / name).stat().st_mtime_ns for name in times} == times


def fill_disk(source: Any, target: Any, length: int = 0) -> None:
    """Replace ``shutil.copyfileobj`` on a full disk."""
    target.write(source.read(1))
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_while_gathering_leaves_no_run(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_competition(tmp_path / "data", train=6, test=2)
    data = dataset.fingerprint(tmp_path / "data")
    runs = [make_shard(tmp_path / "runs", plan, number, data=data) for number in (1, 2, 3)]
    monkeypatch.setattr(shutil, "copyfileobj", fill_disk)
    before = {path.name for path in (tmp_path / "runs").iterdir()}
    for name in ("whole", None):
        with pytest.raises(FkdError, match="disk full while writing"):
            pipeline.gather_runs(runs, tmp_path / "data", tmp_path / "runs", name)
        assert {path.name for path in (tmp_path / "runs").iterdir()} == before
    own = tmp_path / "runs" / "mine"
    own.mkdir()
    (own / "notes.txt").write_text("a user's file")
    with pytest.raises(FkdError, match="disk full while writing"):
        pipeline.gather_runs(runs, tmp_path / "data", tmp_path / "runs", "mine")
    assert (own / "notes.txt").exists()


def test_labels_are_copied_as_a_whole_or_not_at_all(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_shard(tmp_path, plan, 1, finished=0)
    (run.path / "corrections.csv").write_text("row,keypoint,x,y\n1,nose_tip,40,41\n")
    whole = Run.create(tmp_path, "whole", plan, DATA)
    monkeypatch.setattr(shutil, "copyfileobj", fill_disk)
    with pytest.raises(FkdError, match="disk full while writing"):
        copy_members([run], whole)
    assert not (whole.path / "corrections.csv").exists()


def test_the_first_shard_is_not_compared_with_itself_in_messages(
    plan: Plan, tmp_path: Path
) -> None:
    first, second = (make_shard(tmp_path, plan, number) for number in (1, 2))
    other = plans.make_plan(plans.TrainingOptions(["heatmap-small"], folds=3, epochs=2))
    merged = Run.create(tmp_path, "merged", other, DATA)
    with pytest.raises(KernelError, match=r"shard-1 .* another plan than the run that merges"):
        merge_shards([first, second], merged)
    with pytest.raises(RunError, match=r"shard-2 .* another plan than .*shard-1: train"):
        check_shard(second, first, other, DATA, in_kernels=False)
    (first.path / "folds.npy").unlink()
    for run in (first, second):
        with pytest.raises(RunError, match=r"shard-1/folds\.npy is missing: restore it"):
            check_shard(run, first, plan, DATA, in_kernels=False)


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
