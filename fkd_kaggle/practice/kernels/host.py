"""The host of kernels: limits on sessions and GPU hours, the queue, and the running processes.

Knows no wire format; ``api`` and ``push`` answer the requests. Each run is a process of ``runner``,
which ends with the practice Kaggle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fkd_kaggle import files
from fkd_kaggle.errors import FkdError
from fkd_kaggle.practice import fault_injection
from fkd_kaggle.practice.dataset import SLUG, ServedDataset
from fkd_kaggle.practice.fault_injection import Faults
from fkd_kaggle.practice.kernels import runner, sandbox
from fkd_kaggle.practice.kernels.sandbox import Mount
from fkd_kaggle.practice.kernels.store import KernelStore, KernelVersion
from fkd_kaggle.practice.storage import DAY, Store

MAX_SECONDS: Final = 12 * 3600.0
"""Kaggle's maximum duration of a session, with or without GPU."""

WEEKLY_GPU_SECONDS: Final = 30 * 3600.0
"""Kaggle's weekly GPU quota of a user."""

MAX_SOURCE_SIZE: Final = 1_000_000
"""Bytes. Kaggle says "less than 1 megabytes" and has accepted 954 kB."""

GPU_SESSIONS: Final = 2
"""Kaggle's limit on a user's concurrent sessions with GPU."""

CPU_SESSIONS: Final = 5
"""Kaggle's limit on a user's concurrent sessions without GPU."""

KERNELS_AT_ONCE: Final = 2
"""Default number of kernels that run at the same time on this machine."""

_WEEK: Final = 7 * DAY

_FIRST_WEEK: Final = 2 * DAY
"""UNIX time of the first Saturday, 0:00 UTC: Kaggle's weeks begin on Saturdays."""

_POLL: Final = 0.1
"""Seconds between two checks of a stuck queue."""

DELETION_WAIT: Final = 30.0
"""Seconds that a deletion waits for the end of a run; a runner takes up to 15 seconds."""


def image_name(*, gpu: bool, newer: bool = False) -> str:
    """Return the name of the practice Kaggle's image.

    All images contain the same packages; only their names differ.

    Parameters
    ----------
    gpu
        Whether it is the image for machines with GPU.
    newer
        Whether Kaggle has released another image since (the fault "new-image").
    """
    repository = "kaggle-gpu-images" if gpu else "kaggle-images"
    digest = hashlib.sha256(f"{sys.version} {newer}".encode()).hexdigest()
    return f"gcr.io/{repository}/python@sha256:{digest}"


class PushRefusedError(Exception):
    """A push that Kaggle refuses by an error message in its response, not by an HTTP status."""


class KernelRunsError(Exception):
    """A deletion of a kernel whose run does not end."""


@dataclass(frozen=True)
class PushRequest:
    """A validated push."""

    owner: str
    slug: str
    title: str
    text: str
    """The script or the notebook."""
    gpu: bool
    internet: bool
    private: bool
    machine_shape: str
    docker_image: str
    """Image to run in; empty for the newest."""
    keeps_image: bool
    """Whether, without ``docker_image``, the image of the kernel's first version is kept."""
    notebook: bool
    """Whether ``text`` is a notebook."""
    limit: float
    """Maximum duration in seconds; 0 for Kaggle's maximum."""
    tags: tuple[str, ...]
    competitions: tuple[str, ...]
    kernels: tuple[str, ...]
    """Kernels whose output it reads: "owner/slug" or "owner/slug/version"."""


class KernelHost:
    """All kernels of a practice Kaggle, from the push to the output.

    Parameters
    ----------
    store
        State of the practice Kaggle: its folder and clock.
    dataset
        The competition's data, which kernels read.
    faults
        Failures to simulate.
    at_once
        Number of kernels that run at the same time.
    """

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
            if not version.is_finished:  # it ended with an earlier server
                self._finish(version, "error", runner.STOPPED, self._end_of_stopped_run(version))
        self._dispatcher: threading.Thread | None = None

    def push(self, push: PushRequest) -> KernelVersion:
        """Store a new version of a kernel and queue its run.

        Raises
        ------
        PushRefusedError
            The user's sessions or GPU hours are used up.
        """
        with self._changed:
            self._check_limits(push)
            version = self.versions.add(
                push.owner,
                push.slug,
                push.text,
                title=push.title,
                pushed=self.now(),
                gpu=push.gpu,
                internet=push.internet,
                private=push.private,
                machine_shape=push.machine_shape,
                docker_image=self._image_of(push),
                notebook=push.notebook,
                tags=push.tags,
                competitions=push.competitions,
                kernels=push.kernels,
                limit=min(push.limit or MAX_SECONDS, MAX_SECONDS),
            )
            if self._dispatcher is None:
                self._dispatcher = threading.Thread(target=self._dispatch, daemon=True)
                self._dispatcher.start()
            self._changed.notify_all()
        return version

    def cancel(self, version: KernelVersion) -> None:
        """Stop a version's run, or remove it from the queue."""
        with self._changed:
            process = self._running.get(version.session)
            if process is None:
                self._change(version, status="cancel_acknowledged", ended=self.now())
                return
            _send(process, runner.CANCEL)
            self._change(version, status="cancel_requested")

    def delete(self, owner: str, slug: str) -> None:
        """Stop a kernel's runs and delete all its versions.

        Raises
        ------
        KernelRunsError
            A run does not end; nothing is deleted.
        """
        for version in self.versions.of(owner, slug):
            self.cancel(version)
            self.wait(version, DELETION_WAIT)
            if not self._is_finished(version):
                raise KernelRunsError(f"version {version.version} of {version.ref} does not end")
        self.versions.delete(owner, slug)

    def wait(self, version: KernelVersion, timeout: float = 10.0) -> None:
        """Wait until a version is finished, at most ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_finished(version), timeout)

    def output_file(self, owner: str, slug: str, version: int | None, name: str) -> Path | None:
        """Return the path of an output file that can be submitted; None if there is none.

        Parameters
        ----------
        owner, slug
            The kernel.
        version
            Number of the version, which must be complete; None for the newest.
        name
            Path of the file, relative to ``/kaggle/working``.
        """
        found = self.versions.find(owner, slug, version)
        if found is None or found.status != "complete":
            return None
        return self.versions.output_file(found, name)

    def source(self, owner: str, slug: str, version: int | None = None) -> KernelVersion | None:
        """Return the version whose output is read by kernels that name it; None if there is none.

        Parameters
        ----------
        owner, slug
            The kernel.
        version
            Number of the version; None for the newest complete one.
        """
        found = [one for one in self.versions.of(owner, slug) if one.status == "complete"]
        return next((one for one in found if version in (None, one.version)), None)

    def gpu_seconds(self, user: str) -> float:
        """Return the seconds of this week's GPU quota that ``user`` has used."""
        if fault_injection.take_fault("gpu-quota") is not None:
            return WEEKLY_GPU_SECONDS
        now, begin = self.now(), self.week_end() - _WEEK
        return sum(
            max(0.0, (one.ended or now) - max(one.started, begin))
            for one in self.versions.all()
            if one.gpu and one.owner == user and one.started is not None
        )

    def week_end(self) -> float:
        """Return the UNIX time at which the GPU quota is renewed: next Saturday, 0:00 UTC."""
        return _FIRST_WEEK + ((self.now() - _FIRST_WEEK) // _WEEK + 1) * _WEEK

    def close(self) -> None:
        """Stop all runs and start no more."""
        with self._changed:
            self._closed = True
            running = list(self._running.values())
            for process in running:
                _send(process, b"")
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running, timeout=20.0)
            for version in self.versions.all():
                if not version.is_finished:
                    self._finish(version, "error", runner.STOPPED)

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def _image_of(self, push: PushRequest) -> str:
        """Return the image in which a pushed version runs."""
        if push.docker_image:
            return push.docker_image
        earlier = self.versions.of(push.owner, push.slug)
        if push.keeps_image and earlier and earlier[-1].docker_image:
            return earlier[-1].docker_image
        return image_name(gpu=push.gpu, newer=self._faults.has("new-image"))

    def _check_limits(self, push: PushRequest) -> None:
        kind, most = ("GPU", GPU_SESSIONS) if push.gpu else ("CPU", CPU_SESSIONS)
        mine = [
            one for one in self.versions.all() if one.owner == push.owner and not one.is_finished
        ]
        if sum(one.gpu == push.gpu for one in mine) >= most:
            raise PushRefusedError(f"Maximum batch {kind} session count of {most} reached.")
        if push.gpu and self.gpu_seconds(push.owner) >= WEEKLY_GPU_SECONDS:
            hours = WEEKLY_GPU_SECONDS / 3600
            raise PushRefusedError(f"Maximum weekly GPU quota of {hours:.2f} hours reached.")

    def _dispatch(self) -> None:
        """Start queued versions, the oldest first, while fewer than ``at_once`` run."""
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
            sandbox.prepare_folders(
                folder, text, mounts, isolated=isolated, notebook=version.notebook
            )
            job = sandbox.kernel_command(
                folder,
                self._python,
                mounts,
                isolated=isolated,
                internet=version.internet,
                gpu=version.gpu,
                session=version.session,
                image=version.docker_image,
                hidden=[self._folder.parent],
                notebook=version.notebook,
            )
            job |= {"limit": version.limit, "log": str(self.versions.log_file(version))}
            files.write_json(folder / runner.JOB, job)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", runner.__file__, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except Exception as error:
            self._finish(version, "error", f"The practice Kaggle cannot run it: {error}")
            self._changed.notify_all()
            return
        self._running[version.session] = process
        self._change(version, status="running", started=self.now())
        threading.Thread(target=self._watch, args=(version, process), daemon=True).start()

    def _watch(self, version: KernelVersion, process: subprocess.Popen[bytes]) -> None:
        """Wait for a run's end and store its outcome."""
        process.wait()
        _send(process, b"")
        outcome = _read_outcome(self.versions.folder(version))
        if outcome is None:
            failure = f"The kernel's runner ended with {process.returncode}."
            outcome = _Outcome("error", failure, 0.0)
        with self._changed:
            try:
                self._finish(version, outcome.status, outcome.failure)
            finally:
                del self._running[version.session]
                self._changed.notify_all()

    def _finish(
        self, version: KernelVersion, status: str, failure: str, ended: float | None = None
    ) -> None:
        """Store the final status of a version and remove its temporary folders.

        ``ended`` is a UNIX time; None for now. Files that cannot be moved or removed do not prevent
        the end.
        """
        folder = self.versions.folder(version)
        executed = self.versions.working(version) / sandbox.EXECUTED
        with contextlib.suppress(OSError):
            if version.notebook and executed.is_file() and not executed.is_symlink():
                executed.replace(folder / sandbox.EXECUTED)  # not among the output files
        with contextlib.suppress(OSError):
            sandbox.clean_up(folder)
        ended = self.now() if ended is None else ended
        self._change(version, status=status, failure=failure, ended=ended)

    def _change(self, version: KernelVersion, **changes: Any) -> None:
        """Change fields of a version, on a full disk in memory only: the runs must go on."""
        with contextlib.suppress(FkdError):
            self.versions.change(version.session, **changes)

    def _end_of_stopped_run(self, version: KernelVersion) -> float:
        """Return the UNIX time at which a run ended whose server was killed.

        The time until the next start of a server uses no GPU quota.
        """
        now = self.now()
        if version.started is None:
            return now
        outcome = _read_outcome(self.versions.folder(version))
        if outcome is not None:
            return min(now, version.started + outcome.seconds)
        try:
            written = self.versions.log_file(version).stat().st_mtime
        except FileNotFoundError:  # killed before the kernel started
            written = version.started
        return min(now, max(version.started, written), version.started + version.limit)

    def _is_finished(self, version: KernelVersion) -> bool:
        current = self.versions.session(version.session)
        return current is None or current.is_finished

    def _mounts(self, version: KernelVersion) -> Sequence[Mount]:
        """Return a version's input with Kaggle's mount points.

        Kaggle does not document these paths. They were observed in 2026 with kernels pushed through
        the API; earlier kernels found their input directly under /kaggle/input.
        """
        old = self._faults.has("old-mounts")
        mounts = []
        if SLUG in version.competitions:
            target = SLUG if old else f"competitions/{SLUG}"
            mounts.append(Mount(self._dataset.file("training.zip").parent, target))
        for ref in version.kernels:
            owner, slug, *number = ref.split("/")
            source = self.source(owner, slug, int(number[0]) if number else None)
            if source is not None:
                target = source.slug if old else f"notebooks/{source.owner}/{source.slug}"
                mounts.append(Mount(self.versions.working(source), target))
        return mounts


@dataclass(frozen=True)
class _Outcome:
    """The outcome that a runner has written."""

    status: str
    failure: str
    seconds: float
    """Duration of the run."""


def _read_outcome(folder: Path) -> _Outcome | None:
    """Return the outcome of a run; None if the runner wrote none."""
    try:
        outcome = json.loads((folder / runner.OUTCOME).read_text(encoding="utf-8"))
        return _Outcome(outcome["status"], outcome["failure"], float(outcome["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _send(process: subprocess.Popen[bytes], message: bytes) -> None:
    """Send a message to a runner and close its pipe, which ends the runner."""
    assert process.stdin is not None
    try:
        process.stdin.write(message)
        process.stdin.close()
    except (BrokenPipeError, ValueError):
        return  # the runner has ended, or its pipe is closed
