"""Kernels as Kaggle runs them: what it refuses, what waits, what runs, what the week's GPU is.

Knows the rules and no wire format; kernels.py puts them on the wire. Each run is a process that
kernel_runner.py watches; none outlives the practice Kaggle.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fkd_kaggle import files
from fkd_kaggle.errors import FkdError
from fkd_kaggle.practice import fault_injection
from fkd_kaggle.practice.dataset import SLUG, ServedDataset
from fkd_kaggle.practice.fault_injection import Faults
from fkd_kaggle.practice.kernels import runner, sandbox
from fkd_kaggle.practice.kernels.sandbox import Mount
from fkd_kaggle.practice.kernels.store import KernelStore, KernelVersion
from fkd_kaggle.practice.storage import DAY, Store

LONGEST: Final = 12 * 3600.0
"""Seconds that Kaggle lets a session run, with or without GPU."""

GPU_WEEK: Final = 30 * 3600.0
"""Seconds of GPU that Kaggle gives everybody each week."""

LARGEST_SOURCE: Final = 1_000_000
"""Bytes. Kaggle says "less than 1 megabytes"; 954 kB were seen to pass."""

GPU_SESSIONS: Final = 2

CPU_SESSIONS: Final = 5

KERNELS_AT_ONCE: Final = 2

_WEEK: Final = 7 * DAY

_SATURDAY: Final = 2 * DAY
"""The first Saturday 0:00 UTC, when Kaggle's week begins, after the beginning of UNIX time."""

_POLL: Final = 0.1


class PushRefusedError(Exception):
    """Kaggle takes no such push, and says so in its answer rather than by an HTTP status."""


@dataclass(frozen=True)
class PushRequest:
    """What a user asks for."""

    owner: str
    slug: str
    title: str
    text: str
    gpu: bool
    internet: bool
    private: bool
    machine_shape: str
    docker_image: str
    limit: float
    """Seconds; 0 for as long as Kaggle allows."""
    tags: tuple[str, ...]
    competitions: tuple[str, ...]
    kernels: tuple[str, ...]


class KernelHost:
    """All kernels of a practice Kaggle, from their push to their output."""

    def __init__(
        self, store: Store, dataset: ServedDataset, faults: Faults, at_once: int = KERNELS_AT_ONCE
    ) -> None:
        self._folder = store.folder / "kernels"
        self.now = store.now
        self._dataset = dataset
        self._faults = faults
        self._at_once = at_once
        self._python: Path | None = None
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self.versions = KernelStore(self._folder / "versions")
        for version in self.versions.all():
            if not version.is_finished:  # whoever ran it is gone
                self._over(version, "error", runner.STOPPED)
        self._dispatcher: threading.Thread | None = None

    # --- what users ask for -------------------------------------------------------------------

    def push(self, push: PushRequest) -> KernelVersion:
        """Take a new version of a kernel and let it run as soon as there is room.

        Raises
        ------
        PushRefusedError
            As Kaggle words it.
        """
        with self._changed:
            self._check_room(push)
            version = self.versions.add(
                push.owner, push.slug, push.text,
                title=push.title, pushed=self.now(), gpu=push.gpu, internet=push.internet,
                private=push.private, machine_shape=push.machine_shape,
                docker_image=push.docker_image, tags=push.tags, competitions=push.competitions,
                kernels=push.kernels, limit=min(push.limit or LONGEST, LONGEST),
            )  # fmt: skip
            if self._dispatcher is None:
                self._dispatcher = threading.Thread(target=self._dispatch, daemon=True)
                self._dispatcher.start()
            self._changed.notify_all()
        return version

    def cancel(self, version: KernelVersion) -> None:
        """Stop a version's run, or take it out of the queue."""
        with self._changed:
            process = self._running.get(version.session)
            if process is None:
                self.versions.change(
                    version.session, status="cancel_acknowledged", ended=self.now()
                )
                return
            self.versions.change(version.session, status="cancel_requested")
            _tell(process, runner.CANCEL)

    def delete(self, owner: str, slug: str) -> None:
        """Stop a kernel's runs and forget all its versions."""
        for version in self.versions.of(owner, slug):
            self.cancel(version)
            self.wait(version)
        self.versions.delete(owner, slug)

    def wait(self, version: KernelVersion, timeout: float = 10.0) -> None:
        """Return when a version is over, or after ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over(version), timeout)

    def output_file(self, owner: str, slug: str, version: int | None, name: str) -> Path | None:
        """Return a file that can be submitted: of a version that is complete, None the newest."""
        found = self.versions.find(owner, slug, version)
        if found is None or found.status != "complete":
            return None
        return self.versions.output_file(found, name)

    def gpu_seconds(self, user: str) -> float:
        """Return how much of this week's GPU time ``user`` has used."""
        if fault_injection.take_fault("gpu-quota") is not None:
            return GPU_WEEK
        now, begin = self.now(), self.week_end() - _WEEK
        return sum(
            max(0.0, (one.ended or now) - max(one.started, begin))
            for one in self.versions.all()
            if one.gpu and one.owner == user and one.started is not None
        )

    def week_end(self) -> float:
        """Return when GPU hours are counted anew: the next Saturday, 0:00 UTC."""
        return _SATURDAY + ((self.now() - _SATURDAY) // _WEEK + 1) * _WEEK

    def close(self) -> None:
        """Stop whatever runs, and start nothing more."""
        with self._changed:
            self._closed = True
            running = list(self._running.values())
            for process in running:
                _tell(process, b"")
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running, timeout=20.0)
            for version in self.versions.all():
                if not version.is_finished:
                    self._over(version, "error", runner.STOPPED)

    @property
    def closed(self) -> bool:
        """Whether nothing runs any more."""
        return self._closed

    # --- running ------------------------------------------------------------------------------

    def _check_room(self, push: PushRequest) -> None:
        kind, most = ("GPU", GPU_SESSIONS) if push.gpu else ("CPU", CPU_SESSIONS)
        mine = [
            one for one in self.versions.all() if one.owner == push.owner and not one.is_finished
        ]
        if sum(one.gpu == push.gpu for one in mine) >= most:
            raise PushRefusedError(f"Maximum batch {kind} session count of {most} reached.")
        if push.gpu and self.gpu_seconds(push.owner) >= GPU_WEEK:
            hours = GPU_WEEK / 3600
            raise PushRefusedError(f"Maximum weekly GPU quota of {hours:.2f} hours reached.")

    def _dispatch(self) -> None:
        """Start what waits, oldest first, as long as there is room."""
        with self._changed:
            while not self._closed:
                waiting = [one for one in self.versions.all()[::-1] if one.status == "queued"]
                stuck = self._faults.has("stuck-queue")
                if waiting and not stuck and len(self._running) < self._at_once:
                    self._start(waiting[0])
                else:
                    self._changed.wait(_POLL if stuck else None)

    def _start(self, version: KernelVersion) -> None:
        folder = self.versions.folder(version)
        try:
            isolated = sandbox.is_isolated()
            if self._python is None:
                self._python = sandbox.prepare_image(self._folder / "image")
            mounts = self._mounts(version)
            text = self.versions.source(version)
            sandbox.prepare_folders(folder, text, mounts, isolated=isolated)
            job = sandbox.kernel_command(
                folder, self._python, mounts, isolated=isolated, internet=version.internet,
                gpu=version.gpu, session=version.session,
            )  # fmt: skip
            job |= {"limit": version.limit, "log": str(self.versions.log_file(version))}
            files.write_json(folder / runner.JOB, job)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", runner.__file__, str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        except Exception as error:
            self._over(version, "error", f"The practice Kaggle cannot run it: {error}")
            self._changed.notify_all()
            return
        self._running[version.session] = process
        self.versions.change(version.session, status="running", started=self.now())
        threading.Thread(target=self._watch, args=(version, process), daemon=True).start()

    def _watch(self, version: KernelVersion, process: subprocess.Popen[bytes]) -> None:
        """Wait for a run's end and note how it ended."""
        process.wait()
        _tell(process, b"")
        folder = self.versions.folder(version)
        try:
            outcome = json.loads((folder / runner.OUTCOME).read_text(encoding="utf-8"))
            status, failure = outcome["status"], outcome["failure"]
        except (OSError, ValueError, KeyError):
            status, failure = "error", f"The kernel's runner ended with {process.returncode}."
        with self._changed:
            self._over(version, status, failure)
            del self._running[version.session]
            self._changed.notify_all()

    def _over(self, version: KernelVersion, status: str, failure: str) -> None:
        sandbox.clean_up(self.versions.folder(version))
        with contextlib.suppress(FkdError):  # a full disk; it is over nevertheless
            self.versions.change(version.session, status=status, failure=failure, ended=self.now())

    def _is_over(self, version: KernelVersion) -> bool:
        now = self.versions.session(version.session)
        return now is None or now.is_finished

    def _mounts(self, version: KernelVersion) -> Sequence[Mount]:
        """Return what a version reads, where Kaggle mounts it today.

        The layout is documented nowhere; kernels of 2026 that were pushed through the API read
        from here, older ones from directly under /kaggle/input.
        """
        old = self._faults.has("old-mounts")
        mounts = []
        if SLUG in version.competitions:
            at = SLUG if old else f"competitions/{SLUG}"
            mounts.append(Mount(self._dataset.file("training.zip").parent, at))
        for ref in version.kernels:
            owner, slug, *number = ref.split("/")
            source = self.source(owner, slug, int(number[0]) if number else None)
            if source is not None:
                at = source.slug if old else f"notebooks/{source.owner}/{source.slug}"
                mounts.append(Mount(self.versions.working(source), at))
        return mounts

    def source(self, owner: str, slug: str, version: int | None = None) -> KernelVersion | None:
        """Return the version whose output a kernel that names this one reads."""
        found = [one for one in self.versions.of(owner, slug) if one.status == "complete"]
        return next((one for one in found if version in (None, one.version)), None)


def _tell(process: subprocess.Popen[bytes], word: bytes) -> None:
    """Say a word to a runner and close its pipe; it listens to nothing more."""
    assert process.stdin is not None
    try:
        process.stdin.write(word)
        process.stdin.close()
    except (BrokenPipeError, ValueError):
        return  # it has ended, or has been told already
