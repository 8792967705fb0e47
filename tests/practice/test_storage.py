"""The state folder: locks, unwritable folders, damaged records."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import PracticeFactory
from official_client import Connect, download

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.practice.dataset import SLUG


def test_a_state_folder_may_be_a_relative_path(
    start_practice: PracticeFactory,
    connect: Connect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    api = connect(start_practice(state_dir=Path("state")))
    assert "training.csv" in download(api, tmp_path / "all")


def test_a_state_folder_that_cannot_be_written_is_named(
    start_practice: PracticeFactory, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CompetitionError, match=r"file/state cannot be written .*--state-dir"):
        start_practice(state_dir=tmp_path / "file" / "state")


def test_a_damaged_state_file_is_named_and_kept(
    start_practice: PracticeFactory, connect: Connect, solution_csv: Path
) -> None:
    first = start_practice()
    connect(first).competition_submit(str(solution_csv), "", SLUG, quiet=True)
    first.stop()
    memory = first.store.folder / "state.json"
    memory.write_text(memory.read_text()[:-20])
    with pytest.raises(CompetitionError, match=r"state\.json is damaged"):
        start_practice()
    assert memory.exists()


def test_two_servers_cannot_share_a_state_folder(
    start_practice: PracticeFactory, tmp_path: Path
) -> None:
    first = start_practice()
    with pytest.raises(CompetitionError, match=r"in use by another .*--state-dir"):
        start_practice()
    start_practice(state_dir=tmp_path / "another")
    first.stop()
    start_practice()
