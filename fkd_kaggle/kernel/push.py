"""One order on its way through Kaggle: pushed, or found there, and followed to its end.

Each step is noted (``records``) before the next, so that whoever is interrupted, or killed, goes on
where it stopped and pushes nothing twice. Where the notes do not tell, Kaggle is asked.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fkd_kaggle.errors import CompetitionError, KernelError
from fkd_kaggle.formatting import format_duration
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.errors import GpuSessionsTakenError
from fkd_kaggle.kernel import build, failures, records
from fkd_kaggle.kernel.build import PlannedKernel
from fkd_kaggle.kernel.follow import (
    KernelEnded,
    KernelEvent,
    KernelFollower,
    KernelPushed,
    KernelStateChanged,
    KernelWaiting,
    OnKernelEvent,
)
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.kernel.records import KernelRecord
from fkd_kaggle.recipes.plans import Plan

_PUSH_AGAIN: Final = 60.0
"""Seconds until a push is tried again that found all GPU sessions taken."""

_LONGEST_SESSION: Final = 12 * 3600


class JobSession:
    """One order on its way: what is known of its kernels, and what is still to be done."""

    def __init__(
        self,
        competition: Competition,
        order: KernelJob,
        runs_dir: Path,
        on_event: OnKernelEvent,
        run_name: str,
        poll: float | None,
    ) -> None:
        self._competition, self._order, self._runs_dir = competition, order, runs_dir
        self._told = on_event
        self._practice = competition.practice_url is not None
        self._digest = records.job_digest(order.to_dict(), practice=self._practice)
        self._owner = competition.user
        self._run_name = run_name
        self.pieces = build.planned_kernels(order, self._run_name, self._owner)
        self._again = 1.0 if self._practice else _PUSH_AGAIN
        self._follower = KernelFollower(competition, self._on_event, poll)

    def find(self, piece: PlannedKernel) -> KernelRecord | None:
        """Return what is noted of a piece of this order."""
        noted = [one for one in records.read_records(self._runs_dir) if one.job == self._digest]
        mine = [one for one in noted if (one.run, one.shard) == (self._run_name, piece.job.shard)]
        return mine[-1] if mine else None

    def known(self, piece: PlannedKernel) -> KernelRecord:
        """Return what is noted of a piece that was pushed."""
        record = self.find(piece)
        assert record is not None
        return record

    def complete(self, pieces: Sequence[PlannedKernel]) -> None:
        """Push what is not pushed, follow all of it to its end."""
        waiting: deque[PlannedKernel] = deque()
        for piece in pieces:
            record = self.find(piece)
            if record is None or record.state in ("pushing", "failed") or self._is_gone(record):
                waiting.append(piece)
            elif record.state == "pushed":
                self._found(record)
                self._follow(record)
        self._work_off(waiting)

    def watch(self, noted: Iterable[KernelRecord]) -> None:
        """Follow what was pushed to its end; push nothing."""
        for record in noted:
            self._follow(record)
        self._work_off(deque())

    def _work_off(self, waiting: deque[PlannedKernel]) -> None:
        next_push = 0.0
        while waiting or self._follower.busy:
            while waiting and time.monotonic() >= next_push:
                try:
                    self.push(waiting[0])
                except GpuSessionsTakenError as error:
                    # Kaggle runs two at once; ours, or others of the user's.
                    self._told(KernelWaiting(f"{self._owner}/{waiting[0].slug}", str(error)))
                    next_push = time.monotonic() + self._again
                    break
                self._follow(self.known(waiting.popleft()))
            if self._follower.busy:
                for ended in self._follower.step():
                    self._end(ended)
                    next_push = 0.0
            elif waiting:
                time.sleep(max(0.0, next_push - time.monotonic()))

    def push(self, piece: PlannedKernel) -> KernelRecord:
        """Push a piece, unless Kaggle has taken it already; return its record."""
        kernel = f"{self._owner}/{piece.slug}"
        before = self.find(piece)
        draft = KernelRecord(
            kernel, self._run_name, self._order.to_dict(), self._digest, "", "pushing",
            records.utc_now(), practice=self._practice, shard=piece.job.shard,
            shards=self._order.shards,
        )  # fmt: skip
        folder = records.record_folder(self._runs_dir, draft) / "build"
        build.build_kernel_folder(piece, folder, self._owner, self._order.accelerator)
        draft = replace(draft, script=_script_digest(build.read_script(folder)))
        scripts = {draft.script, before.script} if before else {draft.script}
        found = self._at_kaggle(kernel, scripts)
        if found is not None:
            return self._found(records.write_record(self._runs_dir, replace(draft, **found)))
        records.write_record(self._runs_dir, draft)
        try:
            version = self._competition.kernel_push(folder, _timeout(self._order.plan))
        except GpuSessionsTakenError:
            raise
        except CompetitionError as error:
            # A cut connection leaves open whether Kaggle has taken it.
            lost = error.status is None or error.status >= 500
            found = self._at_kaggle(kernel, scripts) if lost else None
            if found is None:
                raise
            return self._found(records.write_record(self._runs_dir, replace(draft, **found)))
        record = replace(
            draft, kernel=version.kernel or kernel, version=version.version, url=version.url,
            state="failed" if version.refused else "pushed",
        )  # fmt: skip
        records.write_record(self._runs_dir, record)
        self._told(KernelPushed(record.kernel, record.version, record.url, False, record.gpu))
        if version.refused:
            raise KernelError(
                f"Kaggle started the kernel without {', '.join(version.refused)}, which it does "
                "not know or not show to you: accept the competition's rules (https://www.kaggle."
                f"com/c/{self._competition.slug}/rules), stop it at {version.url}, push again"
            )
        return record

    def _is_gone(self, record: KernelRecord) -> bool:
        """Say whether Kaggle has forgotten a kernel whose output is not here: it was deleted."""
        here = record.state in ("collected", "submitted")
        return not here and self._competition.kernel_stored(record.kernel) is None

    def _at_kaggle(self, kernel: str, scripts: Iterable[str]) -> dict[str, Any] | None:
        """Return what to note where Kaggle runs, or has run, this very script under the name.

        Raises
        ------
        KernelError
            Something else runs under that name.
        """
        stored = self._competition.kernel_stored(kernel)
        if stored is None:
            return None
        try:
            status = self._competition.kernel_status(kernel)
        except CompetitionError as error:
            if error.status in (403, 404):
                return None  # saved once, by hand perhaps, and never run
            raise
        failed = status.finished and status.state != "complete"
        if _script_digest(stored.source) in scripts:
            return None if failed else {"version": stored.version, "state": "pushed"}
        if not status.finished and status.state != "new_script":
            site = self._competition.practice_url or "https://www.kaggle.com"
            raise KernelError(
                f"kernel {kernel} is {status.state} with another job: wait for it, stop it at "
                f"{site}/code/{kernel}, or give this run another name with --run"
            )
        return None

    def _found(self, record: KernelRecord) -> KernelRecord:
        self._told(KernelPushed(record.kernel, record.version, record.url, True, record.gpu))
        return record

    def _follow(self, record: KernelRecord) -> None:
        since = datetime.fromisoformat(record.running) if record.running else None
        self._follower.add(record.kernel, since)

    def _on_event(self, event: KernelEvent) -> None:
        """Note since when a kernel runs, and pass on what happens."""
        if isinstance(event, KernelStateChanged) and event.since is not None:
            record = self._of(event.kernel)
            if record.running is None:
                records.write_record(
                    self._runs_dir, replace(record, running=event.since.isoformat())
                )
        self._told(event)

    def _end(self, ended: KernelEnded) -> None:
        """Note how a kernel ended.

        Raises
        ------
        KernelError
            It failed or was cancelled.
        """
        record = self._of(ended.kernel)
        complete = ended.status.state == "complete"
        if record.state == "pushed":  # who only reads an old log moves nothing back
            records.write_record(
                self._runs_dir, replace(record, state="complete" if complete else "failed")
            )
        if complete:
            return
        line = failures.explain_failure(
            ended.kernel, ended.status, ended.lines, format_duration(ended.seconds)
        )
        advice = f"; all of its log: `fkd-kaggle kernel logs {record.name}`"
        if self._follower.busy:
            advice += "; its sisters go on, the same command takes them up and pushes this anew"
        raise KernelError(line + advice)

    def _of(self, kernel: str) -> KernelRecord:
        noted = records.read_records(self._runs_dir)
        return next(one for one in noted if one.kernel == kernel and one.job == self._digest)


def _script_digest(text: str) -> str:
    # Kaggle may end lines and files in its own way.
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _timeout(plan: Plan) -> int | None:
    """Return after how many seconds Kaggle may end the session: long after the plan's own limit."""
    if plan.time_limit is None:
        return None
    return min(_LONGEST_SESSION, int(plan.time_limit * 1.5) + 1800)
