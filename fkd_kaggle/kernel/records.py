"""What was pushed to Kaggle, noted beside the runs, so that any wait can be taken up again.

    runs/.kernels/<name>.json         what was pushed, and how far it is known to have come
    runs/.kernels/<name>/build/       the folder that was pushed
    runs/.kernels/<name>/v<version>/  what that version left, while it is being fetched

A note is written before the push and completed after it: whoever is killed in between finds a note
without a version, and asks Kaggle. Asks Kaggle nothing itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from fkd_kaggle import files
from fkd_kaggle.errors import KernelError

FOLDER: Final = ".kernels"

State = Literal["pushing", "pushed", "failed", "complete", "collected", "submitted"]

OPEN: Final = ("pushing", "pushed", "failed", "complete", "collected")
"""States from which `submit --via kernel` goes on; a failed kernel is pushed anew."""


@dataclass(frozen=True)
class KernelRecord:
    """One pushed kernel."""

    kernel: str
    """"owner/name"."""
    run: str
    """The run it trains, or a share of."""
    order: Mapping[str, Any]
    """What was asked for, as ``remote.Order.to_dict`` has it."""
    job: str
    """Its digest: see :func:`digest`."""
    script: str
    """SHA-256 of the script that was pushed."""
    state: State
    noted: str
    """When it was pushed: ISO 8601, UTC."""
    version: int = 0
    """Kaggle's number for this push; 0 until Kaggle has given it."""
    url: str = ""
    practice: bool = False
    """Whether a practice Kaggle has it: what runs there is nothing that Kaggle knows."""
    shard: int | None = None
    """Which share of the members, from 0; None: all of them, or the blend of the shares."""
    shards: int = 1
    running: str | None = None
    """Since when it was seen to run: ISO 8601, UTC."""
    submission: str | None = None
    """The submission file that was made of its output."""

    @property
    def name(self) -> str:
        """Its name without the owner's."""
        return self.kernel.split("/")[-1]

    @property
    def gpu(self) -> bool:
        """Whether it uses up GPU quota; blending shards does not."""
        blends = self.shard is None and self.shards > 1
        return not blends and str(self.order["accelerator"]).startswith("Nvidia")


def job_digest(order: Mapping[str, Any], *, practice: bool = False) -> str:
    """Return 16 hex digits that two orders share when they ask for the same training, there."""
    text = json.dumps([order, practice], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def utc_now() -> str:
    """Return the time as a record notes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def record_folder(runs_dir: Path, record: KernelRecord) -> Path:
    """Return the folder for what belongs to a record."""
    return runs_dir / FOLDER / record.name


def write_record(runs_dir: Path, record: KernelRecord) -> KernelRecord:
    """Note a record, in place of an older one of the same kernel; return it."""
    files.write_json(record_folder(runs_dir, record).with_suffix(".json"), asdict(record))
    return record


def read_records(runs_dir: Path) -> list[KernelRecord]:
    """Return all records, oldest first; damaged ones are left out."""
    found = []
    for path in (runs_dir / FOLDER).glob("*.json"):
        try:
            found.append(KernelRecord(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda record: record.noted)


def records_of_open_run(records: Iterable[KernelRecord], job: str) -> list[KernelRecord]:
    """Return the records of the newest open run of a job: its kernel, or its shards and blend."""
    known = [record for record in records if record.job == job]
    return _unfinished(known, known[-1].run) if known else []


def _unfinished(records: list[KernelRecord], run: str) -> list[KernelRecord]:
    group = [record for record in records if record.run == run]
    return group if all(record.state in OPEN for record in group) else []


def find_records(runs_dir: Path, name: str | None, *, practice: bool = False) -> list[KernelRecord]:
    """Return the records that ``name`` means, oldest first: a run, a kernel, or the newest run.

    Of Kaggle, or of a practice Kaggle.

    Raises
    ------
    KernelError
        Nothing was pushed from here, or nothing of that name.
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
    found = [one for one in known if name in (one.run, one.name, one.kernel)]
    if not found:
        names = ", ".join(dict.fromkeys(one.run for one in known))
        raise KernelError(f"no kernel {name!r} was pushed from {runs_dir}: known are {names}")
    return found
