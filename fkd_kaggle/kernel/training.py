"""Train on Kaggle: the functions behind the commands for kernels.

Calls the modules that push, follow and collect kernels. The code that runs inside a kernel is in
``entry_point``. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fkd_kaggle.data import dataset
from fkd_kaggle.data.corrections import read_corrections
from fkd_kaggle.errors import KernelError, RunError
from fkd_kaggle.formatting import format_duration
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kernel import failures, records
from fkd_kaggle.kernel.collect import CollectedRun, collect_output
from fkd_kaggle.kernel.events import OnKernelEvent
from fkd_kaggle.kernel.job import KernelJob
from fkd_kaggle.kernel.records import KernelRecord
from fkd_kaggle.kernel.session import JobSession
from fkd_kaggle.runs import folder


def train_on_kaggle(
    competition: Competition,
    job: KernelJob,
    runs_dir: Path,
    on_event: OnKernelEvent,
    *,
    run_name: str | None = None,
    poll: float | None = None,
) -> CollectedRun:
    """Train a job on Kaggle and download its run.

    A job that this or an earlier process has pushed is resumed instead of pushed again.

    Parameters
    ----------
    competition
        The session with Kaggle.
    job
        The training.
    runs_dir
        Folder of the runs.
    on_event
        Called with each event.
    run_name
        Name of the run; None to resume an unfinished run of the job, or to choose a new name.
    poll
        Seconds between two requests for a state; None for the default.

    Returns
    -------
    CollectedRun
        The downloaded run.

    Raises
    ------
    KernelError
        A kernel cannot be built or pushed, fails, or leaves no submission.
    CompetitionError
        Kaggle refuses or cannot be reached.
    RunError
        Another run has the given name.
    """
    name = _name_run(competition, runs_dir, job, run_name)
    session = JobSession(competition, job, runs_dir, on_event, name, poll)
    blended = session.pusher.find_record(session.last)
    if blended is None or not blended.has_output:
        session.complete(session.shards)
    session.complete([session.last])
    record = session.pusher.find_record(session.last)
    assert record is not None
    return collect_output(competition, record, runs_dir)


def push_without_waiting(
    competition: Competition,
    job: KernelJob,
    runs_dir: Path,
    on_event: OnKernelEvent,
    run_name: str | None = None,
) -> KernelRecord:
    """Push the kernel of a job without waiting for it, unless it was pushed before.

    A kernel that has failed or was deleted on Kaggle is pushed again.

    Parameters
    ----------
    competition, job, runs_dir, on_event, run_name
        As in :func:`train_on_kaggle`.

    Returns
    -------
    KernelRecord
        The saved record of the kernel.

    Raises
    ------
    KernelError
        The job has shards, and their blend can be pushed only after they have ended; or the kernel
        cannot be built or pushed.
    CompetitionError
        Kaggle refuses or cannot be reached.
    RunError
        Another run has the given name.
    """
    if job.shards > 1:
        raise KernelError(
            "the blend of shards is pushed when they have ended, so a command must wait for them: "
            "use `fkd-kaggle submit --via kernel --shards …`"
        )
    name = _name_run(competition, runs_dir, job, run_name)
    session = JobSession(competition, job, runs_dir, on_event, name)
    record = session.pusher.find_record(session.last)
    if record is None or session.pusher.must_push(session.last):
        return session.pusher.push(session.last)
    if _has_failed(competition, record):
        records.write_record(runs_dir, replace(record, state="failed"))
        return session.pusher.push(session.last)
    session.pusher.report(record, resumed=True)
    return record


def read_corrections_text(path: Path, data_dir: Path) -> str:
    """Return the text of a corrections.csv that fits the training faces, for a job.

    Parameters
    ----------
    path
        The file.
    data_dir
        Folder of the competition's files. Kernels check the corrections again with Kaggle's files.

    Raises
    ------
    DataError
        The file is missing or damaged, does not fit training.csv, or training.csv is missing.
    """
    read_corrections(path, dataset.read_training(data_dir))
    return path.read_text(encoding="utf-8-sig")


def follow_to_end(
    competition: Competition,
    pushed: Sequence[KernelRecord],
    runs_dir: Path,
    on_event: OnKernelEvent,
) -> None:
    """Follow the kernels of the newest run to their end.

    Parameters
    ----------
    competition
        The session with Kaggle.
    pushed
        Records, oldest first; those of the last record's run are followed.
    runs_dir
        Folder of the runs.
    on_event
        Called with each event.

    Raises
    ------
    KernelError
        A kernel failed or was cancelled.
    CompetitionError
        Kaggle refuses or cannot be reached.
    """
    newest = pushed[-1]
    session = JobSession(competition, newest.job, runs_dir, on_event, newest.run)
    session.watch([record for record in pushed if record.run == newest.run])


def describe_kernel(competition: Competition, record: KernelRecord) -> list[str]:
    """Describe a kernel's state.

    Parameters
    ----------
    competition
        The session with Kaggle.
    record
        Record of the kernel.

    Returns
    -------
    list of str
        One line with the state. After a failure, the last lines of the traceback and one line with
        the cause follow.
    """
    status = competition.kernel_status(record.kernel, record.version)
    state = status.state.replace("_", " ")
    since = ""
    if record.running_since and not status.finished:
        started = datetime.fromisoformat(record.running_since)
        since = f" for {format_duration((datetime.now(UTC) - started).total_seconds())}"
    line = f"{record.kernel}, version {record.version}, run {record.run}: {state}{since}"
    if len(record.versions) > 1:
        line += "; versions pushed from here: " + ", ".join(
            f"{one.version} ({one.state})" for one in record.versions
        )
    if status.state != "error":
        return [line]
    log = [
        text
        for item in competition.kernel_logs(record.kernel, record.version)
        for text in item.text.splitlines()
    ]
    cause = failures.explain_failure(record.kernel, status, log, "its start")
    return [line, *failures.find_failure(log).tail, cause]


def check_succeeded(competition: Competition, record: KernelRecord) -> None:
    """Check that a kernel has ended without a failure.

    Parameters
    ----------
    competition
        The session with Kaggle.
    record
        Record of the kernel.

    Raises
    ------
    KernelError
        The kernel still runs, or it failed or was cancelled.
    """
    status = competition.kernel_status(record.kernel, record.version)
    if not status.finished:
        raise KernelError(
            f"kernel {record.kernel} is {status.state} and has no output yet: wait for it with "
            "`fkd-kaggle kernel logs --follow`"
        )
    if status.state != "complete":
        raise KernelError(describe_kernel(competition, record)[-1])


def _has_failed(competition: Competition, record: KernelRecord) -> bool:
    """Return whether a kernel that was running when its record was written has failed since."""
    if record.state != "pushed":
        return False
    status = competition.kernel_status(record.kernel, record.version)
    return status.finished and status.state != "complete"


def _name_run(competition: Competition, runs_dir: Path, job: KernelJob, wanted: str | None) -> str:
    """Return the name of a job's open run, or a name for a new run.

    Raises
    ------
    RunError
        Another run has the wanted name, or it is not valid for a folder.
    """
    known = records.read_records(runs_dir)
    practice = competition.practice_url is not None
    candidates = [record for record in known if wanted in (None, record.run)]
    unfinished = records.records_of_open_run(candidates, job.digest(practice=practice))
    if unfinished:
        return unfinished[0].run
    taken = {record.run for record in known}
    if wanted is None:
        return folder.next_run_name(runs_dir, job.plan.ensemble.name, taken)
    folder.check_run_name(wanted)  # not only in the kernel, where it costs a session
    if (runs_dir / wanted).exists() or wanted in taken:
        raise RunError(f"run {wanted} exists in {runs_dir}: choose another name with --run")
    return wanted
