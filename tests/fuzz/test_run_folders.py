"""Fuzz test of run folders and caches: what was stored, nothing, or one line."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_competition
from hypothesis import given
from hypothesis import strategies as st
from mutations import Budget, edits, fuzz, json_values, mutate

from fkd_kaggle import files
from fkd_kaggle.data import dataset
from fkd_kaggle.errors import FkdError
from fkd_kaggle.runs import history, members, overview, predictions
from fkd_kaggle.runs.folder import Run, read_folds

pytestmark = pytest.mark.slow

OLD_RUN = Path(__file__).parents[1] / "data/old_run/runs/old_run"

FILES = sorted(
    path.relative_to(OLD_RUN).as_posix()
    for path in OLD_RUN.rglob("*")
    if path.suffix in (".json", ".npz", ".npy", ".csv")
)


def read_everything(folder: Path) -> None:
    """Read a run folder as the commands do; errors must be one line."""
    calls: list[Callable[[], Any]] = [
        lambda: overview.inspect_folder(folder),
        lambda: read_folds(folder / "folds.npy"),
    ]
    try:
        run = Run.open(folder)
    except FkdError as error:
        assert "\n" not in str(error)
    else:
        calls += [
            lambda: predictions.load_blended_out_of_fold(run),
            lambda: history.read_histories(run),
            lambda: (run.status, run.scores, run.failures, run.shard),
        ]
        for member in run.plan.members:
            place = run.member_folder(member.name)
            assert place.resolve().is_relative_to(folder.resolve())
            calls += [
                lambda member=member: members.member_progress(run, member),  # type: ignore[misc]
                lambda place=place: members.read_checkpoint(place),  # type: ignore[misc]
                lambda member=member: members.is_usable(run, member),  # type: ignore[misc]
            ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for call in calls:
            try:
                call()
            except FkdError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("name", FILES)
def test_changed_files_of_a_run(tmp_path: Path, name: str) -> None:
    budget, folder = Budget(0.5), tmp_path / "run"
    shutil.copytree(OLD_RUN, folder)
    original = (folder / name).read_bytes()

    @fuzz(25)
    @given(edits())
    def check(changes: list[tuple[str, float, bytes]]) -> None:
        if budget.is_spent:
            return
        (folder / name).write_bytes(mutate(original, changes))
        read_everything(folder)

    check()


@pytest.mark.parametrize("name", ["run.json", "members/tiny-heatmap-f0/progress.json"])
def test_any_json_in_files_of_a_run(tmp_path: Path, name: str) -> None:
    import json

    budget, folder = Budget(2), tmp_path / "run"
    shutil.copytree(OLD_RUN, folder)
    original = json.loads((folder / name).read_text())

    @fuzz(150)
    @given(st.sampled_from(sorted(original)), json_values(), st.booleans())
    def check(key: str, value: Any, whole: bool) -> None:
        if budget.is_spent:
            return
        files.write_json(folder / name, value if whole else {**original, key: value})
        read_everything(folder)

    check()


def test_changed_caches_are_rebuilt(tmp_path: Path) -> None:
    budget, folder = Budget(3), tmp_path / "data"
    write_competition(folder, train=3, test=2)
    faces = dataset.read_training(folder)
    shape = faces.keypoints.shape
    names = sorted(path.name for path in (folder / ".cache").iterdir())
    contents = {name: (folder / ".cache" / name).read_bytes() for name in names}

    @fuzz(100)
    @given(st.sampled_from(names), edits())
    def check(name: str, changes: list[tuple[str, float, bytes]]) -> None:
        if budget.is_spent:
            return
        for each, content in contents.items():
            (folder / ".cache" / each).write_bytes(content)
        changed = mutate(contents[name], changes)
        (folder / ".cache" / name).write_bytes(changed)
        read = dataset.read_training(folder)
        assert read.keypoints.shape == shape
        assert read.keypoints.dtype == np.float32
        if name.endswith(".json"):
            np.testing.assert_array_equal(read.images, faces.images)

    check()
