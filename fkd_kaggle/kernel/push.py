"""Push a kernel of a job once.

Each step is recorded before the next step, so that a later process resumes after an interruption.
If the record does not show whether Kaggle has received a push, the kernel's state is requested from
Kaggle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fkd_kaggle.errors import CompetitionError, KernelError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.errors import GpuSessionsTakenError
from fkd_kaggle.kernel import build, records
from fkd_kaggle.kernel.build import PlannedKernel
from fkd_kaggle.kernel.events import KernelPushed, OnKernelEvent
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.kernel.records import EarlierVersion, KernelRecord


@dataclass(frozen=True)
class KernelPusher:
    """Pushes the kernels of one run of a job."""

    competition: Competition
    """The session with Kaggle."""
    job: KernelJob
    """The training."""
    runs_dir: Path
    """Folder of the runs, which contains the records."""
    run_name: str
    """Name of the run."""
    on_event: OnKernelEvent
    """Called with each event."""

    @property
    def practice(self) -> bool:
        """Return whether the kernels are pushed to a practice Kaggle."""
        return self.competition.practice_url is not None

    def address(self, kernel: PlannedKernel) -> str:
        """Return a kernel's "owner/slug"."""
        return f"{self.competition.user}/{kernel.slug}"

    def own_records(self) -> list[KernelRecord]:
        """Return the records of kernels of the same job, oldest first."""
        digest = self.job.digest(practice=self.practice)
        known = records.read_records(self.runs_dir)
        return [record for record in known if record.digest == digest]

    def find_record(self, kernel: PlannedKernel) -> KernelRecord | None:
        """Return the saved record of a kernel of this run, or None."""
        wanted = (self.run_name, kernel.task.shard)
        known = self.own_records()
        found = [record for record in known if (record.run, record.shard) == wanted]
        return found[-1] if found else None

    def must_push(self, kernel: PlannedKernel) -> bool:
        """Return whether a kernel was not pushed, has failed, or was deleted on Kaggle."""
        record = self.find_record(kernel)
        if record is None or record.state in ("pushing", "failed"):
            return True
        return not record.has_output and self.competition.kernel_stored(record.kernel) is None

    def push(self, kernel: PlannedKernel) -> KernelRecord:
        """Push a kernel, unless Kaggle runs or has run the same script already.

        Parameters
        ----------
        kernel
            A kernel of the run.

        Returns
        -------
        KernelRecord
            The saved record.

        Raises
        ------
        GpuSessionsTakenError
            Kaggle already runs the highest allowed number of GPU sessions.
        CompetitionError
            Kaggle refuses the kernel or cannot be reached.
        KernelError
            The kernel cannot be built, another script runs under its name, its record would replace
            that of another kernel, or Kaggle started the kernel without one of its inputs.
        """
        draft, scripts = self._build(kernel)
        before = self.find_record(kernel)
        lost = before is not None and before.state == "pushing"  # killed during the push
        find = partial(self._find_after_failure, kernel) if lost else self._find_on_kaggle
        found = find(draft.kernel, scripts)
        # A version that is complete on Kaggle can be of no use here, see ``shard_check``.
        known = before.versions if before is not None else ()
        unusable = {one.version for one in known if one.state == "failed"}
        if found is not None and found["version"] not in unusable:
            return self._resume(draft, found)
        records.write_record(self.runs_dir, draft)
        folder = self._build_folder(draft)
        try:
            version = self.competition.kernel_push(folder, session_timeout(self.job))
        except GpuSessionsTakenError:
            raise
        except CompetitionError as error:
            # After a broken connection it is unknown whether Kaggle has received the push.
            unknown = error.status is None or error.status >= 500
            found = self._find_after_failure(kernel, draft.kernel, scripts) if unknown else None
            if found is None or found["version"] in unusable:
                raise
            return self._resume(draft, found)
        record = replace(
            draft,
            kernel=version.kernel or draft.kernel,
            version=version.version,
            url=version.url,
            state="failed" if version.refused else "pushed",
        )
        record = self._write(self._with_image(record), instead_of=draft)
        self.report(record, resumed=False)
        if version.refused:
            raise KernelError(
                f"Kaggle started the kernel without {', '.join(version.refused)}, which does not "
                "exist or is hidden from you: accept the competition's rules (https://www.kaggle."
                f"com/c/{self.competition.slug}/rules), stop it at {version.url}, push again"
            )
        return record

    def report(self, record: KernelRecord, *, resumed: bool) -> None:
        """Report a pushed kernel to ``on_event``.

        Parameters
        ----------
        record
            Record of the kernel.
        resumed
            Whether the kernel was pushed earlier.
        """
        self.on_event(
            KernelPushed(record.kernel, record.version, record.url, resumed, record.uses_gpu)
        )

    def _build(self, kernel: PlannedKernel) -> tuple[KernelRecord, set[str]]:
        """Build a kernel; return its record and the digests of its present and earlier script."""
        before = self.find_record(kernel)
        draft = KernelRecord(
            self.address(kernel),
            self.run_name,
            self.job,
            script="",
            state="pushing",
            pushed=records.utc_now(),
            practice=self.practice,
            shard=kernel.task.shard,
            shards=self.job.shards,
            earlier=self._earlier_versions(self.address(kernel)),
        )
        records.check_name(self.runs_dir, draft)
        folder = self._build_folder(draft)
        image = self._image_of_shards() if kernel.task.shard is not None else ""
        build.build_kernel_folder(kernel, self.job, folder, self.competition.user, image)
        draft = replace(draft, script=script_digest(build.read_script(folder)))
        return draft, {draft.script, before.script} if before else {draft.script}

    def _build_folder(self, record: KernelRecord) -> Path:
        """Return the folder in which the kernel of a record is built."""
        return records.record_folder(self.runs_dir, record) / "build"

    def _resume(self, draft: KernelRecord, found: dict[str, Any]) -> KernelRecord:
        """Record and report a kernel that was found on Kaggle."""
        record = replace(draft, **found)
        earlier = tuple(one for one in record.earlier if one.version != record.version)
        record = self._write(replace(record, earlier=earlier), instead_of=draft)
        self.report(record, resumed=True)
        return record

    def _image_of_shards(self) -> str:
        """Return the image of the run's first shard whose image Kaggle tells; empty if unknown.

        Shards that are pushed on different days would otherwise run in different images.
        """
        shards = [one for one in self.own_records() if one.run == self.run_name]
        for record in sorted(shards, key=lambda one: one.state == "failed"):
            if record.shard is not None and record.version:
                known = record if record.docker_image else self._with_image(record)
                if known.docker_image:
                    records.write_record(self.runs_dir, known)
                    return known.docker_image
        return ""

    def _with_image(self, record: KernelRecord) -> KernelRecord:
        """Return a record with the image of its version, if Kaggle tells it."""
        if record.shard is None:
            return record
        with suppress(CompetitionError):
            stored = self.competition.kernel_stored(record.kernel, record.version)
            return replace(record, docker_image=stored.docker_image if stored else "")
        return record

    def _write(self, record: KernelRecord, instead_of: KernelRecord) -> KernelRecord:
        """Write a record; delete the draft if Kaggle has given the kernel another name."""
        records.write_record(self.runs_dir, record)
        if record.name != instead_of.name:
            records.remove_record(self.runs_dir, instead_of)
        return record

    def _earlier_versions(self, address: str) -> tuple[EarlierVersion, ...]:
        """Return the versions of a kernel that were pushed from here before."""
        known = [one for one in records.read_records(self.runs_dir) if one.kernel == address]
        return known[-1].versions if known and known[-1].practice == self.practice else ()

    def _find_after_failure(
        self, kernel: PlannedKernel, address: str, scripts: Iterable[str]
    ) -> dict[str, Any] | None:
        """Return record fields of a kernel whose push had no answer, or None.

        Kaggle makes the name of a new kernel from its title. Should it derive another name than
        this package, the kernel is found among the user's kernels by its title and script.
        """
        found = self._find_on_kaggle(address, scripts)
        if found is not None:
            return found
        for other in self.competition.kernels_with_title(kernel.title):
            if other != address:
                found = self._find_on_kaggle(other, scripts)
                if found is not None:
                    return {**found, "kernel": other}
        return None

    def _find_on_kaggle(self, kernel: str, scripts: Iterable[str]) -> dict[str, Any] | None:
        """Return record fields if the kernel runs or has run one of ``scripts``, else None.

        A failed kernel also gives None, because it has to be pushed again.

        Raises
        ------
        KernelError
            Another script runs under this kernel's name.
        """
        stored = self.competition.kernel_stored(kernel)
        if stored is None:
            return None
        try:
            status = self.competition.kernel_status(kernel, stored.version)
        except CompetitionError as error:
            if error.status in (403, 404):
                return None  # The kernel was saved, for example on the website, but never run.
            raise
        failed = status.finished and status.state != "complete"
        if script_digest(stored.source) in scripts:
            return None if failed else {"version": stored.version, "state": "pushed"}
        if not status.finished and status.state != "new_script":
            site = self.competition.practice_url or "https://www.kaggle.com"
            raise KernelError(
                f"kernel {kernel} is {status.state} with another job: wait for it, stop it at "
                f"{site}/code/{kernel}, or give this run another name with --run"
            )
        return None


def script_digest(text: str) -> str:
    """Return the SHA-256 of a script without trailing spaces; Kaggle may change line endings.

    Of a notebook, only the cells' types and texts count: Kaggle's client rewrites the JSON.
    """
    try:
        cells = json.loads(text)["cells"] if text.lstrip().startswith("{") else None
        if cells is not None:
            text = "\n".join(f"{cell['cell_type']}\n{''.join(cell['source'])}" for cell in cells)
    except (ValueError, TypeError, KeyError):
        pass  # a script
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def session_timeout(job: KernelJob) -> int:
    """Return the seconds after which Kaggle ends a session of a job's kernels.

    1.5 times the plan's time limit plus 30 minutes, at most the job's session limit. Every push
    has a timeout, because the API cannot stop a session that hangs.
    """
    limit = job.plan.time_limit
    wanted = job.session_limit if limit is None else min(job.session_limit, 1.5 * limit + 1800)
    return int(wanted)
