"""Kernels on a practice Kaggle: the real official client pushes real scripts, which really run."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fkd_kaggle.competition import Competition
from fkd_kaggle.kaggle_kernels import KernelStatus
from fkd_kaggle.practice.server import PracticeKaggle

SLUG = "facial-keypoints-detection"


@pytest.fixture
def competition(practice: PracticeKaggle) -> Competition:
    return Competition.open()


def write_kernel(folder: Path, script: str, name: str = "hello", **metadata: Any) -> Path:
    """Write a kernel's folder as the official client wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(textwrap.dedent(script))
    content = {
        "id": f"practice/{name}", "title": name, "code_file": "main.py", "language": "python",
        "kernel_type": "script", "is_private": True, "enable_gpu": False,
        "enable_internet": False, "competition_sources": [SLUG], **metadata,
    }  # fmt: skip
    (folder / "kernel-metadata.json").write_text(json.dumps(content))
    return folder


Run = Callable[..., KernelStatus]


@pytest.fixture
def run(competition: Competition, tmp_path: Path) -> Run:
    """Push a script and wait for its end."""

    def push(script: str, name: str = "hello", **metadata: Any) -> KernelStatus:
        competition.kernel_push(write_kernel(tmp_path / name, script, name, **metadata))
        return wait(competition, f"practice/{name}")

    return push


def wait(competition: Competition, kernel: str) -> KernelStatus:
    for _ in range(300):
        status = competition.kernel_status(kernel)
        if status.finished:
            return status
        time.sleep(0.1)
    raise AssertionError(f"{kernel} is still {status.state}")


def test_a_pushed_script_runs_and_leaves_its_log_and_output(
    run: Run, competition: Competition, tmp_path: Path
) -> None:
    status = run(
        """
        import sys
        print("hello")
        print("careful", file=sys.stderr)
        open("/kaggle/working/result.txt", "w").write("42")
        """
    )
    lines = list(competition.kernel_logs("practice/hello"))
    assert (status.state, status.message) == ("complete", ""), lines
    assert {(line.stream, line.text) for line in lines} == {
        ("stdout", "hello\n"),
        ("stderr", "careful\n"),
    }
    competition.kernel_output("practice/hello", tmp_path / "out")
    assert (tmp_path / "out" / "result.txt").read_text() == "42"
    assert (tmp_path / "out" / "hello.log").exists()
