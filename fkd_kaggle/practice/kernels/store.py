"""Stored kernels: every pushed version with its settings, state, log and output.

Each version has a folder ``OWNER/SLUG/NUMBER`` with its record ``version.json``. A restarted server
reads these records.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

from fkd_kaggle import files
from fkd_kaggle.errors import CompetitionError

Status = Literal[
    "queued", "running", "complete", "error", "cancel_requested", "cancel_acknowledged"
]

FINISHED: Final = ("complete", "error", "cancel_acknowledged")
"""Statuses that do not change."""

_FIRST_SESSION: Final = 210_000_001

_FIRST_KERNEL: Final = 80_000_001


@dataclass(frozen=True)
class KernelVersion:
    """A pushed version of a kernel: its settings and the state of its run.

    The field names are those of ``version.json``.
    """

    session: int
    """Kaggle's number of the run."""
    kernel_id: int
    """Kaggle's number of the kernel."""
    owner: str
    slug: str
    version: int
    title: str
    pushed: float
    """UNIX time."""
    limit: float
    """Maximum duration of the run in seconds."""
    gpu: bool = False
    internet: bool = True
    private: bool = True
    machine_shape: str = ""
    docker_image: str = ""
    notebook: bool = False
    """Whether it is a notebook instead of a script."""
    tags: tuple[str, ...] = ()
    competitions: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    """Kernels whose output it reads: "owner/slug" or "owner/slug/version"."""
    status: Status = "queued"
    failure: str = ""
    """Kaggle's message about a failure; empty if there is none."""
    started: float | None = None
    """UNIX time."""
    ended: float | None = None
    """UNIX time."""

    @property
    def ref(self) -> str:
        """``owner/slug``."""
        return f"{self.owner}/{self.slug}"

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended or was canceled."""
        return self.status in FINISHED

    def may_be_seen_by(self, user: str) -> bool:
        """Tell whether ``user`` may see it."""
        return not self.private or self.owner.lower() == user.lower()


class KernelStore:
    """All pushed versions. Safe to use from several threads.

    Parameters
    ----------
    folder
        Folder of the versions.

    Raises
    ------
    CompetitionError
        A record is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        found = (_read(path) for path in folder.glob("*/*/*/version.json"))
        self._versions = {one.session: one for one in sorted(found, key=lambda one: one.session)}

    def all(self) -> list[KernelVersion]:
        """List all versions, newest first."""
        with self._lock:
            return list(self._versions.values())[::-1]

    def of(self, owner: str, slug: str) -> list[KernelVersion]:
        """List a kernel's versions, newest first."""
        ref = f"{owner}/{slug}".lower()
        return [one for one in self.all() if one.ref.lower() == ref]

    def find(self, owner: str, slug: str, version: int | None = None) -> KernelVersion | None:
        """Return a version of a kernel, the newest by default; None if there is none."""
        versions = self.of(owner, slug)
        return next((one for one in versions if version in (None, one.version)), None)

    def session(self, session: int) -> KernelVersion | None:
        """Return the version of a session; None if there is none."""
        with self._lock:
            return self._versions.get(session)

    def add(self, owner: str, slug: str, text: str, **settings: Any) -> KernelVersion:
        """Store a new version of a kernel.

        Parameters
        ----------
        owner, slug
            The kernel.
        text
            The script.
        settings
            Further fields of ``KernelVersion``.
        """
        with self._lock:
            newest = self.find(owner, slug)
            ids = [one.kernel_id for one in self._versions.values()]
            version = KernelVersion(
                session=max(self._versions, default=_FIRST_SESSION - 1) + 1,
                kernel_id=newest.kernel_id if newest else max(ids, default=_FIRST_KERNEL - 1) + 1,
                owner=owner,
                slug=slug,
                version=newest.version + 1 if newest else 1,
                **settings,
            )
            files.write_text(self.folder(version) / "source.py", text)
            self._save(version)
            self._versions[version.session] = version
            return version

    def change(self, session: int, **changes: Any) -> KernelVersion:
        """Change fields of a version unless it is finished; return the stored version."""
        with self._lock:
            version = self._versions[session]
            if not version.is_finished:
                version = self._versions[session] = replace(version, **changes)
                self._save(version)
            return version

    def delete(self, owner: str, slug: str) -> None:
        """Delete a kernel with all its versions."""
        with self._lock:
            for version in self.of(owner, slug):
                del self._versions[version.session]
                shutil.rmtree(self.folder(version), ignore_errors=True)

    def folder(self, version: KernelVersion) -> Path:
        """Return the folder of a version."""
        return self._folder / version.owner / version.slug / str(version.version)

    def source(self, version: KernelVersion) -> str:
        """Return the pushed script."""
        return (self.folder(version) / "source.py").read_text(encoding="utf-8")

    def log_file(self, version: KernelVersion) -> Path:
        """Return the path of a version's log, which has one JSON object per line."""
        return self.folder(version) / "log.jsonl"

    def log(self, version: KernelVersion) -> str:
        """Return the log as Kaggle stores it: a JSON array of stream_name, time and data."""
        try:
            lines = self.log_file(version).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            lines = []
        return "[" + "\n,".join(line for line in lines if line.endswith("}")) + "\n]"

    def working(self, version: KernelVersion) -> Path:
        """Return a version's ``/kaggle/working``, which is its output when it is finished."""
        return self.folder(version) / "kaggle" / "working"

    def output(self, version: KernelVersion) -> list[str]:
        """List the names of a version's output files; empty while it is not finished."""
        return sorted(self._working_files(version)) if version.is_finished else []

    def output_file(self, version: KernelVersion, name: str) -> Path | None:
        """Return the path of an output file; None if there is none of this name."""
        return self.working(version) / name if name in self.output(version) else None

    def _working_files(self, version: KernelVersion) -> Iterator[str]:
        """Yield the paths of regular files, relative to ``/kaggle/working``."""
        working = self.working(version)
        for folder, _, names in os.walk(working):  # does not follow links
            for path in (Path(folder) / name for name in names):
                if path.is_file() and not path.is_symlink():
                    yield path.relative_to(working).as_posix()

    def _save(self, version: KernelVersion) -> None:
        files.write_json(self.folder(version) / "version.json", asdict(version))


def _read(path: Path) -> KernelVersion:
    """Read a record and ignore unknown fields."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(KernelVersion)}
        values = {name: value for name, value in record.items() if name in known}
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return KernelVersion(**{**values, **lists})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CompetitionError(
            f"{path} is damaged ({error}): move its folder away to go on without that kernel"
        ) from error
