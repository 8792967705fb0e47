"""A copy of the tiny competition that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def data_dir(competition_dir: Path, tmp_path: Path) -> Path:
    """A copy of ``competition_dir`` without a cache."""
    folder = tmp_path / "data"
    shutil.copytree(competition_dir, folder, ignore=shutil.ignore_patterns(".cache"))
    return folder
