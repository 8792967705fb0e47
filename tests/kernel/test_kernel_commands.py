"""Training on Kaggle from the command line, with the official client and a practice Kaggle.

The pushed scripts are a few lines that end, fail or wait; ``KernelScript`` writes them into the
built folder. The real script is tested in test_entry_point.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from conftest import Command, CommandResult, assert_one_line_error, write_competition
from rich.console import Console

from fkd_kaggle import files, formatting
from fkd_kaggle.display.console import INTERRUPTED
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.kernels import KernelRef, KernelStatus
from fkd_kaggle.kernel import build as kernel_build
from fkd_kaggle.kernel import failures, live_display, records
from fkd_kaggle.kernel import follow as kernel_follow
from fkd_kaggle.kernel.build import write_kernel
from fkd_kaggle.kernel.events import (
    KernelEvent,
    KernelPrinted,
    KernelPushed,
    KernelStateChanged,
    KernelWaiting,
)
from fkd_kaggle.kernel.follow import KernelEnded, KernelFollower
from fkd_kaggle.kernel.job import KernelJob, KernelTask
from fkd_kaggle.practice.kernels import push as practice_push
from fkd_kaggle.practice.kernels.host import PushRefusedError
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.recipes import plans
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.scores import Scores

SECRET = "s3cr3t-k3y"

PLAN = ("-r", "smoke", "--epochs", "1")

GATE = "gate"
"""File in the kernel's working folder: a script that waits for it runs until the test lets it
end. Kernels do not see the folders of tests."""

TRAINS = """
import pathlib
print("trained one epoch", flush=True)
(pathlib.Path(RUN) / "members").mkdir(parents=True)
pathlib.Path(RUN, "run.json").write_text(INFO)
asked = pathlib.Path("../input/competitions/facial-keypoints-detection/SampleSubmission.csv")
pathlib.Path("submission.csv").write_text(asked.read_text().replace(",0\\n", ",48.5\\n"))
"""

WAITS = """
import pathlib, time
print("waiting", flush=True)
while not pathlib.Path(GATE).exists():
    time.sleep(0.05)
pathlib.Path(GATE).unlink()
"""

FAILS = """
import pathlib, sys
pathlib.Path("fkd_kaggle").mkdir()
pathlib.Path("fkd_kaggle/training.py").write_text("def fit():\\n    raise RuntimeError('boom')\\n")
sys.path.insert(0, ".")
from fkd_kaggle import training
training.fit()
"""

SHARDS = f"""
import pathlib, time
if SHARD is None:
    print(*pathlib.Path("../input").rglob("shard-*"))
    exec({TRAINS!r})
else:
    time.sleep(4)
    pathlib.Path(f"shard-{{SHARD}}").touch()
"""


class KernelScript:
    """The script that is pushed: call ``way(TRAINS)`` before a push to set it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = TRAINS
        self._build = write_kernel

    def __call__(self, script: str) -> None:
        self.script = script

    def open_gate(self) -> None:
        """Let the running kernels of the practice Kaggle end."""
        for source in self.folder.rglob("kaggle/src"):  # removed when a kernel ends
            (source.parent / "working" / GATE).touch()

    def build(self, folder: Path, task: Any, **names: Any) -> Path:
        """Build the kernel, then replace its script by the few lines."""
        self._build(folder, task, **names)
        info = {
            "name": task.run_name, "created": "2026-03-01T12:00:00+00:00", "version": "0",
            "status": "finished", "data": "", "plan": task.plan.to_dict(), "recipes": {},
            "scores": asdict(Scores(3.0, 2.0, 2.5, 2.25, {})),
        }  # fmt: skip
        values = f"RUN, GATE = {task.run_name!r}, {GATE!r}\nINFO = {json.dumps(info)!r}\n"
        shard = f"SHARD, GATHER = {task.shard!r}, {list(task.gather)!r}\n"
        metadata = json.loads((folder / "kernel-metadata.json").read_text())
        files.write_text(folder / metadata["code_file"], values + shard + self.script)
        return folder


@pytest.fixture
def way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelScript:
    found = KernelScript(tmp_path)
    monkeypatch.setattr(kernel_build, "write_kernel", found.build)
    monkeypatch.setattr(kernel_follow, "PRACTICE_POLL", 0.1)
    return found


@pytest.fixture
def submit(
    fkd: Command, practice: PracticeKaggle, way: KernelScript
) -> Callable[..., CommandResult]:
    """``submit --via kernel`` of a small plan against a practice Kaggle, in an empty folder."""
    return lambda *more: fkd("submit", "--yes", "--via", "kernel", *(more or PLAN))


def versions(practice: PracticeKaggle) -> list[str]:
    """Return what was pushed, oldest first."""
    return [f"{one.slug}/{one.version}" for one in practice.kernels.versions.all()[::-1]]


def only_submission(practice: PracticeKaggle) -> Any:
    (submission,) = practice.store.submissions()
    return submission


@pytest.mark.slow
def test_a_kernel_is_pushed_followed_and_submitted(
    submit: Callable[..., CommandResult], practice: PracticeKaggle
) -> None:
    result = submit()
    assert result.code == 0, result.all
    for words in (
        "GPU hours left this week: 30.0", "trained one epoch", "running", "complete",
        "of GPU time", "score: ", "(expected 2.250)", "submissions left today: 4",
    ):  # fmt: skip
        assert words in result.out
    assert versions(practice) == ["fkd-smoke-1/1"]
    assert Run.open(Path("runs/smoke-1")).status == "finished"
    submitted = only_submission(practice)
    assert submitted.file_name == "submission.csv"  # the kernel's own, not an upload
    (csv,) = Path("submissions").glob("*.csv")
    note = json.loads(csv.with_suffix(".json").read_text())
    assert (note["run"], note["scores"]["expected"]) == ("smoke-1", 2.25)
    assert note["kaggle"]["ref"] == submitted.ref
    assert submitted.message == csv.stem
    assert "trained one epoch" in Path("runs/.kernels/fkd-smoke-1/fkd-smoke-1.log").read_text()
    assert list(Path("runs/.kernels").glob("*/v*")) == []


@pytest.mark.slow
def test_a_file_is_uploaded_if_code_submissions_are_refused(
    submit: Callable[..., CommandResult], practice: PracticeKaggle
) -> None:
    practice.faults.add("404:path=CreateCodeSubmission")
    result = submit()
    assert result.code == 0, result.all
    assert only_submission(practice).file_name.endswith("-smoke-1.csv")


@pytest.mark.slow
def test_a_submitted_job_is_trained_again_as_a_second_run(
    submit: Callable[..., CommandResult], practice: PracticeKaggle
) -> None:
    assert submit().code == 0
    assert submit().code == 0
    assert versions(practice) == ["fkd-smoke-1/1", "fkd-smoke-2/1"]
    assert len(practice.store.submissions()) == 2


@pytest.mark.slow
def test_a_dry_run_is_submitted_later_without_another_push(
    submit: Callable[..., CommandResult], fkd: Command, practice: PracticeKaggle
) -> None:
    assert "was not submitted" in submit("--dry-run", *PLAN).out
    assert practice.store.submissions() == []
    assert fkd("submit", "--yes", "smoke-1", "--via", "kernel").code == 0
    assert versions(practice) == ["fkd-smoke-1/1"]
    assert only_submission(practice)


@pytest.mark.slow
def test_shards_wait_for_gpu_sessions_and_are_blended(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    way(SHARDS)
    result = submit("--shards", "3", *PLAN)
    assert result.code == 0, result.all
    assert "waits: Kaggle runs no more GPU sessions at once" in result.out
    names = [f"fkd-smoke-1-shard-{number}/1" for number in (1, 2, 3)]
    assert versions(practice) == [*names, "fkd-smoke-1/1"]
    for number in range(3):
        assert f"notebooks/practice/fkd-smoke-1-shard-{number + 1}/shard-{number}" in result.out
    assert only_submission(practice)


@pytest.mark.slow
def test_a_shard_is_not_collected_as_the_run_and_not_trained_again_after_the_blend(
    submit: Callable[..., CommandResult],
    fkd: Command,
    way: KernelScript,
    practice: PracticeKaggle,
) -> None:
    way(SHARDS)
    assert "was not submitted" in submit("--dry-run", "--shards", "2", *PLAN).out
    pushed = versions(practice)
    result = fkd("kernel", "output", "fkd-smoke-1-shard-1")
    assert_one_line_error(result, "shard 1 of 2", "submit smoke-1 --via kernel")
    practice.kernels.delete("practice", "fkd-smoke-1-shard-1")
    result = fkd("submit", "--yes", "smoke-1", "--via", "kernel")
    assert result.code == 0, result.all
    assert versions(practice) == [name for name in pushed if "shard-1" not in name]
    assert only_submission(practice)


HARNESS = """
import sys
from pathlib import Path
sys.path[:0] = TESTS
import test_kernel_commands
from fkd_kaggle.cli import app as cli
from fkd_kaggle.kernel import build
way = test_kernel_commands.KernelScript(Path(sys.argv.pop(1)))
way(test_kernel_commands.WAITS + test_kernel_commands.TRAINS)
build.write_kernel = way.build
cli.main()
"""


def waiting_command(way: KernelScript) -> subprocess.Popen[str]:
    """Start a command of its own that pushes and waits; return when the kernel runs."""
    here = Path(__file__).parent
    code = HARNESS.replace("TESTS", repr([str(here), str(here.parent)]))
    arguments = [str(way.folder), "submit", "--yes", "--via", "kernel", *PLAN]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(here.parents[1])},
        # Tests that were started in the background hand on that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line == "waiting\n":
            return process
    raise AssertionError(process.communicate())


@pytest.mark.slow
def test_a_killed_wait_is_resumed_without_a_second_push(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    process = waiting_command(way)
    process.kill()
    process.communicate()
    way.open_gate()
    result = submit()
    assert result.code == 0, result.all
    assert "resumed" in result.out
    assert (
        "waiting" in result.out and "trained one epoch" in result.out
    )  # the log from its beginning
    assert versions(practice) == ["fkd-smoke-1/1"]
    assert only_submission(practice)


@pytest.mark.slow
def test_ctrl_c_leaves_the_kernel_running_and_prints_how_to_resume(
    submit: Callable[..., CommandResult], fkd: Command, way: KernelScript, practice: PracticeKaggle
) -> None:
    process = waiting_command(way)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    assert "continues to run on Kaggle" in out
    assert "Traceback" not in err
    (command,) = re.findall(r"fkd-kaggle (submit smoke-1 --via kernel)", out)
    assert "running" in fkd("kernel", "status").out
    for options in ([], ["--folder", "raw"]):
        words = ("is running", "kernel logs --follow")
        assert_one_line_error(fkd("kernel", "output", *options), *words)
    way.open_gate()
    result = fkd(*command.split())
    assert result.code == 0, result.all
    assert versions(practice) == ["fkd-smoke-1/1"]


class Killed(BaseException):
    """Ends a command as kill -9 would, at a chosen moment."""


def kill_when_recording(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = records.write_record

    def dying(runs_dir: Path, record: records.KernelRecord) -> records.KernelRecord:
        if record.state == state:
            raise Killed
        return write(runs_dir, record)

    monkeypatch.setattr(records, "write_record", dying)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["pushed", "complete", "collected", "submitted"])
def test_a_step_is_not_repeated_if_killed_before_it_is_recorded(
    submit: Callable[..., CommandResult], practice: PracticeKaggle, state: str
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill_when_recording(state, monkeypatch)
        assert submit().code == 1
    result = submit()
    assert result.code == 0, result.all
    assert ("resumed" in result.out) == (state in ("pushed", "complete"))
    assert versions(practice) == ["fkd-smoke-1/1"]
    assert only_submission(practice)


@pytest.mark.slow
def test_a_submission_is_not_repeated_if_killed_while_waiting_for_its_score(
    submit: Callable[..., CommandResult], practice: PracticeKaggle
) -> None:
    def dying(*_: object, **__: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Competition, "wait_for_score", dying)
        assert submit().code == 1
    result = submit()
    assert "score: " in result.out, result.all
    assert versions(practice) == ["fkd-smoke-1/1"]
    assert only_submission(practice)


@pytest.mark.slow
def test_without_a_record_a_running_kernel_is_found_on_kaggle(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    process = waiting_command(way)
    process.kill()
    process.communicate()
    shutil.rmtree("runs")
    way(WAITS + TRAINS)
    way.open_gate()
    result = submit()
    assert result.code == 0, result.all
    assert versions(practice) == ["fkd-smoke-1/1"]


@pytest.mark.slow
def test_a_deleted_kernel_is_pushed_again(
    submit: Callable[..., CommandResult], fkd: Command, way: KernelScript, practice: PracticeKaggle
) -> None:
    assert fkd("kernel", "push", *PLAN).code == 0
    practice.kernels.delete("practice", "fkd-smoke-1")
    result = submit()
    assert result.code == 0, result.all
    assert only_submission(practice)


@pytest.mark.slow
def test_a_running_kernel_with_another_script_is_not_replaced(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    process = waiting_command(way)
    process.kill()
    process.communicate()
    shutil.rmtree("runs")
    assert_one_line_error(submit(), "fkd-smoke-1", "running with another job", "--run")
    way.open_gate()


@pytest.mark.slow
def test_a_push_whose_answer_is_lost_is_not_repeated(
    submit: Callable[..., CommandResult], practice: PracticeKaggle
) -> None:
    practice.faults.add("lost-answer:path=SaveKernel")
    assert submit().code == 0
    assert versions(practice) == ["fkd-smoke-1/1"]


@pytest.mark.slow
def test_a_failed_kernel_is_pushed_again(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    way(FAILS)
    assert submit().code == 2
    way(TRAINS)
    assert submit().code == 0
    assert versions(practice) == ["fkd-smoke-1/1", "fkd-smoke-1/2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (FAILS, ["RuntimeError: boom, in fkd_kaggle/training.py line 2 (fit)", "kernel logs"]),
        ("import sys\nsys.exit('error: recipe deep51 is unknown')", ["recipe deep51 is unknown"]),
        ("import keras_cv_tiny", ["Kaggle's image has no package 'keras_cv_tiny'"]),
        ("import os\nos._exit(3)", ["its log names no cause"]),
        ("import os\nos._exit(137)", ["allocate more memory"]),
        ("print('done')", ["ended without the run smoke-1", "nothing", "kernel logs"]),
    ],
)
def test_the_cause_of_a_failure_is_one_line(
    submit: Callable[..., CommandResult], way: KernelScript, script: str, words: list[str]
) -> None:
    way(script)
    result = submit()
    (line,) = result.err.splitlines()
    assert result.code == 2
    for word in ("fkd-smoke-1", *words):
        assert word in line
    assert not Path("submissions").exists()


@pytest.mark.slow
def test_a_kernel_whose_networks_failed_is_not_submitted_silently(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    way(TRAINS.replace("INFO)", "INFO.replace('finished', 'failures'))"))
    result = submit()
    (line,) = result.err.splitlines()
    assert result.code == 1
    for words in ("smoke-1", "could not be trained", "heatmap-small-f0"):
        assert words in line
    assert practice.store.submissions() == []
    assert Run.open(Path("runs/smoke-1")).status == "failures"


@pytest.mark.slow
def test_a_run_without_a_submission_is_kept(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    way(TRAINS.replace("submission.csv", "answer.csv"))
    assert_one_line_error(submit(), "without a submission.csv", "`fkd-kaggle submit smoke-1`")
    assert Run.open(Path("runs/smoke-1")).status == "finished"


@pytest.mark.slow
def test_an_invalid_submission_is_not_submitted(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    way(TRAINS.replace(",48.5", ",97.5"))
    assert_one_line_error(submit(), "RowId 1", "97.5")
    assert practice.store.submissions() == []


@pytest.mark.slow
def test_a_cancelled_kernel_is_reported(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    process = waiting_command(way)
    practice.kernels.cancel(practice.kernels.versions.all()[0])
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "kernel practice/fkd-smoke-1 was cancelled after" in err


@pytest.mark.slow
def test_status_shows_the_end_of_a_traceback(
    submit: Callable[..., CommandResult], fkd: Command, way: KernelScript
) -> None:
    way(FAILS)
    submit()
    out = fkd("kernel", "status").out
    assert "practice/fkd-smoke-1, version 1, run smoke-1: error" in out
    assert "raise RuntimeError('boom')" in out
    assert "in fkd_kaggle/training.py line 2 (fit)" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("phone", ["phone number verified", "https://www.kaggle.com/settings"]),
        ("gpu-quota", ["week's GPU quota is used up", "train-ensemble"]),
        ("403:path=DownloadDataFiles", ["rules"]),
        ("500:path=SaveKernel,times=all", ["500"]),
    ],
)
def test_a_refused_push_is_one_line_and_can_be_repeated(
    submit: Callable[..., CommandResult],
    fkd: Command,
    practice: PracticeKaggle,
    fault: str,
    words: list[str],
) -> None:
    practice.faults.add(fault)
    assert_one_line_error(submit(), *words)
    assert versions(practice) == []
    practice.faults.clear()
    assert fkd("kernel", "push", *PLAN).code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--title", "abc"], ["title has 5 to 50 characters"]),
        (["--title", "!!!!!!"], ["name"]),
        (["--shards", "9"], ["9 shards", "1 to 3"]),
        (["--run", "my run"], ["'my run'", "folder"]),
        (["--accelerator", "Abacus"], ["Invalid machine shape: Abacus"]),
    ],
)
def test_invalid_kernel_options_are_refused(
    submit: Callable[..., CommandResult],
    practice: PracticeKaggle,
    options: list[str],
    words: list[str],
) -> None:
    assert_one_line_error(submit(*options, *PLAN), *words)
    assert versions(practice) == []


def test_corrections_are_packed_with_the_kernel(fkd: Command, tmp_path: Path) -> None:
    write_competition(tmp_path / "data", train=12, test=4)
    text = "row,keypoint,x,y\r\n1,nose_tip,40,41\r\n"
    (tmp_path / "corrections.csv").write_bytes(text.encode("utf-8-sig"))
    build = ("kernel", "build", "--owner", "ada", "--data-dir", tmp_path / "data", *PLAN)
    ended = fkd(*build, "--corrections", tmp_path / "corrections.csv")
    assert ended.code == 0, ended.err
    script = Path("kernel", "train_ensemble.py").read_text()
    assert "Corrections: 1 label of training.csv" in script
    packed = re.search(r'TASK = r"""(.*?)"""', script, re.DOTALL)
    assert packed is not None
    assert KernelTask.from_json(packed[1]).corrections.splitlines() == text.splitlines()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("row,keypoint,x,y\n1,nose,40,41\n", "keypoint"),
        ("row,keypoint,x,y\n999,nose_tip,40,41\n", "row 999 does not exist"),
        (None, "cannot read"),
    ],
)
def test_corrections_that_do_not_fit_are_refused_before_a_push(
    submit: Callable[..., CommandResult],
    practice: PracticeKaggle,
    tmp_path: Path,
    text: str | None,
    words: str,
) -> None:
    write_competition(tmp_path / "data", train=12, test=4)
    if text is not None:
        (tmp_path / "corrections.csv").write_text(text)
    options = ("--corrections", tmp_path / "corrections.csv", "--data-dir", tmp_path / "data")
    assert_one_line_error(submit(*PLAN, *options), words)
    assert versions(practice) == []


def test_corrections_are_checked_against_the_data(
    submit: Callable[..., CommandResult], practice: PracticeKaggle, tmp_path: Path
) -> None:
    (tmp_path / "corrections.csv").write_text("row,keypoint,x,y\n1,nose_tip,40,41\n")
    ended = submit(*PLAN, "--corrections", tmp_path / "corrections.csv")
    assert_one_line_error(ended, "training.csv", "fkd-kaggle fetch")
    assert versions(practice) == []


def test_a_script_that_is_too_large_is_refused(
    submit: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_build, "MAX_SOURCE_BYTES", 1000)
    assert_one_line_error(submit(), "Kaggle takes 1,000")


@pytest.mark.slow
def test_an_unknown_competition_source_is_reported(
    submit: Callable[..., CommandResult], way: KernelScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misspelt(folder: Path, task: Any, **names: Any) -> Path:
        path = way.build(folder, task, **names) / "kernel-metadata.json"
        path.write_text(path.read_text().replace("facial-keypoints", "facial-key-points"))
        return folder

    monkeypatch.setattr(kernel_build, "write_kernel", misspelt)
    assert_one_line_error(submit(), "without facial-key-points-detection", "rules")


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        ["429:path=SaveKernel,times=1,retry_after=0.1", "cut-log:after=1"],
        [
            "503:path=GetKernelSessionStatus,times=1",
            "429:path=GetKernelSessionStatus,times=1,retry_after=0.1",
            "503:path=ListKernelSessionOutput,times=1",
        ],
        ["cut-download:path=storage/kernels,after=100"],
    ],
)
def test_transient_failures_are_retried(
    submit: Callable[..., CommandResult],
    way: KernelScript,
    practice: PracticeKaggle,
    faults: list[str],
) -> None:
    way("print('first', flush=True)\n" + TRAINS)
    for fault in faults:
        practice.faults.add(fault)
    result = submit()
    assert result.code == 0, result.all
    assert result.out.count("first\n") == result.out.count("trained one epoch\n") == 1
    assert versions(practice) == ["fkd-smoke-1/1"]
    assert only_submission(practice)


def test_an_outage_while_waiting_does_not_end_the_wait() -> None:
    """The client gives up after six attempts; the follower continues."""
    told: list[KernelEvent] = []
    follower = KernelFollower(cast(Competition, CompetitionWithOutage()), told.append, poll=0.01)
    follower.add(KernelRef("ada/x", 1))
    ended: list[KernelEnded] = []
    while follower.busy:
        ended = follower.step()
    assert ended[0].status.state == "complete"
    assert KernelWaiting("ada/x", "was cut") in told


class CompetitionWithOutage:
    """A competition whose Kaggle fails for a while."""

    practice_url = None

    def __init__(self) -> None:
        self.asked = 0

    def kernel_status(self, kernel: str, version: int) -> Any:
        self.asked += 1
        if self.asked < 5:
            raise CompetitionError("was cut", None if self.asked % 2 else 503)
        return KernelStatus("complete", "")

    def kernel_logs(self, kernel: str, version: int, **_: Any) -> Any:
        return iter(())


@pytest.mark.slow
def test_push_status_logs_output_know_the_newest_kernel(
    fkd: Command, practice: PracticeKaggle, way: KernelScript
) -> None:
    way("print('hello from inside')\n" + TRAINS)
    result = fkd("kernel", "push", *PLAN, "--run", "mine")
    assert result.code == 0, result.all
    assert "practice/fkd-mine, version 1, pushed" in result.out
    assert "fkd-kaggle submit mine --via kernel" in result.out
    result = fkd("kernel", "logs", "--follow")
    assert result.code == 0, result.all
    assert "hello from inside" in result.out
    assert "hello from inside" in fkd("kernel", "logs", "mine").out
    assert "practice/fkd-mine, version 1, run mine: complete" in fkd("kernel", "status").out
    assert fkd("kernel", "output", "--folder", "raw").code == 0
    assert Path("raw/mine/run.json").exists() and Path("raw/fkd-mine.log").exists()
    result = fkd("kernel", "output", "fkd-mine")
    assert result.code == 0, result.all
    assert Path("runs/mine/run.json").exists()
    assert "resumed" in fkd("kernel", "push", *PLAN).out
    assert fkd("submit", "--yes", "mine", "--via", "kernel").code == 0
    assert_one_line_error(
        fkd("submit", "--yes", "mine", "--via", "kernel"), "was submitted as", "submissions"
    )
    assert fkd("kernel", "logs", "--follow").code == 0
    assert_one_line_error(fkd("kernel", "push", *PLAN, "--run", "mine"), "run mine exists")
    assert versions(practice) == ["fkd-mine/1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accelerator", "machine", "gpu", "warning"),
    [
        ("None", "None", False, ""),
        ("Gpu", "Gpu", True, ""),
        ("NvidiaL4X1", "NvidiaL4X1", True, ""),
        ("NvidiaTeslaP100", "NvidiaTeslaT4", True, "P100 is retired: Kaggle runs the session on"),
        ("NvidiaB300", "NvidiaB300", True, "NvidiaB300 is a machine that this version does not"),
        ("NvidiaTeslaT5", "NvidiaTeslaT5", True, "did you mean NvidiaTeslaT4?"),
    ],
)
def test_the_accelerator_selects_the_machine(
    fkd: Command, practice: PracticeKaggle, way: KernelScript,
    accelerator: str, machine: str, gpu: bool, warning: str,
) -> None:  # fmt: skip
    result = fkd("kernel", "push", *PLAN, "--accelerator", accelerator)
    assert result.code == 0, result.all
    assert ("warning: " in result.out) == bool(warning)
    assert warning in result.out
    (version,) = practice.kernels.versions.all()
    assert (version.machine_shape, version.gpu) == (machine, gpu)
    assert ("GPU time" in fkd("submit", "--yes", "smoke-1", "--via", "kernel").out) == gpu


@pytest.mark.parametrize("name", ["TpuV5E8", "TpuV6E8", "TpuV38", "Tpu1VmV38", "TpuV232", "tpuv7"])
def test_tpus_are_refused_before_quota_is_used(fkd: Command, name: str) -> None:
    assert_one_line_error(fkd("kernel", "push", *PLAN, "--accelerator", name), name, "TPU quota")


@pytest.mark.slow
def test_the_session_limit_is_planned_and_sent(
    fkd: Command, practice: PracticeKaggle, way: KernelScript
) -> None:
    push = ("kernel", "push", *PLAN, "--accelerator", "None")
    fkd(*push)
    fkd(*push, "--session-limit", "11h")
    result = fkd(*push, "--time-limit", "1h")
    assert "warning" not in result.out
    limits = [one.limit / 3600 for one in practice.kernels.versions.all()[::-1]]
    assert limits == [9.0, 11.0, 2.0]
    result = fkd(*push, "--time-limit", "10h")
    assert "planned for 9:00 h, so the training ends after 8:55 h" in result.out
    for limit in ("13h", "1m"):
        command = fkd(*push, "--session-limit", limit)
        assert_one_line_error(command, "--session-limit", "10 min to 12 h")


IMAGES = """
import json, os, pathlib, time
import numpy
time.sleep(0.3)
if SHARD is None:
    exec(TRAINS)
else:
    run = pathlib.Path(RUN)
    run.mkdir()
    (run / "run.json").write_text(INFO)
    image = os.environ["KAGGLE_DOCKER_IMAGE"]
    odd = image != os.environ.get("EXPECTED", image) or SHARD == ODD
    numpy.save(run / "folds.npy", numpy.array([0, 1, int(odd)]))
    versions = {"keras": "3.13.2" if SHARD != NEWER else "3.14.0"}
    machine = {"python": "3.12.13", "versions": versions, "image": image, "gpus": 2}
    (run / "machine.json").write_text(json.dumps(machine))
"""


def images(odd: int = -1, newer: int = -1) -> str:
    """Return a script whose shard ``odd`` has other folds, and ``newer`` another Keras."""
    return f"ODD, NEWER, TRAINS = {odd}, {newer}, {TRAINS!r}\n{IMAGES}"


@pytest.mark.slow
def test_shards_are_pinned_to_the_image_of_the_first(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    push = practice.kernels.push

    def push_and_release(request: Any) -> Any:
        version = push(request)
        practice.faults.add("new-image")  # Kaggle releases an image after the first push
        return version

    way(images())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(practice.kernels, "push", push_and_release)
        result = submit("--shards", "3", *PLAN)
    assert result.code == 0, result.all
    *shards, blend = practice.kernels.versions.all()[::-1]
    assert len({one.docker_image for one in shards}) == 1
    assert "kaggle-gpu-images" in shards[0].docker_image
    assert "kaggle-images" in blend.docker_image  # the blend has no GPU
    assert "warning" not in result.out


@pytest.mark.slow
def test_a_shard_with_other_folds_is_refused_when_it_ends_and_pushed_again(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    way(images(odd=1, newer=1))
    result = submit("--shards", "2", *PLAN)
    line = assert_one_line_error(
        result, "split the faces differently", "keras 3.1", "repeat the command", "pushes shard"
    )
    assert {one.slug for one in practice.kernels.versions.all()} == {
        "fkd-smoke-1-shard-1", "fkd-smoke-1-shard-2"
    }  # fmt: skip
    # The shard that ends last is pushed again, and then has the folds of the other.
    way(images() if "pushes shard 2" in line else images(odd=0))
    result = submit("--shards", "2", *PLAN)
    assert result.code == 0, result.all
    assert sorted(versions(practice))[0] == "fkd-smoke-1-shard-1/1"
    assert len(versions(practice)) == 4


@pytest.mark.slow
def test_another_image_with_the_same_folds_is_a_warning(
    submit: Callable[..., CommandResult], way: KernelScript, practice: PracticeKaggle
) -> None:
    way(images(newer=1))
    result = submit("--shards", "2", *PLAN)
    assert result.code == 0, result.all
    assert "warning: shards" in result.out and "their folds agree" in result.out
    assert "keras 3.13.2 and 3.14.0" in result.out or "keras 3.14.0 and 3.13.2" in result.out


@pytest.mark.slow
def test_slots_that_stay_taken_name_a_finished_session_as_a_possibility(
    submit: Callable[..., CommandResult], practice: PracticeKaggle, way: KernelScript
) -> None:
    refused, push = [False], practice.kernels.push

    def refuse_once(request: Any) -> Any:
        if not refused[0]:
            refused[0] = True
            raise PushRefusedError("Maximum batch GPU session count of 2 reached.")
        return push(request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(practice.kernels, "push", refuse_once)
        result = submit()
    assert result.code == 0, result.all
    assert "a finished session is still shown as active" in result.out
    assert "View Active Events" in result.out


@pytest.mark.slow
def test_earlier_versions_stay_known_and_are_asked_for_by_number(
    submit: Callable[..., CommandResult], fkd: Command, way: KernelScript, practice: PracticeKaggle
) -> None:
    way("print('the first')\nopen('part.txt', 'w').write('1')\nraise SystemExit(1)")
    assert submit().code == 2
    way("print('the second')\n" + TRAINS)
    assert submit("--dry-run", *PLAN).code == 0
    status = fkd("kernel", "status").out
    assert "version 2, run smoke-1: complete" in status
    assert "versions pushed from here: 1 (failed), 2 (collected)" in status
    assert "version 1, run smoke-1: error" in fkd("kernel", "status", "smoke-1/1").out
    for extra in ((), ("--follow",)):
        log = fkd("kernel", "logs", "fkd-smoke-1/1", *extra).out
        assert "the first" in log and "the second" not in log
    assert "the second" in fkd("kernel", "logs", "smoke-1/2").out
    assert fkd("kernel", "output", "smoke-1/1", "--folder", "first").code == 0
    assert Path("first/part.txt").read_text() == "1"
    assert_one_line_error(fkd("kernel", "output", "smoke-1/1"), "not the newest", "--folder")
    assert_one_line_error(fkd("kernel", "status", "smoke-1/7"), "version 7", "known are 1, 2")


@pytest.mark.slow
def test_a_name_that_kaggle_derives_otherwise_is_read_back(
    fkd: Command, way: KernelScript, practice: PracticeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a good answer, and after a lost one."""
    other = SimpleNamespace(slug=lambda text: f"{formatting.slug(text)}-x")
    monkeypatch.setattr(practice_push, "formatting", other)
    result = fkd("kernel", "push", *PLAN, "--title", "FKD Ünïcode Gesichter", "--run", "t1")
    assert result.code == 0, result.all
    assert "practice/fkd-unicode-gesichter-x, version 1" in fkd("kernel", "status", "t1").out
    practice.faults.add("lost-answer:path=SaveKernel")
    result = fkd("kernel", "push", *PLAN, "--title", "人脸 关键点", "--run", "t2")
    assert result.code == 0, result.all
    assert fkd("kernel", "status", "t2").code == 0
    assert len(versions(practice)) == 2


def test_stop_names_the_page_of_the_kernel(
    fkd: Command, practice: PracticeKaggle, way: KernelScript
) -> None:
    way(WAITS)
    fkd("kernel", "push", *PLAN)
    assert "--follow" in fkd("kernel", "logs").out
    assert_one_line_error(fkd("kernel", "stop"), f"{practice.url}/code/practice/fkd-smoke-1")


@pytest.mark.parametrize("command", ["status", "logs", "output", "stop"])
def test_commands_need_a_pushed_kernel(fkd: Command, command: str) -> None:
    assert_one_line_error(fkd("kernel", command), "no kernel was pushed", "fkd-kaggle kernel push")


def test_an_unknown_kernel_is_named(
    fkd: Command, practice: PracticeKaggle, way: KernelScript
) -> None:
    fkd("kernel", "push", *PLAN)
    assert_one_line_error(fkd("kernel", "status", "mine"), "'mine'", "smoke-1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "--shards", "2"], ["--shards", "--via kernel"]),
        (["submit", "--epochs", "2", "some-run"], ["--epochs", "--via kernel"]),
        (["submit", "x", "--via", "kernel", "--epochs", "2"], ["omit --epochs"]),
        (["submit", "--via", "kernel", "--file", "a.csv"], ["--file"]),
        (["submit", "--via", "kernel", "-r", "deep51"], ["deep51", "deep15"]),
        (["submit", "nowhere", "--via", "kernel"], ["no kernel was pushed"]),
        (["rehearse", "--shards", "2"], ["--via kernel"]),
        (["kernel", "push", "--epochs", "0"], ["epochs"]),
    ],
)
def test_an_invalid_command_line_is_refused(
    fkd: Command, arguments: list[str], words: list[str]
) -> None:
    assert_one_line_error(fkd(*arguments), *words)


@pytest.mark.parametrize("command", ["build", "push", "status", "logs", "output", "stop"])
def test_every_command_explains_itself(fkd: Command, command: str) -> None:
    result = fkd("kernel", command, "--help")
    assert result.code == 0
    assert "Usage" in result.out


@pytest.mark.slow
def test_the_official_client_pushes_the_folder_that_build_leaves(
    fkd: Command, practice: PracticeKaggle, way: KernelScript, tmp_path: Path
) -> None:
    """As the documentation says it, with the client's own environment for this machine."""
    built = fkd("kernel", "build", *PLAN)
    assert "kaggle kernels push -p kernel -t 32400" in built.out, built.all
    environment = {
        **os.environ, "KAGGLE_API_ENVIRONMENT": "LOCALHOST", "http_proxy": practice.url,
        "KAGGLE_USERNAME": "practice", "KAGGLE_KEY": "practice",
    }  # fmt: skip
    done = subprocess.run(
        [Path(sys.executable).with_name("kaggle"), "kernels", "push", "-p", "kernel"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "Kernel version 1 successfully pushed" in done.stdout, done.stdout + done.stderr
    assert versions(practice) == ["fkd-smoke-1/1"]


def test_credentials_reach_neither_output_nor_files(
    fkd: Command, practice: PracticeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real script, and everything that is noted about it."""
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    practice.faults.add("stuck-queue")
    result = fkd("kernel", "push", *PLAN)
    assert result.code == 0, result.all
    assert "ada/fkd-smoke-1" in result.out
    assert SECRET not in result.all
    kept = [path for path in Path("runs").rglob("*") if path.is_file()]
    assert any("train_ensemble.py" in path.name for path in kept)
    assert all(SECRET not in path.read_text() for path in kept)


CHAINED = """\
epoch 1
Traceback (most recent call last):
  File "/tmp/x/fkd_kaggle/faces.py", line 10, in read
    int("a")
ValueError: invalid literal

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/kaggle/src/script.py", line 3, in <module>
    main()
  File "/tmp/x/fkd_kaggle/training.py", line 132, in fit
    model.fit(views)
  File "/usr/lib/python3.11/site-packages/keras/src/trainer.py", line 9, in fit
    raise OOM("no memory")
tensorflow.python.framework.errors_impl.ResourceExhaustedError: no memory
\t[[{{node conv}}]] [Op:__inference]
"""

KERAS = """\
Traceback (most recent call last):
  File "/kaggle/temp/fkd-x/fkd_kaggle/training.py", line 77, in call
TypeError: Exception encountered when calling Learner.call().

Input 'y' of 'AddV2' Op has type bfloat16.

Arguments received by Learner.call():
"""


HARMLESS = """\
Traceback (most recent call last):
  File "/tmp/x/fkd_kaggle/report/run_figures.py", line 5, in write
ValueError: no font

wrote run
error: the lookup table is damaged
"""


@pytest.mark.parametrize(
    ("log", "reason", "where"),
    [
        (HARMLESS, "the lookup table is damaged", ""),
        (
            f"error: no data\n{CHAINED}",
            "ResourceExhaustedError: no memory",
            "fkd_kaggle/training.py line 132 (fit)",
        ),
        (
            KERAS,
            "TypeError: Input 'y' of 'AddV2' Op has type bfloat16.",
            "fkd_kaggle/training.py line 77 (call)",
        ),
        (CHAINED, "ResourceExhaustedError: no memory", "fkd_kaggle/training.py line 132 (fit)"),
        ("a\nerror: no data\nb", "no data", ""),
        ("", "", ""),
        ("Traceback (most recent call last):\nKeyError", "KeyError", ""),
    ],
)
def test_cause_and_location_are_found_in_a_log(log: str, reason: str, where: str) -> None:
    failure = failures.find_failure(log.splitlines())
    assert (failure.reason, failure.where) == (reason, where)


def test_jobs_with_the_same_training_have_the_same_digest() -> None:
    plan = plans.make_plan(plans.TrainingOptions(["smoke"], epochs=1))
    first = KernelJob(plan)
    digest = first.digest()
    again = KernelJob.from_dict(json.loads(json.dumps(first.to_dict())))
    assert again == first
    assert again.digest() == digest
    other = KernelJob(plans.make_plan(plans.TrainingOptions(["smoke"], epochs=2)))
    assert other.digest() != digest
    assert KernelJob(plan, shards=2).digest() != digest
    assert KernelJob(plan, corrections="row,keypoint,x,y\n1,nose_tip,40,41\n").digest() != digest


@pytest.mark.slow
def test_kernels_of_a_practice_kaggle_are_not_submitted_to_kaggle(
    submit: Callable[..., CommandResult],
    fkd: Command,
    practice: PracticeKaggle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although job, user and folder are the same."""
    assert submit("--dry-run", *PLAN).code == 0
    assert "smoke-1" in fkd("kernel", "status").out
    monkeypatch.delenv("KAGGLE_API_ENVIRONMENT")
    for command in (["kernel", "status"], ["submit", "smoke-1", "--yes", "--via", "kernel"]):
        assert_one_line_error(fkd(*command), "no kernel was pushed from runs yet")
    digest = records.read_records(Path("runs"))[0].digest
    job = KernelJob(plans.make_plan(plans.TrainingOptions(PLAN[1:2], epochs=1)))
    assert job.digest(practice=True) == digest != job.digest()


def test_a_terminal_shows_log_lines_and_a_live_line_per_kernel() -> None:
    console = Console(force_terminal=True, width=100, record=True, color_system=None)
    with live_display.KernelDisplay(console) as display:
        for name in ("a", "b"):
            display(KernelPushed(f"ada/{name}", 1, "", resumed=False))
        display(KernelStateChanged("ada/a", "running", None))
        display(KernelPrinted("ada/a", "\x1b[31mred\x1b[0m [bold]not markup", "stdout"))
    text = console.export_text()
    assert "[a] red [bold]not markup" in text
    assert "ada/b" in text and "running" in text


def test_a_log_gets_plain_lines() -> None:
    console = Console(width=100, record=True, force_terminal=False)
    display = live_display.KernelDisplay(console)
    display(KernelPushed("ada/a", 2, "https://kaggle.com/x", resumed=True))
    display(KernelWaiting("ada/a", "full"))
    display(KernelWaiting("ada/a", "full"))
    text = console.export_text()
    assert text.splitlines() == [
        "kernel ada/a, version 2, resumed: https://kaggle.com/x",
        "kernel ada/a waits: full",
    ]


@pytest.mark.slow
def test_a_rehearsal_by_kernel_of_data_without_answers_ends_well(
    fkd: Command, competition_dir: Path, way: KernelScript
) -> None:
    result = fkd("rehearse", "--via", "kernel", "--data", competition_dir, *PLAN[:2])
    assert result.code == 0, result.all
    assert "accepted, not scored" in result.out


OLD_RUN = Path(__file__).parents[1] / "data" / "old_run"


@pytest.fixture
def old_records(tmp_path: Path) -> Path:
    """A folder of runs with the records that version 0.1.0 wrote."""
    shutil.copytree(OLD_RUN / "records", tmp_path / "old_runs" / records.FOLDER)
    return tmp_path / "old_runs"


@pytest.mark.parametrize(("shards", "practice", "count"), [(1, True, 1), (2, False, 3)])
def test_a_job_ordered_again_matches_the_records_of_version_0_1_0(
    old_records: Path, shards: int, practice: bool, count: int
) -> None:
    options = plans.TrainingOptions(("tiny.toml",), seed=1, precision="float32", time_limit=1200.0)
    with pytest.MonkeyPatch.context() as monkeypatch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the old keys of the recipe files
        monkeypatch.chdir(OLD_RUN)
        job = KernelJob(plans.make_plan(options), shards)
        other = KernelJob(plans.make_plan(replace(options, seed=2)), shards)
    saved = records.read_records(old_records)
    assert len(saved) == 4
    digest = job.digest(practice=practice)
    assert sum(record.digest == digest for record in saved) == count
    found = records.records_of_open_run(saved, digest)
    assert len(found) == (1 if practice else 0)  # The blend of the shards was submitted.
    for digest in (job.digest(practice=not practice), other.digest(practice=practice)):
        assert all(record.digest != digest for record in saved)


def test_descriptions_of_recipes_do_not_change_a_digest() -> None:
    plan = plans.make_plan(plans.TrainingOptions(("smoke",), epochs=1))
    line, *others = plan.ensemble.members
    recipe = replace(line.recipe, description="reworded", reached={"rmse": 1.0})
    members = (replace(line, recipe=recipe), *others)
    ensemble = replace(plan.ensemble, members=members, description="reworded")
    assert KernelJob(replace(plan, ensemble=ensemble)).digest() == KernelJob(plan).digest()


def test_a_record_of_version_0_1_0_is_written_with_new_keys(old_records: Path) -> None:
    before = records.read_records(old_records)
    for record in before:
        records.write_record(old_records, record)
    assert records.read_records(old_records) == before
    written = json.loads((old_records / records.FOLDER / "fkd-old-kernel.json").read_text())
    assert {"job", "pushed", "running_since"} < written.keys()
    assert not {"order", "noted", "running"} & written.keys()


def test_a_kernel_pushed_by_version_0_1_0_is_not_pushed_again(
    fkd: Command, practice: PracticeKaggle, old_records: Path
) -> None:
    options = ("-r", "tiny.toml", "--seed", "1", "--precision", "float32", "--time-limit", "20m")
    for path in OLD_RUN.glob("tiny*.toml"):
        shutil.copy(path, path.name)
    practice.kernels.versions.add(
        "ada", "fkd-old-kernel", "", title="", pushed=0.0, limit=1.0, private=False,
        status="complete",
    )  # fmt: skip
    result = fkd("kernel", "push", *options, "--runs-dir", old_records)
    assert result.code == 0, result.all
    assert "kernel ada/fkd-old-kernel, version 1, resumed" in result.out
    assert versions(practice) == ["fkd-old-kernel/1"]
