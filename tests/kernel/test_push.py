"""Pushes of kernels: when a kernel is pushed again, and records that share a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fkd_kaggle import files
from fkd_kaggle.errors import CompetitionError, KernelError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.errors import GpuSessionsTakenError
from fkd_kaggle.kaggle_api.kernels import KernelStatus, KernelVersion, StoredKernel
from fkd_kaggle.kernel import build, records
from fkd_kaggle.kernel.events import KernelEvent, KernelPushed
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.kernel.records import KernelRecord
from fkd_kaggle.kernel.training import push_without_waiting
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan

JOB = KernelJob(make_plan(TrainingOptions(("smoke",))), title="FKD faces")


class FakeKaggle:
    """The part of a competition that pushes use; stores one kernel.

    Attributes
    ----------
    pushed : list of str
        Scripts of the kernel's versions.
    state : str
        State of the newest version.
    error : BaseException or None
        Raised by pushes, which then change nothing.
    """

    slug = "facial-keypoints-detection"

    def __init__(self, user: str = "ada", practice_url: str | None = None) -> None:
        self.user, self.practice_url = user, practice_url
        self.pushed: list[str] = []
        self.state = "running"
        self.error: BaseException | None = None

    def kernel_push(self, folder: Path, timeout: int) -> KernelVersion:
        if self.error is not None:
            raise self.error
        self.pushed.append(build.read_script(folder))
        return KernelVersion(f"{self.user}/fkd-faces", len(self.pushed), "", ())

    def kernel_stored(self, kernel: str, version: int = 0) -> StoredKernel | None:
        return StoredKernel(len(self.pushed), self.pushed[-1]) if self.pushed else None

    def kernel_status(self, kernel: str, version: int = 0) -> KernelStatus:
        return KernelStatus(self.state, "")

    def kernels_with_title(self, title: str) -> list[str]:
        return []


Push = Callable[..., KernelRecord]


@pytest.fixture
def kaggle() -> FakeKaggle:
    return FakeKaggle()


@pytest.fixture
def told() -> list[KernelEvent]:
    return []


@pytest.fixture
def push(
    kaggle: FakeKaggle, told: list[KernelEvent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Push:
    """A function that pushes ``JOB`` without the package in its script."""

    def write_kernel(folder: Path, task: Any, **names: Any) -> Path:
        files.write_text(folder / "script.py", task.run_name)
        files.write_json(folder / "kernel-metadata.json", {"code_file": "script.py"})
        return folder

    def push(run_name: str | None = None, to: FakeKaggle = kaggle) -> KernelRecord:
        return push_without_waiting(cast(Competition, to), JOB, tmp_path, told.append, run_name)

    monkeypatch.setattr(build, "write_kernel", write_kernel)
    return push


def change_record(runs_dir: Path, **changes: Any) -> None:
    """Change fields of the only record."""
    (record,) = records.read_records(runs_dir)
    records.write_record(runs_dir, replace(record, **changes))


def resumed(event: KernelEvent) -> bool:
    assert isinstance(event, KernelPushed)
    return event.resumed


@pytest.mark.parametrize("state", ["queued", "running", "complete"])
def test_a_kernel_is_pushed_once(
    push: Push, kaggle: FakeKaggle, told: list[KernelEvent], state: str
) -> None:
    first = push()
    kaggle.state = state
    assert push() == first
    assert [resumed(event) for event in told] == [False, True]
    assert len(kaggle.pushed) == 1


@pytest.mark.parametrize("state", ["error", "cancel_acknowledged"])
def test_a_kernel_that_has_failed_since_is_pushed_again(
    push: Push, kaggle: FakeKaggle, state: str
) -> None:
    push()
    kaggle.state = state
    record = push()
    assert [(one.version, one.state) for one in record.versions] == [(1, "failed"), (2, "pushed")]


@pytest.mark.parametrize("state", ["pushed", "complete"])
def test_a_kernel_that_was_deleted_is_pushed_again(
    push: Push, kaggle: FakeKaggle, tmp_path: Path, state: str
) -> None:
    push()
    kaggle.pushed.clear()
    change_record(tmp_path, state=state)
    push()
    assert len(kaggle.pushed) == 1


def test_a_downloaded_kernel_is_not_requested(
    push: Push, kaggle: FakeKaggle, tmp_path: Path
) -> None:
    push()
    kaggle.pushed.clear()
    change_record(tmp_path, state="collected")
    assert push().state == "collected"


class Killed(BaseException):
    """Ends a push as kill -9 would."""


@pytest.mark.parametrize(
    "error",
    [GpuSessionsTakenError("no session is free"), CompetitionError("was cut"), Killed()],
    ids=["no session", "connection", "killed"],
)
def test_an_unusable_version_is_not_resumed_after_an_attempt_to_push(
    push: Push, kaggle: FakeKaggle, tmp_path: Path, error: BaseException
) -> None:
    push()
    kaggle.state = "complete"
    change_record(tmp_path, state="failed")  # its folds differ from those of the other shards
    kaggle.error = error
    with pytest.raises(type(error)):
        push()
    kaggle.error = None
    assert push().version == 2
    assert len(kaggle.pushed) == 2


def test_each_of_two_open_runs_of_a_job_is_found_by_its_name(
    push: Push, tmp_path: Path, told: list[KernelEvent]
) -> None:
    for run, date in (("a", "2026-01-01"), ("b", "2026-01-02")):
        record = KernelRecord(f"ada/fkd-{run}", run, JOB, "", "pushed", date, 1)
        records.write_record(tmp_path, record)
    kaggle = FakeKaggle()
    kaggle.pushed.append("")
    for run in ("a", "b"):
        assert push(run, kaggle).run == run
    assert all(resumed(event) for event in told)


@pytest.mark.parametrize(
    "other",
    [FakeKaggle(practice_url="http://localhost:7777"), FakeKaggle("grace")],
    ids=["practice", "other owner"],
)
def test_a_record_is_not_replaced_by_that_of_another_kernel_of_the_same_name(
    push: Push, tmp_path: Path, other: FakeKaggle
) -> None:
    push("a")
    before = records.read_records(tmp_path)
    with pytest.raises(KernelError, match=r"ada/fkd-faces on Kaggle .* --title or --run"):
        push("b", other)
    assert other.pushed == []
    assert records.read_records(tmp_path) == before
