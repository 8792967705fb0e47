"""The environment of kernels: the linked packages, and the folders that are removed at the end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fkd_kaggle.practice.kernels import sandbox

LONG_NAME = "x" * 5000
"""Longer than the name of a file can be."""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which Python finds packages."""
    folder = tmp_path / "more-packages"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


def test_the_image_links_path_files_with_long_lines(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "checkout" / "fkd_kaggle").mkdir(parents=True)
    (packages / "long.pth").write_text(f"{LONG_NAME}\n")
    (packages / "code.pth").write_text(f"import sys; '{LONG_NAME}'\n")
    (packages / "checkout.pth").write_text(f"{tmp_path / 'checkout'}\n")
    python = sandbox.prepare_image(tmp_path / "image")
    linked = {path.name for path in python.parent.parent.glob("lib/*/site-packages/*.pth")}
    assert {"long.pth", "code.pth"} <= linked
    assert "checkout.pth" not in linked


def test_the_command_of_a_kernel_ignores_long_lines_in_path_files(
    packages: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (packages / "long.pth").write_text(f"/{LONG_NAME}\n{kept}\n")
    job = sandbox.kernel_command(
        tmp_path / "version", Path(sys.executable), [],
        isolated=True, internet=False, gpu=False, session=1, image="", hidden=[tmp_path],
    )  # fmt: skip
    assert str(kept) in job["command"]


def test_cleaning_up_follows_no_links(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "file").touch()
    foreign.chmod(0o700)
    kaggle = tmp_path / "version" / "kaggle"
    locked = kaggle / "temp" / "a" / "b"
    locked.mkdir(parents=True)
    (locked / "link").symlink_to(foreign)
    (kaggle / "home").symlink_to(foreign)
    for folder in (locked, locked.parent):
        folder.chmod(0o500)
    sandbox.clean_up(tmp_path / "version")
    assert not (kaggle / "temp").exists()
    assert foreign.stat().st_mode & 0o777 == 0o700
    assert (foreign / "file").exists()
