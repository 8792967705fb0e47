"""Tests of reading and writing photo runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fkd_kaggle.errors import RunError
from fkd_kaggle.runs.photo_run import (
    is_photo_run,
    new_photo_run_folder,
    open_photo_run,
    write_photo_run,
)

OLD_RUN = Path(__file__).parents[1] / "data/old_run/runs/old_photos"
"""A photo run that version 0.1.0 wrote, without its weights."""


def test_a_photo_run_of_version_0_1_0_is_read() -> None:
    assert is_photo_run(OLD_RUN)
    run = open_photo_run(OLD_RUN)
    assert run.point_names == (
        "left_eye_center",
        "right_eye_center",
        "nose_tip",
        "mouth_left_corner",
        "mouth_right_corner",
    )
    assert run.flip_order == (1, 0, 2, 4, 3)
    assert run.recipe.name == "tiny-photos"
    assert run.recipe.options == {"weights": "none", "side": 32, "dense": 8}
    assert run.info["photos"] == {"training": 20, "validation": 2, "test": 2}


def test_a_written_run_is_read_back(tmp_path: Path) -> None:
    info = {**open_photo_run(OLD_RUN).info, "flip": None}
    written = write_photo_run(tmp_path / "new", info)
    assert open_photo_run(tmp_path / "new").info == written.info
    assert written.flip_order is None


def test_a_damaged_and_a_missing_run_are_refused(tmp_path: Path) -> None:
    assert not is_photo_run(tmp_path)
    with pytest.raises(RunError, match="is no run of train-photos"):
        open_photo_run(tmp_path)
    (tmp_path / "photo_run.json").write_text("{}")
    with pytest.raises(RunError, match=r"photo_run\.json is damaged"):
        open_photo_run(tmp_path)


def test_a_new_run_has_a_free_name(tmp_path: Path) -> None:
    assert new_photo_run_folder(tmp_path, None, "ffhq").name == "ffhq-1"
    shutil.copytree(OLD_RUN, tmp_path / "ffhq-1")
    assert new_photo_run_folder(tmp_path, None, "ffhq").name == "ffhq-2"
    with pytest.raises(RunError, match="choose another --name"):
        new_photo_run_folder(tmp_path, "ffhq-1", "ffhq")
