"""Tests of ``doctor`` on machines with problems."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import SECRET, Command, PracticeFactory

from fkd_kaggle.cli import diagnosis
from fkd_kaggle.practice.kernels import sandbox
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.workers import devices


def checks(fkd: Command, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code of ``doctor`` and its last finding by name."""
    result = fkd("doctor", "--json", *options)
    document = json.loads(result.out)
    found = {check["name"]: check for check in document["checks"]}
    assert all(bool(check["remedy"]) == (check["state"] != "ok") for check in found.values())
    return result.code, found


def test_healthy_machine_has_no_problem(fkd: Command, practice: PracticeKaggle) -> None:
    fkd("fetch", "-q")
    result = fkd("doctor")
    assert result.code == 0, result.all
    assert "no problem found" in result.out
    assert f"practice, for {practice.url}" in result.out
    assert "submissions left today" in result.out


def test_missing_credentials_are_a_problem(
    fkd: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_API_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    code, found = checks(fkd, "--offline")
    assert code == 1
    assert found["credentials"]["state"] == "problem"
    assert "token" in found["credentials"]["remedy"]


def test_credentials_are_named_and_not_shown(
    fkd: Command, practice: PracticeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    result = fkd("doctor")
    assert "user name and key of ada" in result.out
    assert SECRET not in result.all


def test_stopped_server_is_a_problem(fkd: Command, start_practice: PracticeFactory) -> None:
    start_practice().stop()
    code, found = checks(fkd)
    assert code == 1
    assert found["connection"]["state"] == "problem"


def test_offline_makes_no_request(fkd: Command, start_practice: PracticeFactory) -> None:
    start_practice().stop()
    code, found = checks(fkd, "--offline")
    assert code == 0
    assert found["connection"]["state"] == "note"


def test_full_disk_is_a_problem(
    fkd: Command, practice: PracticeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    code, found = checks(fkd)
    assert code == 1
    assert "0.0 GB free" in found["disk"]["text"]
    assert "free some space" in found["disk"]["remedy"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    states = [finding.state for finding in diagnosis.check_disk((tmp_path / "data",))]
    tmp_path.chmod(0o700)
    assert "problem" in states


def test_readable_key_file_is_a_note(
    fkd: Command, practice: PracticeKaggle, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / ".kaggle"
    folder.mkdir(exist_ok=True)
    (folder / "kaggle.json").write_text(json.dumps({"username": "ada", "key": SECRET}))
    (folder / "kaggle.json").chmod(0o644)
    result = fkd("doctor")
    assert f"chmod 600 {folder / 'kaggle.json'}" in result.out
    assert SECRET not in result.all


@pytest.mark.slow
def test_card_that_tensorflow_does_not_see_names_the_command(
    fkd: Command, practice: PracticeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_driver_gpus", lambda: ["0"])
    code, found = checks(fkd)
    assert code == 1
    assert found["GPUs"]["remedy"] == "pip install 'fkd-kaggle[cuda]'"
    with pytest.warns(UserWarning, match="TensorFlow does not see"):
        assert devices.list_gpus() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert devices.unseen_gpus_hint() is None


def test_unsupported_backend_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    (finding,) = [each for each in diagnosis.check_versions() if each.name == "backend"]
    assert finding.state == "problem"


def test_little_memory_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "MemTotal: 4000000 kB\nMemAvailable: 1000000 kB\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    (finding,) = diagnosis.check_memory()
    assert finding.state == "note"
    assert "1.0 of 4.1 GB" in finding.text


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no /proc/meminfo on this system")
def test_memory_that_the_system_does_not_report_is_no_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "MemTotal: 4000000 kB\n")
    (finding,) = diagnosis.check_memory()
    assert (finding.state, finding.text) == ("ok", "the system does not report it")


def test_a_python_that_is_not_tested_names_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    monkeypatch.setattr(sys, "version", "3.14.0 (main)")
    finding = next(iter(diagnosis.check_versions()))
    assert finding.state == "problem"
    assert finding.text.startswith("3.14.0 on ")
    assert finding.remedy == "use Python 3.11, 3.12 or 3.13"


def test_a_missing_package_is_a_problem_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "tensorflow":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    problem, packages = [each for each in diagnosis.check_versions() if each.name == "packages"]
    assert (problem.state, problem.remedy) == ("problem", "pip install tensorflow")
    assert problem.text == "tensorflow is missing"
    assert "keras" in packages.text
    assert "tensorflow" not in packages.text


def test_a_tensorflow_that_cannot_be_imported_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ImportError("libtensorflow.so.2:\ncannot open shared object file")

    monkeypatch.setattr(devices, "unseen_gpus_hint", fail)
    (finding,) = diagnosis.check_devices()
    assert finding.state == "problem"
    assert "cannot be imported: libtensorflow.so.2" in finding.text
    assert "\n" not in finding.text
    assert finding.remedy == "pip install --force-reinstall tensorflow"


@pytest.mark.parametrize(
    ("gpus", "seen", "training"),
    [
        (("0", "1"), "2: 0, 1", "2 networks are trained at a time"),
        ((), "none; training uses the CPU", "1 network is trained at a time"),
    ],
)
def test_devices_are_listed(
    monkeypatch: pytest.MonkeyPatch, gpus: tuple[str, ...], seen: str, training: str
) -> None:
    machine = devices.Machine(gpus, 1, 10**11)
    monkeypatch.setattr(devices, "unseen_gpus_hint", lambda: None)
    monkeypatch.setattr(devices, "inspect_machine", lambda: machine)
    cards, cores = diagnosis.check_devices()
    assert (cards.state, cards.text) == ("ok", seen)
    assert cores.text == f"1 core; by default {training}"


def test_a_folder_whose_disk_cannot_be_read_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(folder))

    monkeypatch.setattr(shutil, "disk_usage", fail)
    *_, finding = diagnosis.check_disk((tmp_path,))
    assert finding.state == "problem"
    assert f"{tmp_path}: Input/output error" in finding.text
    assert f"make {tmp_path} readable" in finding.remedy


@pytest.mark.parametrize("isolated", [True, False])
def test_kernels_that_are_not_isolated_are_a_note(
    monkeypatch: pytest.MonkeyPatch, isolated: bool
) -> None:
    monkeypatch.setattr(sandbox, "is_isolated", lambda: isolated)
    _, kernels = diagnosis.check_practice()
    assert kernels.state == ("ok" if isolated else "note")
    assert kernels.remedy == ("" if isolated else "run only kernels that you trust")
