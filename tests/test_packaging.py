"""Tests of the wheel, the lock file, dev.py and the CI command."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent

LOCK = (ROOT / "requirements.lock").read_text()

SUFFIXES = (".py", ".pyi", ".toml", ".json", ".html", ".js", ".css", ".md", ".typed")
"""Files of the package that a wheel must contain."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

pytestmark = pytest.mark.skipif(not (ROOT / "dev.py").exists(), reason="not a source checkout")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a newly built sdist and the wheel that is built from the checkout."""
    target = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(target)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return target


@pytest.fixture(scope="module")
def wheel(built: Path) -> list[str]:
    """The names of the files in the wheel."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def sdist(built: Path) -> list[str]:
    """The names of the files in the sdist, without its top folder."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return [name.split("/", 1)[1] for name in archive.getnames()]


def test_sdist_contains_sources_tests_and_documentation(sdist: list[str]) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "fkd_kaggle", "tests", "docs", "kernels", "examples"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    if not tracked:
        pytest.skip("not a git checkout")
    assert set(tracked) <= set(sdist)
    assert {"README.md", "LICENSE", "pyproject.toml", "requirements.lock", "dev.py"} <= set(sdist)
    assert not [name for name in sdist if name.startswith((".venv", "build", "data/", "runs/"))]


def test_wheel_has_the_metadata_of_a_release(built: Path) -> None:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
        metadata = archive.read(name).decode()
    assert "Project-URL: Documentation, https://" in metadata
    assert "Provides-Extra: cuda" in metadata
    assert "tensorflow[and-cuda]>=2.18; (sys_platform == 'linux') and extra == 'cuda'" in metadata
    assert "Description-Content-Type: text/markdown" in metadata


def test_wheel_contains_the_package_and_its_data(wheel: list[str]) -> None:
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "fkd_kaggle").rglob("*")
        if path.is_file()
        and path.suffix in (".py", ".pyi", ".toml", ".json", ".html", ".md", ".typed")
    }
    assert sources <= set(wheel)
    assert "fkd_kaggle/recipes/smoke.toml" in wheel
    for package in ("report", "practice"):
        pages = [name for name in wheel if name.startswith(f"fkd_kaggle/{package}/")]
        assert any(name.endswith(".html") for name in pages)


def test_wheel_contains_the_kernels(wheel: list[str]) -> None:
    kernels = {
        f"fkd_kaggle/_kernels/{path.relative_to(ROOT / 'kernels').as_posix()}"
        for path in (ROOT / "kernels").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert kernels
    assert kernels <= set(wheel)


def test_wheel_contains_no_files_of_users(wheel: list[str]) -> None:
    outside = [name for name in wheel if not name.startswith(("fkd_kaggle/", "fkd_kaggle-"))]
    assert outside == []
    assert not [name for name in wheel if name.endswith((".csv", ".h5", ".npz", ".pyc"))]


def test_lock_file_names_no_host() -> None:
    assert "://" not in LOCK
    assert "index" not in re.sub(r"(?m)^\s*#.*$", "", LOCK)


def test_every_locked_package_has_hashes() -> None:
    entries = [block for block in re.split(r"(?m)^(?=[A-Za-z0-9])", LOCK) if block.strip()]
    assert len(entries) > 50
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize(
    "requirement",
    [
        *PROJECT["project"]["dependencies"],
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["dependency-groups"]["docs"],
        *PROJECT["build-system"]["requires"],
    ],
)
def test_lock_file_contains_every_requirement(requirement: str) -> None:
    needed = Requirement(requirement)
    found = re.findall(rf"(?m)^{re.escape(needed.name)}==(\S+)", LOCK)
    assert found, f"{needed.name} is not locked: update requirements.lock (README, Development)"
    for version in found:  # one for each range of Python versions
        assert needed.specifier.contains(version)


def test_dev_is_valid_syntax_for_old_pythons() -> None:
    ast.parse((ROOT / "dev.py").read_text(), feature_version=(3, 7))
    assert "from __future__ import annotations" in (ROOT / "dev.py").read_text()


def dev() -> ModuleType:
    """Return dev.py as a module."""
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dev_refuses_unsupported_pythons(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = dev()
    monkeypatch.setattr(
        module, "set_up", lambda: pytest.fail("installs with an unsupported Python")
    )
    monkeypatch.setattr(sys, "argv", ["dev.py", "test"])
    for version in ((3, 10, 9), (3, 14, 0)):
        monkeypatch.setattr(sys, "version_info", version)
        assert module.main() == 2
    assert capsys.readouterr().err.count("error:") == 2


def test_dev_returns_the_exit_code_of_the_first_failed_check(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module = dev()
    monkeypatch.setattr(module, "set_up", lambda: None)
    monkeypatch.setattr(module, "python", lambda: sys.executable)
    quit_with = ("-c", "import sys; sys.exit(int(sys.argv[1]))")
    assert module.run(sys.executable, *quit_with, "3") == 3
    assert module.run(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)") == 128 + 9
    monkeypatch.setattr(sys, "argv", ["dev.py", "test", "--version"])
    monkeypatch.setattr(module, "CHECKS", ())
    assert module.main() == 0  # pytest --version
    monkeypatch.setattr(module, "CHECKS", (("-m", "no_such_module_anywhere"),))
    assert module.main() == 1
    assert "pytest" in capfd.readouterr().out
    monkeypatch.setattr(sys, "argv", ["dev.py", "test", "--fast", "--version"])
    assert module.main() == 1
    tests, checks = capfd.readouterr().out.split("$ python -m no_such_module_anywhere")
    assert "pytest -m not slow" in tests
    assert "No module named" in checks


def test_dev_installs_only_if_the_lock_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = dev()
    steps: list[list[str]] = []

    def install(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        steps.append([str(part) for part in command])
        Path(module.python()).parent.mkdir(parents=True, exist_ok=True)
        Path(module.python()).touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(module, "VENV", tmp_path / "venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / "venv" / ".installed")
    monkeypatch.setattr(module.subprocess, "run", install)
    module.set_up()
    assert [step[1:3] for step in steps] == [["-m", "venv"], ["-m", "pip"], ["-m", "pip"]]
    assert "--require-hashes" in steps[1]
    module.set_up()
    assert len(steps) == 3
    (tmp_path / "lock").write_text(LOCK + "# changed\n")
    monkeypatch.setattr(module, "LOCK", tmp_path / "lock")
    module.set_up()
    assert len(steps) == 6


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    readme = (ROOT / "README.md").read_text()
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("python3 dev.py test")
    assert "python3 dev.py test" in readme
    assert "python3 dev.py rehearse" in readme


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "kernels/README.md"]
)
def test_links_of_pages_point_to_existing_files(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_workflow_calls_only_the_ci_command() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r"run: (.*)", text) == [".ci/run"]


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_architecture_page_names_existing_files() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = set(re.findall(r"[\w.-]+/[\w./-]*", text.replace("...", "")))
    assert len(names) > 40
    folders = (ROOT, ROOT / "fkd_kaggle")
    missing = [name for name in names if not any((folder / name).exists() for folder in folders)]
    assert missing == []
