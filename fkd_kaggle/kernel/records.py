"""Records of pushed kernels, stored beside the runs, so that an interrupted wait can resume.

    runs/.kernels/<slug>.json         the record: what was pushed and the last known state
    runs/.kernels/<slug>/build/       the folder that was pushed
    runs/.kernels/<slug>/v<version>/  output of that version while it is downloaded

A record is written before the push and completed after the push. If the process is killed in
between, the record has no version, and ``push`` requests the kernel from Kaggle. This module sends
no requests.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from fkd_kaggle import files
from fkd_kaggle.errors import KernelError, RecipeError
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.kernel.machines import uses_gpu

FOLDER: Final = ".kernels"
"""Folder of the records within the folder of the runs."""

State = Literal["pushing", "pushed", "failed", "complete", "collected", "submitted"]

OPEN: Final = ("pushing", "pushed", "failed", "complete", "collected")
"""States from which ``submit --via kernel`` continues; a failed kernel is pushed again."""

_OLD_KEYS: Final = {"order": "job", "noted": "pushed", "running": "running_since"}
"""Key in version 0.1.0 → present key. In version 0.1.0, "job" was a digest; it is not read."""


@dataclass(frozen=True)
class EarlierVersion:
    """A version of a kernel that was pushed from here before the newest version."""

    version: int
    """Kaggle's number of the version."""
    run: str
    """Name of the run."""
    state: State
    """Last known state."""
    pushed: str
    """Time of the push: ISO 8601, UTC."""


@dataclass(frozen=True)
class KernelRecord:
    """One pushed kernel: its newest version, and a list of the earlier ones."""

    kernel: str
    """"owner/slug"."""
    run: str
    """Name of the run that the kernel trains, completely or as a shard."""
    job: KernelJob
    script: str
    """SHA-256 of the pushed script, see ``push.script_digest``."""
    state: State
    pushed: str
    """Time of the push: ISO 8601, UTC."""
    version: int = 0
    """Kaggle's number of the pushed version; 0 until it is known."""
    url: str = ""
    """Address of the kernel's page; empty until it is known."""
    practice: bool = False
    """Whether the kernel was pushed to a practice Kaggle."""
    shard: int | None = None
    """Index of the shard; None for the whole training, or for the blend of the shards."""
    shards: int = 1
    running_since: str | None = None
    """Time at which the kernel was first seen running: ISO 8601, UTC."""
    submission: str | None = None
    """Name of the submission file made from the kernel's output."""
    docker_image: str = ""
    """Image in which the version runs, "repository@sha256:…"; empty if Kaggle does not tell it."""
    earlier: tuple[EarlierVersion, ...] = ()
    """Earlier versions, oldest first. Kaggle's API cannot list the versions of a kernel
    (github.com/Kaggle/kaggle-cli/issues/1070)."""

    @property
    def is_newest(self) -> bool:
        """Return whether the record is about the newest version that was pushed from here."""
        return all(one.version != self.version for one in self.earlier)

    @property
    def versions(self) -> tuple[EarlierVersion, ...]:
        """Return all versions whose numbers are known, oldest first."""
        newest = EarlierVersion(self.version, self.run, self.state, self.pushed)
        return (*self.earlier, newest) if self.version else self.earlier

    @property
    def name(self) -> str:
        """Return the kernel's slug, without its owner."""
        return self.kernel.split("/")[-1]

    @property
    def has_output(self) -> bool:
        """Return whether the output was downloaded; the kernel itself is not needed then."""
        return self.state in ("collected", "submitted")

    @property
    def uses_gpu(self) -> bool:
        """Return whether the kernel uses GPU quota; a blend of shards does not."""
        blends = self.shard is None and self.shards > 1
        return not blends and uses_gpu(self.job.accelerator)

    @property
    def digest(self) -> str:
        """Return the digest of the job, computed from the stored job."""
        return self.job.digest(practice=self.practice)


def utc_now() -> str:
    """Return the current time in the format of the records: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def record_folder(runs_dir: Path, record: KernelRecord) -> Path:
    """Return the folder of the files that belong to a record."""
    return runs_dir / FOLDER / record.name


def check_name(runs_dir: Path, record: KernelRecord) -> None:
    """Check that a record replaces no record of another owner's kernel or of the other Kaggle.

    Records are stored under the kernels' slugs, which such a kernel can share.

    Raises
    ------
    KernelError
        It does.
    """
    for other in read_records(runs_dir):
        same = (other.kernel.lower(), other.practice) == (record.kernel.lower(), record.practice)
        if other.name == record.name and not same:
            site = "a practice Kaggle" if other.practice else "Kaggle"
            raise KernelError(
                f"the record of {other.kernel} on {site} in {runs_dir} has the same name: choose "
                "another name with --title or --run, or another folder with --runs-dir"
            )


def write_record(runs_dir: Path, record: KernelRecord) -> KernelRecord:
    """Write a record in place of an older record of the same kernel; return the new record."""
    files.write_json(record_folder(runs_dir, record).with_suffix(".json"), asdict(record))
    return record


def remove_record(runs_dir: Path, record: KernelRecord) -> None:
    """Delete the record of a kernel that does not exist on Kaggle, with its folder."""
    shutil.rmtree(record_folder(runs_dir, record), ignore_errors=True)
    record_folder(runs_dir, record).with_suffix(".json").unlink(missing_ok=True)


def read_records(runs_dir: Path) -> list[KernelRecord]:
    """Return all records, oldest first; damaged records are left out."""
    found = []
    for path in (runs_dir / FOLDER).glob("*.json"):
        try:
            found.append(_from_dict(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecipeError):
            continue
    return sorted(found, key=lambda record: record.pushed)


def records_of_open_run(records: Iterable[KernelRecord], digest: str) -> list[KernelRecord]:
    """Return the records of the newest run of a job, if none of its kernels was submitted.

    Parameters
    ----------
    records
        All records, oldest first.
    digest
        Digest of the job.

    Returns
    -------
    list of KernelRecord
        One kernel, or the shards and the blend pushed so far; empty if there is no open run.
    """
    known = [record for record in records if record.digest == digest]
    group = [record for record in known if record.run == known[-1].run]
    return group if all(record.state in OPEN for record in group) else []


def find_records(runs_dir: Path, name: str | None, *, practice: bool = False) -> list[KernelRecord]:
    """Return the records of a run or of a kernel, oldest first.

    Parameters
    ----------
    runs_dir
        Folder of the runs.
    name
        Name of a run, or a kernel with or without its owner; None for the newest run. A number
        after a slash, as in "fkd-quick-1/2", selects a version of the kernel.
    practice
        Whether to search the kernels of a practice Kaggle instead of those of Kaggle.

    Raises
    ------
    KernelError
        No kernel was pushed, or no kernel with this name.
    """
    known = [record for record in read_records(runs_dir) if record.practice == practice]
    if not known:
        where = f" to a practice Kaggle from {runs_dir}" if practice else f" from {runs_dir}"
        raise KernelError(
            f"no kernel was pushed{where} yet: `fkd-kaggle kernel push` or "
            "`fkd-kaggle submit --via kernel` pushes one"
        )
    if name is None:
        name = known[-1].run
    found = [record for record in known if name in (record.run, record.name, record.kernel)]
    if found:
        return found
    kernel, _, number = name.rpartition("/")
    found = [record for record in known if kernel in (record.run, record.name, record.kernel)]
    if not found or not number.isascii() or not number.isdecimal():
        names = ", ".join(dict.fromkeys(record.run for record in known))
        raise KernelError(f"no kernel {name!r} was pushed from {runs_dir}: known are {names}")
    return [_at_version(record, int(number)) for record in found]


def _at_version(record: KernelRecord, number: int) -> KernelRecord:
    """Return the record as it was for another version of the kernel.

    Raises
    ------
    KernelError
        The version was not pushed from here.
    """
    for one in record.versions:
        if one.version == number:
            return replace(record, version=number, run=one.run, state=one.state, pushed=one.pushed)
    known = ", ".join(str(one.version) for one in record.versions) or "none"
    raise KernelError(
        f"version {number} of {record.kernel} was not pushed from here: known are {known} "
        "(Kaggle's API does not list versions; the kernel's page does)"
    )


def _from_dict(values: Mapping[str, Any]) -> KernelRecord:
    """Return a record from the JSON of this version or of version 0.1.0."""
    if "order" in values:
        values = {_OLD_KEYS.get(key, key): values[key] for key in values if key != "job"}
    earlier = tuple(EarlierVersion(**one) for one in values.get("earlier", ()))
    job = KernelJob.from_dict(values["job"])
    return KernelRecord(**{**values, "job": job, "earlier": earlier})
