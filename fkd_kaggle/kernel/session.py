"""The kernels of one job, from their push to their end.

Pushes the kernels that were not pushed, follows all kernels, and records how they end. Downloads
nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from fkd_kaggle.errors import CompetitionError, KernelError
from fkd_kaggle.formatting import format_duration
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.errors import GpuSessionsTakenError
from fkd_kaggle.kaggle_api.kernels import KernelRef
from fkd_kaggle.kernel import build, failures, records
from fkd_kaggle.kernel.build import PlannedKernel
from fkd_kaggle.kernel.events import (
    KernelEvent,
    KernelStateChanged,
    KernelWaiting,
    KernelWarning,
    OnKernelEvent,
)
from fkd_kaggle.kernel.follow import KernelEnded, KernelFollower
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.kernel.push import KernelPusher
from fkd_kaggle.kernel.records import KernelRecord
from fkd_kaggle.kernel.shard_check import check_ended_shard

_RETRY_PUSH: Final = 60.0
"""Seconds until the next attempt to push after Kaggle had no free GPU session."""

_PRACTICE_RETRY_PUSH: Final = 1.0
"""The same pause in seconds on a practice Kaggle."""


class JobSession:
    """The kernels of one run of a job.

    Parameters
    ----------
    competition
        The session with Kaggle.
    job
        The training.
    runs_dir
        Folder of the runs, which contains the records.
    on_event
        Called with each event.
    run_name
        Name of the run.
    poll
        Seconds between two requests for a state; None for the default.

    Attributes
    ----------
    shards : list of PlannedKernel
        Kernels that each train a part of the members; empty for a job of a single kernel.
    last : PlannedKernel
        The kernel that writes the submission.

    Raises
    ------
    KernelError
        There are more shards than members.
    """

    def __init__(
        self,
        competition: Competition,
        job: KernelJob,
        runs_dir: Path,
        on_event: OnKernelEvent,
        run_name: str,
        poll: float | None = None,
    ) -> None:
        self._competition, self._runs_dir, self._on_event = competition, runs_dir, on_event
        self.shards, self.last = build.planned_kernels(job, run_name, competition.user)
        self.pusher = KernelPusher(competition, job, runs_dir, run_name, on_event)
        self._follower = KernelFollower(competition, self._record_start, poll)

    def complete(self, kernels: Sequence[PlannedKernel]) -> None:
        """Push the kernels that were not pushed, and follow all kernels to their end.

        A failed kernel is pushed again.

        Parameters
        ----------
        kernels
            Kernels of the run.

        Raises
        ------
        KernelError
            A kernel cannot be built or pushed, failed or was cancelled.
        CompetitionError
            Kaggle refuses or cannot be reached.
        """
        to_push: deque[PlannedKernel] = deque()
        for kernel in kernels:
            record = self.pusher.find_record(kernel)
            if record is None or self.pusher.must_push(kernel):
                to_push.append(kernel)
            elif record.state == "pushed":
                self.pusher.report(record, resumed=True)
                self._follow(record)
        self._run(to_push)

    def watch(self, pushed: Iterable[KernelRecord]) -> None:
        """Follow pushed kernels to their end without pushing a kernel.

        Parameters
        ----------
        pushed
            Records of the kernels.

        Raises
        ------
        KernelError
            A kernel failed or was cancelled.
        CompetitionError
            Kaggle refuses or cannot be reached.
        """
        for record in pushed:
            self._follow(record)
        self._run(deque())

    def _run(self, to_push: deque[PlannedKernel]) -> None:
        """Push ``to_push`` and follow until all kernels have ended."""
        next_push = 0.0
        while to_push or self._follower.busy:
            if to_push and time.monotonic() >= next_push:
                next_push = self._push_all(to_push)
            if self._follower.busy:
                for ended in self._follower.step():
                    self._end(ended)
                    next_push = 0.0
            elif to_push:
                time.sleep(max(0.0, next_push - time.monotonic()))

    def _push_all(self, to_push: deque[PlannedKernel]) -> float:
        """Push until Kaggle has no free GPU session.

        Returns
        -------
        float
            Time of the next attempt on the clock of ``time.monotonic``.
        """
        while to_push:
            try:
                record = self.pusher.push(to_push[0])
            except GpuSessionsTakenError as error:
                # Kaggle runs two GPU sessions per user at once; other jobs of the user count too.
                address = self.pusher.address(to_push[0])
                reason = str(error)
                if not self._follower.busy:
                    # github.com/Kaggle/kaggle-cli/issues/473
                    reason += (
                        ". None of this job's kernels runs: other kernels of yours may, or a "
                        "finished session is still shown as active; look at “View Active Events” "
                        "at the bottom left of kaggle.com and stop it there"
                    )
                self._on_event(KernelWaiting(address, reason))
                pause = _PRACTICE_RETRY_PUSH if self.pusher.practice else _RETRY_PUSH
                return time.monotonic() + pause
            to_push.popleft()
            self._follow(record)
        return 0.0

    def _follow(self, record: KernelRecord) -> None:
        """Start to follow the kernel of a record."""
        since = datetime.fromisoformat(record.running_since) if record.running_since else None
        self._follower.add(KernelRef(record.kernel, record.version), since)

    def _record_start(self, event: KernelEvent) -> None:
        """Record when a kernel was first seen running, and call ``on_event``."""
        if isinstance(event, KernelStateChanged) and event.since is not None:
            record = self._record_of(event.kernel)
            if record.running_since is None:
                since = event.since.isoformat()
                records.write_record(self._runs_dir, replace(record, running_since=since))
        self._on_event(event)

    def _end(self, ended: KernelEnded) -> None:
        """Record how a kernel ended.

        Raises
        ------
        KernelError
            The kernel failed or was cancelled.
        """
        record = self._record_of(ended.kernel)
        complete = ended.status.state == "complete"
        if record.state == "pushed":  # Keep later states, such as "submitted".
            records.write_record(
                self._runs_dir, replace(record, state="complete" if complete else "failed")
            )
        if complete:
            if record.shard is not None and record.state == "pushed":
                self._check_shard(replace(record, state="complete"))
            return
        line = failures.explain_failure(
            ended.kernel, ended.status, ended.lines, format_duration(ended.seconds)
        )
        advice = f"; complete log: `fkd-kaggle kernel logs {record.name}`"
        if self._follower.busy:
            advice += (
                "; the other kernels of the run continue: repeat the command to follow them and to "
                "push the failed kernel again"
            )
        raise KernelError(line + advice)

    def _check_shard(self, record: KernelRecord) -> None:
        """Check that an ended shard can be blended with the shards that have ended before.

        Raises
        ------
        KernelError
            It cannot; it is pushed again when the command is repeated.
        """
        others = [one for one in self.pusher.own_records() if one.run == record.run]
        try:
            warning = check_ended_shard(self._competition, record, others, self._runs_dir)
        except KernelError:
            records.write_record(self._runs_dir, replace(record, state="failed"))
            raise
        except CompetitionError as error:
            warning = f"its versions could not be checked: {error}"
        if warning:
            self._on_event(KernelWarning(record.kernel, warning))

    def _record_of(self, kernel: str) -> KernelRecord:
        """Return the record of the kernel "owner/slug"."""
        return next(record for record in self.pusher.own_records() if record.kernel == kernel)
