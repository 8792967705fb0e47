"""What is installed is whole: the wheel's files, and a lock that keeps its word."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names in a wheel built from this checkout, without a network."""
    pytest.importorskip("hatchling")
    work = tmp_path_factory.mktemp("checkout")
    for name in ("fkd_kaggle", "kernels"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, work)
    target = work / "dist"
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=work, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = target.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_everything_that_runs(wheel: set[str]) -> None:
    package = ROOT / "fkd_kaggle"
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.suffix in (".py", ".toml", ".html") or path.name == "py.typed"
    }
    assert {"fkd_kaggle/recipes/smoke.toml", "fkd_kaggle/practice/page.html"} <= wanted
    assert "fkd_kaggle/py.typed" in wanted
    assert wanted <= wheel


def test_the_wheel_holds_nothing_of_ours_to_hide(wheel: set[str]) -> None:
    assert not [name for name in wheel if name.startswith("tests/") or name.endswith(".csv")]


def test_the_lock_satisfies_what_the_package_needs() -> None:
    locked = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK.read_text(), re.MULTILINE))
    locked = {name.lower().replace("_", "-"): version for name, version in locked.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for line in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        needed = Requirement(line)
        assert needed.name in locked, f"{needed.name} is not locked"
        assert needed.specifier.contains(locked[needed.name]), line


def test_the_lock_has_a_hash_for_everything_and_names_no_host() -> None:
    text = LOCK.read_text()
    assert "://" not in text
    assert "index-url" not in text
    for block in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE):
        if "==" in block.partition("\n")[0]:
            assert "--hash=sha256:" in block, block.partition("\n")[0]
