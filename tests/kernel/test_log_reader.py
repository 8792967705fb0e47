"""Threads that read the logs of running kernels."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.kernel_output import KernelLogLine
from fkd_kaggle.kaggle_api.kernels import KernelRef, KernelStatus
from fkd_kaggle.kernel import follow
from fkd_kaggle.kernel.follow import KernelFollower
from fkd_kaggle.kernel.log_reader import LogQueue, start_log_reader

LINE = KernelLogLine("text\n", "stdout", 1.0)


class CompetitionWithSilentLog:
    """A competition whose kernel prints nothing, or if it is named "loud", prints all the time."""

    practice_url = None
    state = "running"

    def __init__(self) -> None:
        self.connections = 0

    def kernel_status(self, kernel: str, version: int) -> KernelStatus:
        return KernelStatus(self.state, "")

    def kernel_logs(
        self,
        kernel: str,
        version: int,
        *,
        follow: bool = False,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[KernelLogLine]:
        self.connections += follow
        deadline = time.monotonic() + 20
        loud = kernel.endswith("loud")
        while follow and time.monotonic() < deadline and (loud or not is_stopped()):
            time.sleep(0.005)
            if loud:
                yield LINE


def wait_for_log_readers(kernel: str, count: int) -> None:
    """Wait until ``count`` threads read the log of a kernel; fail after 5 s."""
    deadline = time.monotonic() + 5
    while (found := [one.name for one in threading.enumerate()].count(f"fkd-log-{kernel}")) > count:
        assert time.monotonic() < deadline, f"{found} threads read the log"
        time.sleep(0.01)
    assert found == count


def test_only_one_reader_of_a_silent_log_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_SILENCE", 0.0)
    monkeypatch.setattr(follow, "_LAST_LINES", 0.0)
    competition = CompetitionWithSilentLog()
    follower = KernelFollower(cast(Competition, competition), lambda event: None, poll=0.02)
    follower.add(KernelRef("ada/silent", 1))
    for _ in range(4):
        follower.step()
    wait_for_log_readers("ada/silent", 1)
    competition.state = "complete"
    follower.step()
    wait_for_log_readers("ada/silent", 0)
    assert competition.connections >= 4


def test_a_stopped_log_reader_ends_before_its_next_line() -> None:
    competition = CompetitionWithSilentLog()
    items: LogQueue = queue.SimpleQueue()
    stop = threading.Event()
    start_log_reader(cast(Competition, competition), KernelRef("ada/loud", 1), 1, 0, items, stop)
    assert items.get(timeout=5).line == LINE
    stop.set()
    wait_for_log_readers("ada/loud", 0)
