"""What a practice Kaggle remembers of kernels: every pushed version, its log, what it left.

One folder a version, ``kernels/OWNER/SLUG/NUMBER``, with ``version.json`` as its memory; nothing is
kept elsewhere, so a server that starts on the same folder knows them all.
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

ENDED: Final = ("complete", "error", "cancel_acknowledged")

_FIRST_SESSION: Final = 210_000_001

_FIRST_KERNEL: Final = 80_000_001


@dataclass(frozen=True)
class KernelVersion:
    """A pushed version of a kernel: its settings, and how its run goes."""

    session: int
    """Kaggle's number of the run."""
    kernel_id: int
    owner: str
    slug: str
    version: int
    title: str
    pushed: float
    """UNIX time."""
    limit: float
    """Seconds that the run may take."""
    gpu: bool = False
    internet: bool = True
    private: bool = True
    machine_shape: str = ""
    docker_image: str = ""
    tags: tuple[str, ...] = ()
    competitions: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    """ "owner/slug" or "owner/slug/version" of each kernel whose output it reads."""
    status: Status = "queued"
    failure: str = ""
    """Why it failed, where Kaggle would say."""
    started: float | None = None
    ended: float | None = None

    @property
    def ref(self) -> str:
        """``owner/slug``."""
        return f"{self.owner}/{self.slug}"

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ENDED

    def may_be_seen_by(self, user: str) -> bool:
        """Tell whether Kaggle shows it to ``user``."""
        return not self.private or self.owner.lower() == user.lower()


class KernelStore:
    """All pushed versions. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        found = (_read(path) for path in folder.glob("*/*/*/version.json"))
        self._versions = {one.session: one for one in sorted(found, key=lambda one: one.session)}

    def all(self) -> list[KernelVersion]:
        """List all versions, the one pushed last first."""
        with self._lock:
            return list(self._versions.values())[::-1]

    def of(self, owner: str, slug: str) -> list[KernelVersion]:
        """List a kernel's versions, newest first."""
        ref = f"{owner}/{slug}".lower()
        return [one for one in self.all() if one.ref.lower() == ref]

    def find(self, owner: str, slug: str, version: int | None = None) -> KernelVersion | None:
        """Return a version of a kernel, the newest if none is asked for."""
        of = self.of(owner, slug)
        return next((one for one in of if version in (None, one.version)), None)

    def session(self, session: int) -> KernelVersion | None:
        """Return the version that runs as ``session``."""
        with self._lock:
            return self._versions.get(session)

    def add(self, owner: str, slug: str, text: str, **settings: Any) -> KernelVersion:
        """Keep a new version of a kernel."""
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
            self._keep(version)
            self._versions[version.session] = version
            return version

    def change(self, session: int, **changes: Any) -> KernelVersion:
        """Note what became of a version, unless it is over; return it as it is now."""
        with self._lock:
            version = self._versions[session]
            if not version.is_finished:
                version = self._versions[session] = replace(version, **changes)
                self._keep(version)
            return version

    def delete(self, owner: str, slug: str) -> None:
        """Forget a kernel with all its versions."""
        with self._lock:
            for version in self.of(owner, slug):
                del self._versions[version.session]
                shutil.rmtree(self.folder(version), ignore_errors=True)

    # --- files --------------------------------------------------------------------------------

    def folder(self, version: KernelVersion) -> Path:
        """Return where everything of a version lies."""
        return self._folder / version.owner / version.slug / str(version.version)

    def source(self, version: KernelVersion) -> str:
        """Return the pushed script."""
        return (self.folder(version) / "source.py").read_text(encoding="utf-8")

    def log_file(self, version: KernelVersion) -> Path:
        """Return where a version's log grows: one JSON object a line."""
        return self.folder(version) / "log.jsonl"

    def log(self, version: KernelVersion) -> str:
        """Return the log as Kaggle stores it: a JSON array of stream_name, time and data."""
        try:
            lines = self.log_file(version).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            lines = []
        return "[" + "\n,".join(line for line in lines if line.endswith("}")) + "\n]"

    def working(self, version: KernelVersion) -> Path:
        """Return the folder that is ``/kaggle/working`` to a version, its output when over."""
        return self.folder(version) / "kaggle" / "working"

    def output(self, version: KernelVersion) -> list[str]:
        """List the files that a version left, by name; none before it is over."""
        return sorted(self._left(version)) if version.is_finished else []

    def output_file(self, version: KernelVersion, name: str) -> Path | None:
        """Return a file that a version left."""
        return self.working(version) / name if name in self.output(version) else None

    def _left(self, version: KernelVersion) -> Iterator[str]:
        working = self.working(version)
        for folder, _, names in os.walk(working):  # follows no links
            for path in (Path(folder) / name for name in names):
                if path.is_file() and not path.is_symlink():
                    yield path.relative_to(working).as_posix()

    def _keep(self, version: KernelVersion) -> None:
        files.write_json(self.folder(version) / "version.json", asdict(version))


def _read(path: Path) -> KernelVersion:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(KernelVersion)}
        values = {name: value for name, value in record.items() if name in known}
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return KernelVersion(**{**values, **lists})
    except (OSError, ValueError, TypeError) as error:
        raise CompetitionError(
            f"{path} is damaged ({error}): move its folder away to go on without that kernel"
        ) from error
