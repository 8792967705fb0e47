"""Tests of exceptions in finalizers at the end of a command."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
from fkd_kaggle.cli.finalizers import quiet_at_exit
class Library:
    def __del__(self):
        raise ValueError("modules are gone")
{quiet}
keep = Library()
"""


@pytest.mark.parametrize(("quiet", "printed"), [("", True), ("quiet_at_exit()", False)])
def test_a_failing_finalizer_prints_nothing_at_the_end(quiet: str, printed: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(quiet=quiet)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert ("Exception ignored" in done.stderr) == printed
