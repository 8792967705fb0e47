"""Tests of ``import fkd_kaggle``: lazy names, and how long the import takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fkd_kaggle as fkd

IMPORT_SECONDS = 0.05

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def python(code: str) -> str:
    """Return what Python code prints in a new process."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    return done.stdout


def test_import_takes_50_ms_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; start = time.process_time(); import fkd_kaggle\n"
        "print(time.process_time() - start)\n"
        "heavy = ('tensorflow', 'keras', 'kaggle', 'numpy', 'pandas', 'matplotlib', 'sklearn')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    results = [python(code).splitlines() for _ in range(3)]
    assert all(heavy == "[]" for _, heavy in results)
    assert min(float(seconds) for seconds, _ in results) < IMPORT_SECONDS


@pytest.mark.slow
def test_api_is_imported_without_tensorflow() -> None:
    code = "import sys, fkd_kaggle as f; f.load_faces, f.load, f.Model, f.train, f.draw\n"
    assert python(code + "print('tensorflow' in sys.modules)") == "False\n"


def test_all_public_names_exist() -> None:
    stub = Path(fkd.__file__).with_suffix(".pyi").read_text()
    for name in fkd.__all__:
        assert getattr(fkd, name) is not None
        assert name in dir(fkd)
        assert f" as {name}\n" in stub
    assert len(fkd.__all__) == stub.count(" as ")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        fkd.trian  # type: ignore[attr-defined]  # noqa: B018
