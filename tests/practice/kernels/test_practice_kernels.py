"""Kernels of the practice Kaggle: the official client pushes scripts, which run on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
from conftest import SECRET, PracticeFactory, run_kaggle

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.kernels import KernelStatus
from fkd_kaggle.kaggle_api.retry import RetryPolicy
from fkd_kaggle.practice.dataset import SERVED, SLUG
from fkd_kaggle.practice.kernels import runner, sandbox
from fkd_kaggle.practice.server import PracticeKaggle

pytestmark = pytest.mark.slow

T = TypeVar("T")

HELLO = "practice/hello"

FAST = RetryPolicy(first_wait=0.01)

SLEEPER = """
    import time
    print("awake", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def competition(practice: PracticeKaggle) -> Competition:
    return Competition.open(retry_policy=FAST)


def write_kernel(folder: Path, script: str, name: str = "hello", **metadata: Any) -> Path:
    """Write a kernel's folder in the official client's format."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(textwrap.dedent(script))
    content = {
        "id": f"practice/{name}", "title": name, "code_file": "main.py", "language": "python",
        "kernel_type": "script", "is_private": True, "enable_gpu": False,
        "enable_internet": False, "competition_sources": [SLUG], **metadata,
    }  # fmt: skip
    (folder / "kernel-metadata.json").write_text(json.dumps(content))
    return folder


def wait(competition: Competition, kernel: str = HELLO) -> KernelStatus:
    return wait_for(lambda: competition.kernel_status(kernel), lambda status: status.finished)


def wait_for(read: Callable[[], T], wanted: Callable[[T], bool] = bool) -> T:
    for _ in range(300):
        seen = read()
        if wanted(seen):
            return seen
        time.sleep(0.1)
    raise AssertionError(f"still {seen}")


def printed(competition: Competition, kernel: str = HELLO) -> str:
    return "".join(line.text for line in competition.kernel_logs(kernel))


@pytest.fixture
def push(tmp_path: Path) -> Callable[..., int]:
    """Push a script; return its version."""

    def push(
        competition: Competition,
        script: str,
        name: str = "hello",
        timeout: int = 3600,
        **metadata: Any,
    ) -> int:
        folder = write_kernel(tmp_path / "pushed" / name, script, name, **metadata)
        return competition.kernel_push(folder, timeout).version

    return push


Push = Callable[..., int]


@pytest.fixture(params=["namespaces", "prefix variable"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Kernels with namespaces, and with FKD_KAGGLE_ROOT instead."""
    if request.param == "prefix variable":
        monkeypatch.setattr(sandbox, "is_isolated", lambda: False)
    elif not sandbox.is_isolated():
        pytest.skip("this system allows no namespaces")
    return str(request.param)


REPORT_ENVIRONMENT = """
    import importlib.metadata, importlib.util, json, os, socket, subprocess, sys
    from pathlib import Path

    def fails(call):
        try:
            call()
        except Exception as error:
            return type(error).__name__

    root = Path(os.environ.get("FKD_KAGGLE_ROOT", "/kaggle"))
    child = [sys.executable, "-c", "import numpy; print(numpy.__name__); import fkd_kaggle"]
    child = subprocess.run(child, capture_output=True, text=True)
    listener = socket.create_server(("127.0.0.1", 0))
    port = int(Path("{port}").name)
    Path("seen.json").write_text(json.dumps({{
        "where": [str(root), os.getcwd(), __file__],
        "input": sorted(str(path.relative_to(root / "input")) for path in root.rglob("*.*")
                        if root / "input" in path.parents),
        "write input": fails(lambda: (root / "input" / "x").write_text("")),
        "import": fails(lambda: __import__("fkd_kaggle")),
        "metadata": fails(lambda: importlib.metadata.version("fkd-kaggle")),
        "child": [child.stdout, child.stderr.splitlines()[-1]],
        "others": [bool(importlib.util.find_spec(n)) for n in ("tensorflow", "keras", "scipy")],
        "environment": dict(os.environ),
        "loopback": fails(lambda: socket.create_connection(listener.getsockname(), 5)),
        "network": fails(lambda: socket.create_connection(("127.0.0.1", port), 5)),
        "server": fails(lambda: Path("/proc/{pid}/environ").read_bytes()),
    }}))
"""


def test_a_kernel_sees_kaggles_folders_and_not_this_package(
    system: str,
    start_practice: PracticeFactory,
    push: Push,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    kaggle = start_practice()
    competition = Competition.open(retry_policy=FAST)
    push(competition, REPORT_ENVIRONMENT.format(port=kaggle.port, pid=os.getpid()))
    assert wait(competition).state == "complete", printed(competition)
    competition.kernel_output(HELLO, tmp_path / "out")
    seen = json.loads((tmp_path / "out" / "seen.json").read_text())

    root, cwd, script = seen["where"]
    assert (cwd, script) == (f"{root}/working", f"{root}/src/script.py")
    assert seen["input"] == sorted(f"competitions/{SLUG}/{name}" for name in SERVED)
    assert seen["import"] == "ModuleNotFoundError"
    assert seen["metadata"] == "PackageNotFoundError"
    assert seen["child"] == ["numpy\n", "ModuleNotFoundError: No module named 'fkd_kaggle'"]
    assert seen["others"] == [True, True, True]
    assert seen["environment"]["KAGGLE_KERNEL_RUN_TYPE"] == "Batch"
    assert SECRET not in json.dumps(seen)
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    assert seen["loopback"] is None
    if system == "namespaces":
        assert root == "/kaggle"
        assert "FKD_KAGGLE_ROOT" not in seen["environment"]
        assert seen["write input"] == "OSError"
        assert seen["network"] is not None
        assert seen["server"] == "PermissionError"
    else:
        assert seen["environment"]["FKD_KAGGLE_ROOT"] == root


BREAK_OUT = """
    import glob, json, os, subprocess
    from pathlib import Path

    data = Path("/kaggle/input/competitions/facial-keypoints-detection")

    def code(*command):
        return subprocess.run(command, capture_output=True, text=True).returncode

    def fails(call):
        try:
            call()
        except OSError as error:
            return type(error).__name__

    remount = ["mount", "-o", "remount,bind,rw", str(data)]
    Path("seen.json").write_text(json.dumps({{
        "remount": code(*remount),
        "remount in a namespace": code("unshare", "--user", "--map-root-user", "--mount", *remount),
        "umount": code("umount", str(data)),
        "umount in a namespace": code(
            "unshare", "--user", "--map-root-user", "--mount", "umount", str(data)
        ),
        "change": fails(lambda: (data / "training.csv").write_text("")),
        "home": [path.name for path in Path({home!r}).glob("*")],
        "credentials": fails(lambda: Path({home!r}, ".kaggle", "kaggle.json").read_text()),
        "settings": fails(lambda: Path({settings!r}, "kaggle.json").read_text()),
        "solution": glob.glob({state!r} + "/**/answers.npy", recursive=True),
        "system": fails(lambda: Path({here!r}).open("a")),
        "temporary": fails(lambda: Path("/tmp/x").write_text("x")),
    }}))
"""


def test_a_kernel_cannot_change_its_input_or_read_the_users_files(
    start_practice: PracticeFactory, push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sandbox.is_isolated():
        pytest.skip("this system allows no namespaces")
    home, settings = tmp_path / "home", tmp_path / "settings"
    for folder in (home / ".kaggle", settings):
        folder.mkdir(parents=True)
        (folder / "kaggle.json").write_text(json.dumps({"username": "practice", "key": SECRET}))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(settings))
    kaggle = start_practice(hold_out=0.25)
    competition = Competition.open(retry_policy=FAST)
    state = kaggle.store.folder
    assert list(state.rglob("answers.npy"))
    values = {"home": str(home), "settings": str(settings), "state": str(state)}
    push(competition, BREAK_OUT.format(**values, here=runner.__file__))
    assert wait(competition).state == "complete", printed(competition)
    competition.kernel_output(HELLO, tmp_path / "out")
    seen = json.loads((tmp_path / "out" / "seen.json").read_text())
    for attempt in ("remount", "remount in a namespace", "umount", "umount in a namespace"):
        assert seen[attempt] != 0, attempt
    assert seen["change"] == "OSError"
    assert ".kaggle" not in seen["home"]
    assert seen["credentials"] == seen["settings"] == "FileNotFoundError"
    assert seen["solution"] == []
    assert seen["system"] == "OSError"
    assert seen["temporary"] is None
    assert SECRET not in json.dumps(seen)


READ_PART = """
    import os
    from pathlib import Path
    root = Path(os.environ.get("FKD_KAGGLE_ROOT", "/kaggle")) / "input"
    for path in root.rglob("part.txt"):
        print(path.relative_to(root), path.read_text())
"""


def test_a_kernel_reads_the_output_of_another(
    system: str, practice: PracticeKaggle, competition: Competition, push: Push
) -> None:
    push(competition, "open('part.txt', 'w').write('first')", "shard-0")
    wait(competition, "practice/shard-0")
    push(competition, READ_PART, kernel_sources=["practice/shard-0"])
    wait(competition)
    assert printed(competition) == "notebooks/practice/shard-0/part.txt first\n"
    practice.faults.add("old-mounts")
    push(competition, READ_PART, kernel_sources=["practice/shard-0/1"])
    wait(competition)
    assert printed(competition) == "shard-0/part.txt first\n"


def test_a_kernel_has_a_log_and_output(
    competition: Competition, push: Push, tmp_path: Path
) -> None:
    push(
        competition,
        """
        import pathlib, sys
        print("hello")
        print("careful", file=sys.stderr)
        pathlib.Path("run/member").mkdir(parents=True)
        for number in range(150):
            pathlib.Path(f"run/member/{number}.txt").write_text(str(number))
        """,
    )
    assert wait(competition) == KernelStatus("complete", "")
    lines = {(line.stream, line.text) for line in competition.kernel_logs(HELLO)}
    assert lines == {("stdout", "hello\n"), ("stderr", "careful\n")}
    competition.kernel_output(HELLO, tmp_path / "out")  # two pages
    texts = [(tmp_path / "out" / f"run/member/{n}.txt").read_text() for n in range(150)]
    assert texts == [str(number) for number in range(150)]
    stored = json.loads((tmp_path / "out" / "hello.log").read_text())
    assert {tuple(event) for event in stored} == {("stream_name", "time", "data")}


def test_a_failed_script_is_an_error_with_its_traceback(
    competition: Competition, push: Push
) -> None:
    push(competition, "open('kept.txt', 'w')\nraise ValueError('no faces')")
    assert wait(competition).state == "error"
    assert printed(competition).endswith("ValueError: no faces\n")


def test_each_push_is_a_new_version_and_the_newest_is_the_default(
    practice: PracticeKaggle, competition: Competition, push: Push
) -> None:
    assert push(competition, "open('a', 'w').write('1')") == 1
    wait(competition)
    assert push(competition, "open('a', 'w').write('2')") == 2
    wait(competition)
    left = [practice.kernels.output_file("practice", "hello", n, "a") for n in (1, 2, None)]
    assert [path and path.read_text() for path in left] == ["1", "2", "2"]


def test_status_log_and_output_belong_to_the_version_asked_for(
    competition: Competition, push: Push, tmp_path: Path
) -> None:
    push(competition, "print('one')\nopen('result.txt', 'w').write('1')")
    wait(competition)
    push(competition, "print('two')\nopen('other.txt', 'w').write('2')\nraise SystemExit(3)")
    wait(competition)
    states = [competition.kernel_status(HELLO, number).state for number in (1, 2, 0)]
    assert states == ["complete", "error", "error"]
    for number, text in ((1, "one\n"), (2, "two\n"), (0, "two\n")):
        for follow in (False, True):
            lines = competition.kernel_logs(HELLO, number, follow=follow)
            assert "".join(line.text for line in lines) == text
    competition.kernel_output(HELLO, tmp_path / "first", 1)
    competition.kernel_output(HELLO, tmp_path / "second", 2)
    assert {path.name for path in (tmp_path / "first").iterdir()} == {"result.txt", "hello.log"}
    assert {path.name for path in (tmp_path / "second").iterdir()} == {"other.txt", "hello.log"}
    stored = competition.kernel_stored(HELLO, 1)
    assert stored is not None and "print('one')" in stored.source
    assert competition.kernel_stored(HELLO, 3) is None
    with pytest.raises(CompetitionError, match="no kernel practice/hello, version 3"):
        competition.kernel_status(HELLO, 3)


WIRE = (
    ("kernels.KernelsApiService/GetKernel", "hello", "v1", 200),
    ("kernels.KernelsApiService/GetKernel", "hello", "1", 404),
    ("kernels.KernelsApiService/GetKernel", "hello/1", "", 403),
    ("kernels.KernelsApiService/GetKernelSessionStatus", "hello", "v1", 200),
    ("kernels.KernelsApiService/GetKernelSessionStatus", "hello", "1", 404),
    ("kernels.KernelsApiService/ListKernelSessionOutput", "hello", "v2", 404),
    ("kernels.KernelsApiService/ListKernelFiles", "hello", "v1", 200),
    ("kernels/logs/stream/practice/hello?versionLabel=v1", "", "", 200),
    ("kernels/logs/stream/practice/hello?versionLabel=1", "", "", 404),
    ("kernels/logs/stream/practice/hello/1", "", "", 404),
)
"""Requests about versions with Kaggle's HTTP statuses (github.com/Kaggle/kaggle-cli/pull/1201)."""


def test_versions_are_labels_on_the_wire(
    practice: PracticeKaggle, competition: Competition, push: Push
) -> None:
    push(competition, "1")
    wait(competition)
    for path, slug, label, status in WIRE:
        body = {"userName": "practice", "kernelSlug": slug, "versionLabel": label}
        answer = requests.request(
            "POST" if slug else "GET", f"{practice.url}/api/v1/{path}",
            json=body, auth=("practice", "key"), timeout=10,
        )  # fmt: skip
        assert answer.status_code == status, path


def test_a_version_of_a_kernel_is_submitted_and_scored(
    competition: Competition, push: Push, solution_csv: Path
) -> None:
    answers = solution_csv.read_text()
    version = push(competition, f"open('submission.csv', 'w').write({answers!r})")
    wait(competition)
    ref = competition.submit_kernel(HELLO, version, "submission.csv", "from a kernel")
    assert competition.wait_for_score(ref).public_score == 0.0
    with pytest.raises(CompetitionError, match="404"):
        competition.submit_kernel(HELLO, version, "other.csv", "not there")


def test_further_kernels_wait_in_the_queue(start_practice: PracticeFactory, push: Push) -> None:
    kaggle = start_practice(kernels_at_once=1)
    competition = Competition.open(retry_policy=FAST)
    push(competition, SLEEPER, "first")
    push(competition, "print('second')", "second")
    first, second = "practice/first", "practice/second"
    wait_for(lambda: competition.kernel_status(first).state == "running")
    assert competition.kernel_status(second).state == "queued"
    competition.kernel_stop(first, session_of(kaggle, first))
    assert wait(competition, first).state == "cancel_acknowledged"
    assert wait(competition, second).state == "complete"


def session_of(kaggle: PracticeKaggle, kernel: str) -> int:
    listed = requests.get(f"{kaggle.url}/practice/kernels", timeout=10).json()
    return int(next(one["session"] for one in listed if one["kernel"] == kernel))


PARENT = """
    import subprocess, sys, time
    beat = "import time\\nwhile True: open('beat', 'a').write('.'); time.sleep(0.05)"
    subprocess.Popen([sys.executable, "-c", beat], start_new_session={own_group})
    print("awake", flush=True)
    time.sleep(120)
"""


@pytest.mark.parametrize("how", ["cancel", "time limit", "close", "runner killed"])
def test_a_kernel_ends_with_all_its_processes(
    how: str, system: str, start_practice: PracticeFactory, push: Push, tmp_path: Path
) -> None:
    kaggle = start_practice()
    competition = Competition.open(retry_policy=FAST)
    if system == "prefix variable" and how == "runner killed":
        pytest.skip("without namespaces, the kernel outlives a killed runner")
    limit = 2 if how == "time limit" else 3600
    push(competition, PARENT.format(own_group=True), timeout=limit)
    wait_for(lambda: beats(tmp_path))
    if how == "cancel":
        competition.kernel_stop(HELLO, session_of(kaggle, HELLO))
    if how == "runner killed":
        os.kill(runner_pid(tmp_path), signal.SIGKILL)
        assert wait(competition).state == "error"
    elif how == "close":
        kaggle.stop()
        version = kaggle.kernels.versions.find("practice", "hello")
        assert version is not None
        assert (version.status, "was stopped" in version.failure) == ("error", True)
    else:
        assert wait(competition).state == "cancel_acknowledged"
        assert printed(competition) == "awake\n"
    assert not beats(tmp_path)


def runner_pid(state: Path) -> int:
    """Return the process id of the only runner whose kernel lies in a state folder."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process has ended
            command = path.read_bytes().split(b"\0")
            if Path(runner.__file__).name in [Path(os.fsdecode(part)).name for part in command]:
                pids += [int(path.parent.name)] * any(bytes(state) in part for part in command)
    (pid,) = pids
    return pid


def beats(state: Path) -> bool:
    """Tell whether the child process of PARENT runs."""
    before = [path.stat().st_size for path in state.rglob("beat")]
    time.sleep(0.4)
    return before != [path.stat().st_size for path in state.rglob("beat")]


def test_a_killed_server_ends_the_kernel_and_keeps_its_log(
    start_practice: PracticeFactory, competition_dir: Path, push: Push, tmp_path: Path
) -> None:
    state = tmp_path / "other-state"
    server = subprocess.Popen(
        [sys.executable, "-m", "fkd_kaggle", "practice", "--data", str(competition_dir),
         "--hold-out", "0.25", "--state-dir", str(state), "--port", "0"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    url = server.stdout.readline().split()[3].rstrip(":")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
        patch.setenv("FKD_PRACTICE_URL", url)
        competition = Competition.open(retry_policy=FAST)
        push(competition, PARENT.format(own_group=False))
        wait_for(lambda: beats(state))
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        server.stdout.close()
    wait_for(lambda: not beats(state))
    start_practice(hold_out=0.25, state_dir=state)
    competition = Competition.open(retry_policy=FAST)
    status = competition.kernel_status(HELLO)
    assert (status.state, "was stopped" in status.message) == ("error", True)
    assert printed(competition) == "awake\n"


def test_a_log_is_streamed_while_it_grows_and_read_again_from_its_beginning(
    practice: PracticeKaggle, competition: Competition, push: Push
) -> None:
    practice.faults.add(
        "cut-log:after=2,times=2"
    )  # the client reconnects and skips the lines it has
    push(
        competition,
        """
        import time
        for number in range(6):
            print(number, flush=True)
            time.sleep(0.3)
        """,
    )
    seen: list[tuple[str, bool]] = []
    for line in competition.kernel_logs(HELLO, follow=True):
        seen.append((line.text, competition.kernel_status(HELLO).finished))
    assert [text for text, _ in seen] == [f"{number}\n" for number in range(6)]
    assert not seen[0][1], "the first line came only when the kernel was over"
    assert [line.text for line in competition.kernel_logs(HELLO, follow=True)] == [
        text for text, _ in seen
    ]


@pytest.mark.parametrize(
    ("metadata", "script", "words"),
    [
        ({}, "#" * 1_000_000, "The kernel source must be less than 1 megabytes in size."),
        ({}, "", "must not be empty"),
        ({"language": "r"}, "1", "runs Python scripts and notebooks only"),
        ({"id": "somebody/hello"}, "1", "Notebook not found"),
        ({"machine_shape": "Abacus"}, "1", "Invalid machine shape"),
        ({"docker_image": "python:3.12"}, "1", "Invalid docker image"),
    ],
)
def test_a_refused_push_shows_kaggles_message(
    metadata: dict[str, Any], script: str, words: str, competition: Competition, push: Push
) -> None:
    with pytest.raises(CompetitionError, match=words) as caught:
        push(competition, script, **metadata)
    assert "\n" not in str(caught.value)


def test_names_that_leave_the_state_folder_are_refused(
    practice: PracticeKaggle, tmp_path: Path
) -> None:
    request = {"slug": "../hello", "newTitle": "hello", "text": "1", "language": "python"}
    answer = requests.post(
        f"{practice.url}/api/v1/kernels.KernelsApiService/SaveKernel",
        json={**request, "kernelType": "script"}, auth=("..", SECRET), timeout=10,
    )  # fmt: skip
    assert answer.json()["error"] == "Notebook not found"
    assert not list(tmp_path.rglob("source.py"))


def test_missing_sources_are_named_and_the_kernel_runs_without_them(
    competition: Competition, tmp_path: Path
) -> None:
    folder = write_kernel(
        tmp_path / "k", "print('running')",
        competition_sources=["titanic"], dataset_sources=["ada/data"],
        kernel_sources=["practice/nobody", HELLO],
    )  # fmt: skip
    pushed = competition.kernel_push(folder)
    assert set(pushed.refused) == {"titanic", "ada/data", "practice/nobody", HELLO}
    assert pushed.kernel == HELLO
    assert wait(competition).state == "complete"
    assert printed(competition) == "running\n"


def test_the_slug_of_a_new_kernel_is_made_from_its_title(
    competition: Competition, tmp_path: Path
) -> None:
    folder = write_kernel(tmp_path / "k", "1", title="My Faces 2", id="practice/another-name")
    assert competition.kernel_push(folder).kernel == "practice/my-faces-2"


def test_a_third_concurrent_gpu_session_is_refused(competition: Competition, push: Push) -> None:
    for name in ("one-1", "two-2"):
        push(competition, SLEEPER, name, enable_gpu=True)
    with pytest.raises(CompetitionError, match="Maximum batch GPU session count of 2 reached"):
        push(competition, SLEEPER, "three", machine_shape="NvidiaTeslaT4")
    push(competition, SLEEPER, "three")  # sessions without GPU have their own limit


def test_the_gpu_quota_is_thirty_hours_until_saturday(
    start_practice: PracticeFactory, push: Push
) -> None:
    clock = [1_785_000_000.0]  # a Saturday of 2026, 17:20 UTC
    kaggle = start_practice(now=lambda: clock[0])
    competition = Competition.open(retry_policy=FAST)
    push(competition, SLEEPER, enable_gpu=True)
    wait_for(lambda: competition.kernel_status(HELLO).state == "running")
    clock[0] += 10 * 3600
    assert competition.gpu_hours_left() == pytest.approx(20)
    clock[0] += 21 * 3600
    competition.kernel_stop(HELLO, session_of(kaggle, HELLO))
    wait(competition)
    assert competition.gpu_hours_left() == 0
    with pytest.raises(CompetitionError, match=r"Maximum weekly GPU quota of 30\.00 hours reached"):
        push(competition, "1", enable_gpu=True)
    clock[0] += 6 * 86_400
    assert competition.gpu_hours_left() == 30
    push(competition, "1", enable_gpu=True)
    assert wait(competition).state == "complete"


def test_faults_affect_the_kernels_they_are_meant_for(
    practice: PracticeKaggle, competition: Competition, push: Push, tmp_path: Path
) -> None:
    practice.faults.add("phone:times=1")
    practice.faults.add("gpu-quota")
    push(competition, "1")  # neither GPU nor internet
    with pytest.raises(CompetitionError, match="phone number verified"):
        push(competition, "1", enable_internet=True)
    with pytest.raises(CompetitionError, match="GPU quota"):
        push(competition, "1", enable_gpu=True)
    assert competition.gpu_hours_left() == 0
    practice.faults.clear()

    practice.faults.add("stuck-queue")
    push(competition, "open('big.bin', 'wb').write(bytes(range(256)) * 4000)")
    assert competition.kernel_status(HELLO).state == "queued"
    practice.faults.clear()
    practice.faults.add("500:path=GetKernelSessionStatus,times=2")
    practice.faults.add("429:path=GetKernelSessionStatus,retry_after=0")
    assert wait(competition).state == "complete"
    practice.faults.add("cut-download:path=/storage/kernels,after=50000")
    competition.kernel_output(HELLO, tmp_path / "out")
    assert (tmp_path / "out" / "big.bin").read_bytes() == bytes(range(256)) * 4000
    assert practice.faults.all() == []


def test_kernels_of_other_users_are_not_found(competition: Competition, push: Push) -> None:
    for kernel in ("practice/nothing", "somebody/hello"):
        with pytest.raises(CompetitionError, match=f"no kernel {kernel}"):
            competition.kernel_status(kernel)


def test_public_kernels_of_other_users_are_neither_submitted_nor_deleted(
    practice: PracticeKaggle, competition: Competition, push: Push
) -> None:
    push(competition, "open('submission.csv', 'w').write('RowId,Location')", is_private=False)
    wait(competition)
    api = f"{practice.url}/api/v1"
    body = {"competitionName": SLUG, "kernelOwner": "practice", "kernelSlug": "hello"}
    url = f"{api}/competitions.CompetitionApiService/CreateCodeSubmission"
    assert requests.post(url, json=body, auth=("eve", SECRET), timeout=10).status_code == 403
    url = f"{api}/kernels.KernelsApiService/DeleteKernel"
    body = {"userName": "practice", "kernelSlug": "hello"}
    assert requests.post(url, json=body, auth=("eve", SECRET), timeout=10).status_code == 403
    assert competition.kernel_status(HELLO).finished
    assert requests.post(url, json=body, auth=("practice", SECRET), timeout=10).status_code == 200
    with pytest.raises(CompetitionError, match="no kernel"):
        competition.kernel_status(HELLO)


def test_the_kaggle_command_pushes_follows_and_downloads(
    practice: PracticeKaggle, tmp_path: Path
) -> None:
    def kaggle(*arguments: str) -> str:
        return run_kaggle(practice.url, tmp_path, *arguments)

    script = "print('hello from a kernel')\nopen('submission.csv', 'w').write('RowId,Location')"
    folder = write_kernel(tmp_path / "k", script, id="ada/hello", enable_gpu=True)
    pushed = kaggle("kernels", "push", "-p", str(folder))
    assert (
        f"Kernel version 1 successfully pushed.  Please check progress at {practice.url}" in pushed
    )
    assert "hello from a kernel" in kaggle("kernels", "logs", "-f", "ada/hello")
    assert 'status "KernelWorkerStatus.COMPLETE"' in kaggle("kernels", "status", "ada/hello")
    kaggle("kernels", "output", "ada/hello", "-p", str(tmp_path / "out"))
    assert (tmp_path / "out" / "submission.csv").read_text() == "RowId,Location"
    assert "30.00h" in kaggle("quota")


def test_the_page_shows_kernels_with_their_log_and_cancels_them(
    practice: PracticeKaggle, competition: Competition, push: Push
) -> None:
    push(competition, "import time\nprint('<b>bold</b>', flush=True)\ntime.sleep(120)")
    page = f"{practice.url}/code/{HELLO}"
    wait_for(lambda: "&lt;b&gt;bold&lt;/b&gt;" in requests.get(page, timeout=10).text)
    assert f"/code/{HELLO}/1" in requests.get(practice.url, timeout=10).text
    assert requests.get(f"{practice.url}/code/practice/no", timeout=10).status_code == 404
    url = f"{practice.url}/practice/kernels/cancel"
    session = {"session": session_of(practice, HELLO)}
    assert requests.post(url, data=session, timeout=10).status_code == 400
    assert requests.post(url, json=session, timeout=10).json()["kernel"] == HELLO
    assert wait(competition).state == "cancel_acknowledged"
    assert requests.post(url, json=session, timeout=10).status_code == 404
