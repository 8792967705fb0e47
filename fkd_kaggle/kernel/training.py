"""Training on Kaggle: what commands do with kernels that run there.

Everything that happens at Kaggle goes through ``Competition``, what a kernel does is ``inside``'s.
Prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fkd_kaggle.errors import KernelError, RunError
from fkd_kaggle.formatting import format_duration
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kernel import failures, records
from fkd_kaggle.kernel.collect import CollectedRun, collect_output
from fkd_kaggle.kernel.follow import KernelPushed, OnKernelEvent
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.kernel.push import JobSession
from fkd_kaggle.kernel.records import KernelRecord
from fkd_kaggle.runs import folder


def train_on_kaggle(
    competition: Competition,
    order: KernelJob,
    runs_dir: Path,
    on_event: OnKernelEvent,
    *,
    run_name: str | None = None,
    poll: float | None = None,
) -> CollectedRun:
    """Have ``order`` trained on Kaggle and bring what it left to ``runs_dir``.

    Where the same order is under way, also from an earlier process, that is taken up.

    Raises
    ------
    KernelError
        A kernel cannot be built or pushed, fails, or leaves no submission.
    CompetitionError
        Kaggle refuses or cannot be reached.
    """
    name = _name_run(competition, runs_dir, order, run_name)
    session = JobSession(competition, order, runs_dir, on_event, name, poll)
    shards, last = session.pieces
    session.complete(shards)
    session.complete([last])
    return collect_output(competition, session.known(last), runs_dir)


def push_without_waiting(
    competition: Competition,
    order: KernelJob,
    runs_dir: Path,
    on_event: OnKernelEvent,
    run_name: str | None = None,
) -> KernelRecord:
    """Push one kernel for ``order`` and do not wait; where it runs already, push nothing.

    Raises
    ------
    KernelError
        The order has shards: somebody must wait for them to push the blend.
    """
    if order.shards > 1:
        raise KernelError(
            "shards are pushed as Kaggle has room and blended at the end, which takes somebody who "
            "waits: use `fkd-kaggle submit --via kernel --shards …`"
        )
    name = _name_run(competition, runs_dir, order, run_name)
    session = JobSession(competition, order, runs_dir, on_event, name, None)
    record = session.find(session.pieces[1])
    if record is None or record.state in ("pushing", "failed"):
        return session.push(session.pieces[1])
    on_event(KernelPushed(record.kernel, record.version, record.url, True, record.gpu))
    return record


def follow_to_end(
    competition: Competition, noted: Sequence[KernelRecord], runs_dir: Path, on_event: OnKernelEvent
) -> None:
    """Follow kernels that were pushed to their end.

    Raises
    ------
    KernelError
        One failed or was cancelled.
    """
    newest = noted[-1]
    order = KernelJob.from_dict(newest.order)
    session = JobSession(competition, order, runs_dir, on_event, newest.run, None)
    session.watch([record for record in noted if record.run == newest.run])


def describe_kernel(competition: Competition, record: KernelRecord) -> list[str]:
    """Return how a kernel is doing; where it failed, the end of its traceback and why."""
    status = competition.kernel_status(record.kernel)
    state = status.state.replace("_", " ")
    since = ""
    if record.running and not status.finished:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(record.running)).total_seconds()
        since = f" for {format_duration(seconds)}"
    line = f"{record.kernel}, version {record.version}, run {record.run}: {state}{since}"
    if status.state != "error":
        return [line]
    log = [line for one in competition.kernel_logs(record.kernel) for line in one.text.splitlines()]
    why = failures.explain_failure(record.kernel, status, log, "its start")
    return [line, *failures.find_failure(log).tail, why]


def check_succeeded(competition: Competition, record: KernelRecord) -> None:
    """Refuse a kernel that has not come to a good end.

    Raises
    ------
    KernelError
        It still runs, or it failed.
    """
    status = competition.kernel_status(record.kernel)
    if not status.finished:
        raise KernelError(
            f"kernel {record.kernel} is {status.state} and has left nothing yet: wait for it with "
            "`fkd-kaggle kernel logs --follow`"
        )
    if status.state != "complete":
        raise KernelError(describe_kernel(competition, record)[-1])


def _name_run(
    competition: Competition, runs_dir: Path, order: KernelJob, wanted: str | None
) -> str:
    """Return the name of the run under way for an order, else a new one.

    Raises
    ------
    RunError
        There is another run of the wanted name.
    """
    noted = records.read_records(runs_dir)
    practice = competition.practice_url is not None
    under_way = records.records_of_open_run(
        noted, records.job_digest(order.to_dict(), practice=practice)
    )
    if under_way and wanted in (None, under_way[0].run):
        return under_way[0].run
    taken = {one.run for one in noted}
    if wanted is None:
        return folder.next_run_name(runs_dir, order.plan.ensemble.name, taken)
    if (runs_dir / wanted).exists() or wanted in taken:
        raise RunError(f"run {wanted} exists in {runs_dir}: choose another name with --run")
    return wanted
