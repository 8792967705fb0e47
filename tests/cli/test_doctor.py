"""Tests of ``doctor`` on machines with problems."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import SECRET, Command, PracticeFactory

from fkd_kaggle.cli import diagnosis
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.nn import keras_settings
from fkd_kaggle.practice.kernels import sandbox
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.workers import devices


@pytest.fixture(autouse=True)
def no_import(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not import Keras, which takes seconds, except in slow tests."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(keras_settings, "import_keras", lambda: None)


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty home folder, and no variables about credentials."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KAGGLE_CONFIG_DIR", raising=False)


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
    assert "token" in found["credentials"]["text"]
    assert found["credentials"]["remedy"] == "see docs/troubleshooting.md"


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


def test_offline_sends_no_access_token(
    monkeypatch: pytest.MonkeyPatch, no_environment: None
) -> None:
    def fail(**_: object) -> None:
        raise AssertionError("the client was opened")

    monkeypatch.setattr(Competition, "open", fail)
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    *_, credentials, connection = diagnosis.check_kaggle(offline=True)
    assert (credentials.state, connection.state) == ("ok", "note")
    assert SECRET not in credentials.text
    assert "KAGGLE_API_TOKEN" in credentials.text


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


def test_an_unsupported_backend_is_replaced(
    fkd: Command, practice: PracticeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    result = fkd("doctor", "--offline")
    assert "ok  backend: tensorflow" in result.out
    assert "theano is not supported: tensorflow is used" in result.err


@pytest.mark.parametrize(
    ("memory", "state", "text"),
    [
        (5_000_000_000, "note", "5.0 GB; training needs about 5.5 GB"),
        (6_000_000_000, "ok", "6.0 GB"),
        (devices.UNKNOWN_MEMORY, "ok", "the system does not report it"),
    ],
)
def test_memory_for_less_than_one_worker_is_a_note(
    monkeypatch: pytest.MonkeyPatch, memory: int, state: str, text: str
) -> None:
    monkeypatch.setattr(devices, "usable_memory", lambda: memory)
    (finding,) = diagnosis.check_memory()
    assert (finding.state, finding.text) == (state, text)


def test_the_memory_limit_of_a_container_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(devices, "_CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000000\n")
    (finding,) = diagnosis.check_memory()
    assert (finding.state, finding.text[:6]) == ("note", "1.0 GB")


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


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_backend_that_cannot_be_imported_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    def fail() -> None:
        raise AttributeError("libtensorflow.so.2:\ncannot open shared object file")

    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr(keras_settings, "import_keras", fail)
    (finding,) = diagnosis.check_devices()
    assert finding.state == "problem"
    assert f"backend {backend} cannot be imported: libtensorflow.so.2" in finding.text
    assert "\n" not in finding.text
    assert finding.remedy == f"pip install --force-reinstall keras {backend}"


def test_devices_that_cannot_be_listed_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("no driver")

    monkeypatch.setattr(devices, "unseen_gpus_hint", fail)
    backend, finding = diagnosis.check_devices()
    assert backend.state == "ok"
    assert (finding.name, finding.state) == ("devices", "problem")
    assert finding.text.endswith("cannot list the devices: no driver")


@pytest.mark.slow
def test_the_backend_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    backend, *_ = diagnosis.check_devices()
    assert (backend.name, backend.state, backend.text) == ("backend", "ok", "tensorflow")
    assert "tensorflow" in sys.modules


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
    _, cards, cores = diagnosis.check_devices()
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


def test_a_folder_below_the_temporary_folder_has_its_own_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    temporary, wanted = diagnosis.check_disk((tmp_path / "data", tmp_path / "runs"))
    assert (temporary.state, wanted.state) == ("ok", "problem")
    assert wanted.remedy == "free some space, or use --data-dir and --runs-dir on another disk"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**7))
    temporary, _ = diagnosis.check_disk((tmp_path / "data",))
    assert temporary.remedy == "free some space, or set TMPDIR to a folder on another disk"


def test_a_machine_without_a_temporary_folder_has_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    first, second = diagnosis.check_disk((tmp_path,))
    assert (first.state, first.text) == ("problem", "No usable temporary directory found")
    assert "TMPDIR" in first.remedy
    assert str(tmp_path) in second.text


def test_a_folder_of_another_user_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    stat = Path.stat

    def refuse(path: Path, **options: Any) -> os.stat_result:
        if closed in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    *_, disk = diagnosis.check_disk((closed / "data",))
    assert str(closed) in disk.text
    (data,) = diagnosis.check_data(closed / "data")
    assert data.state == "problem"
    assert "Permission denied" in data.text
    assert data.remedy == f"make {closed / 'data'} readable, or use --data-dir"


@pytest.mark.parametrize(
    "message",
    [
        "/home/ada/.kaggle/kaggle.json cannot be read: Permission denied",
        "Kaggle refuses (403: rules not accepted): accept them",
    ],
)
def test_a_message_of_kaggle_is_shown_whole(
    monkeypatch: pytest.MonkeyPatch, message: str, no_environment: None
) -> None:
    def fail(**_: object) -> None:
        raise CompetitionError(message)

    monkeypatch.setattr(Competition, "open", fail)
    *_, finding = diagnosis.check_kaggle(offline=False)
    assert (finding.text, finding.remedy) == (message, "see docs/troubleshooting.md")


def test_all_files_with_credentials_are_checked_in_a_fixed_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_environment: None
) -> None:
    names = ("access_token", "access_token.txt", "kaggle.json", "credentials.json")
    (tmp_path / ".kaggle").mkdir()
    for name in names:
        path = tmp_path / ".kaggle" / name
        path.write_text("{}")
        path.chmod(0o640)

    def fail(**_: object) -> None:
        raise CompetitionError("none")

    monkeypatch.setattr(Competition, "open", fail)
    *notes, _ = diagnosis.check_kaggle(offline=False)
    assert [note.remedy for note in notes] == [
        f"chmod 600 {tmp_path / '.kaggle' / name}" for name in names
    ]


@pytest.mark.parametrize("isolated", [True, False])
def test_kernels_that_are_not_isolated_are_a_note(
    monkeypatch: pytest.MonkeyPatch, isolated: bool
) -> None:
    monkeypatch.setattr(sandbox, "is_isolated", lambda: isolated)
    _, kernels = diagnosis.check_practice()
    assert kernels.state == ("ok" if isolated else "note")
    assert kernels.remedy == ("" if isolated else "run only kernels that you trust")
