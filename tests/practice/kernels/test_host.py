"""The host of kernels: runs that end after a full disk, a killed server or a deletion."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from conftest import SECRET

from fkd_kaggle import files
from fkd_kaggle.errors import FkdError
from fkd_kaggle.practice.dataset import ServedDataset
from fkd_kaggle.practice.fault_injection import Faults
from fkd_kaggle.practice.kernels import host as host_module
from fkd_kaggle.practice.kernels import runner, sandbox
from fkd_kaggle.practice.kernels.host import KernelHost, KernelRunsError, PushRequest
from fkd_kaggle.practice.kernels.store import KernelStore, KernelVersion
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.practice.storage import Store

NOW = 1_785_000_000.0

SLEEPER = """
import os, time
open("part", "w").write(str(os.getppid()))
os.rename("part", "runner")
time.sleep(120)
"""
"""Writes the process id of its runner, then waits."""


def make_host(folder: Path, now: Callable[[], float] = time.time) -> KernelHost:
    """Return a host that runs one kernel at a time, without the competition's data."""
    return KernelHost(Store(folder, now), cast(ServedDataset, None), Faults(), at_once=1)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelHost]:
    """A host whose kernels run with this Python, without namespaces."""
    monkeypatch.setattr(sandbox, "is_isolated", lambda: False)
    monkeypatch.setattr(sandbox, "prepare_image", lambda _: Path(sys.executable))
    host = make_host(tmp_path)
    yield host
    host.close()


def push(host: KernelHost, slug: str, text: str) -> KernelVersion:
    request = PushRequest(
        "ada", slug, slug, text, gpu=False, internet=True, private=True, machine_shape="",
        docker_image="", keeps_image=False, notebook=False, limit=300.0, tags=(),
        competitions=(), kernels=(),
    )  # fmt: skip
    return host.push(request)


def status_at_end(host: KernelHost, version: KernelVersion) -> str:
    """Wait for the end of a run and return its status."""
    host.wait(version, timeout=60.0)
    current = host.versions.session(version.session)
    assert current is not None
    return current.status


def runner_of(host: KernelHost, version: KernelVersion) -> int:
    """Wait until SLEEPER runs and return the process id of its runner."""
    path = host.versions.working(version) / "runner"
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, "the kernel does not start"
        time.sleep(0.02)
    return int(path.read_text())


@pytest.mark.slow
def test_a_run_ends_although_its_files_cannot_be_removed(
    host: KernelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(folder)

    monkeypatch.setattr(sandbox, "clean_up", refuse)
    assert status_at_end(host, push(host, "first", "print('done')")) == "complete"
    assert status_at_end(host, push(host, "second", "print('done')")) == "complete"


@pytest.mark.slow
def test_kernels_start_and_are_cancelled_on_a_full_disk(
    host: KernelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_json

    def write_new_records(target: Path, value: Any) -> None:
        if target.name == "version.json" and target.exists():
            raise FkdError("disk full")
        write(target, value)

    monkeypatch.setattr(files, "write_json", write_new_records)
    running, waiting = push(host, "running", SLEEPER), push(host, "waiting", SLEEPER)
    runner_of(host, running)
    host.cancel(waiting)
    assert status_at_end(host, waiting) == "cancel_acknowledged"
    host.cancel(running)
    assert status_at_end(host, running) == "cancel_acknowledged"
    assert status_at_end(host, push(host, "next", "print('done')")) == "complete"


@pytest.mark.slow
def test_a_kernel_whose_run_does_not_end_is_not_deleted(
    host: KernelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = push(host, "stuck", SLEEPER)
    process_id = runner_of(host, version)
    os.kill(process_id, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch, pytest.raises(KernelRunsError, match="does not end"):
            patch.setattr(host_module, "DELETION_WAIT", 0.1)
            host.delete("ada", "stuck")
    finally:
        os.kill(process_id, signal.SIGCONT)
    assert status_at_end(host, version) == "cancel_acknowledged"
    host.delete("ada", "stuck")
    assert host.versions.all() == []
    assert status_at_end(host, push(host, "next", "print('done')")) == "complete"


def test_a_deletion_that_is_refused_is_an_error_of_the_request(
    practice: PracticeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(owner: str, slug: str) -> None:
        raise KernelRunsError("version 1 of ada/stuck does not end")

    practice.kernels.versions.add(
        "ada", "stuck", "1", title="stuck", pushed=NOW, limit=1.0, status="complete"
    )
    monkeypatch.setattr(practice.kernels, "delete", refuse)
    answer = requests.post(
        f"{practice.url}/api/v1/kernels.KernelsApiService/DeleteKernel",
        json={"userName": "ada", "kernelSlug": "stuck"}, auth=("ada", SECRET), timeout=10,
    )  # fmt: skip
    assert answer.status_code == 409
    assert "does not end" in answer.text


@pytest.mark.parametrize(
    ("outcome", "log_age", "seconds"),
    [
        ({"status": "error", "failure": runner.STOPPED, "seconds": 30.0}, 90.0, 30.0),
        (None, 40.0, 40.0),
        (None, 5000.0, 100.0),  # the limit of the run
        (None, -5.0, 0.0),
        (None, None, 0.0),
        ([], 40.0, 40.0),
    ],
    ids=["outcome", "log", "limit", "clock set back", "nothing", "damaged outcome"],
)
def test_the_time_after_a_killed_server_is_not_charged(
    tmp_path: Path, outcome: Any, log_age: float | None, seconds: float
) -> None:
    store = KernelStore(tmp_path / "kernels" / "versions")
    version = store.add(
        "ada", "hello", "1", title="hello", pushed=NOW, limit=100.0, gpu=True, status="running",
        started=NOW,
    )  # fmt: skip
    if outcome is not None:
        (store.folder(version) / runner.OUTCOME).write_text(json.dumps(outcome))
    if log_age is not None:
        log = store.log_file(version)
        log.touch()
        os.utime(log, (NOW + log_age, NOW + log_age))
    ended = make_host(tmp_path, lambda: NOW + 7 * 3600).versions.find("ada", "hello")
    assert ended is not None
    assert (ended.status, ended.failure) == ("error", runner.STOPPED)
    assert ended.ended == NOW + seconds
