"""Collect the output of an ended kernel: download, check and submit the output.

Each step is recorded before the next step, so that an interrupted command resumes where it stopped
and nothing is downloaded or submitted twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from fkd_kaggle import pipeline
from fkd_kaggle.errors import CompetitionError, KernelError
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.submissions import SubmissionRecord
from fkd_kaggle.kernel import records
from fkd_kaggle.kernel.records import KernelRecord
from fkd_kaggle.runs.folder import Run, is_run, is_same_run

SUBMISSION: Final = "submission.csv"
"""Name of the submission file that a kernel writes."""


@dataclass(frozen=True)
class CollectedRun:
    """A run that was trained on Kaggle and downloaded."""

    run: Run
    """The run in the folder of the runs."""
    csv: Path
    """The submission file that the kernel wrote."""
    log: Path
    """The kernel's log."""
    record: KernelRecord
    """The kernel's record."""

    @property
    def expected(self) -> float | None:
        """Return the run's expected score in pixels, or None if it has no scores."""
        return self.run.scores.expected if self.run.scores else None


def collect_output(competition: Competition, record: KernelRecord, runs_dir: Path) -> CollectedRun:
    """Download the output of an ended kernel, unless an earlier call has downloaded it.

    The run is moved to ``runs_dir``, the submission and the log to the folder of the record. Files
    that an interrupted call has downloaded are not downloaded again.

    Parameters
    ----------
    competition
        The session with Kaggle.
    record
        Record of the kernel.
    runs_dir
        Folder of the runs.

    Returns
    -------
    CollectedRun
        The downloaded run.

    Raises
    ------
    KernelError
        The kernel left no run or no submission, or another run has the same name.
    CompetitionError
        Kaggle refuses or cannot be reached.
    """
    folder = records.record_folder(runs_dir, record)
    csv, log = folder / SUBMISSION, folder / f"{record.name}.log"
    if not record.has_output:
        fetched = folder / f"v{record.version}"
        paths = competition.kernel_output(record.kernel, fetched, record.version, keep=True)
        if (fetched / log.name).exists():
            (fetched / log.name).replace(log)
        output = sorted(path.name for path in paths if path.name != log.name)
        _move_run(fetched / record.run, runs_dir / record.run, record, output)
        if not (fetched / SUBMISSION).exists() and not csv.exists():
            raise KernelError(
                f"kernel {record.kernel} ended without a {SUBMISSION}; its run was downloaded, and "
                f"`fkd-kaggle submit {record.run}` predicts on this machine (log: {log})"
            )
        if (fetched / SUBMISSION).exists():
            (fetched / SUBMISSION).replace(csv)
        record = records.write_record(runs_dir, replace(record, state="collected"))
        shutil.rmtree(fetched, ignore_errors=True)
    return CollectedRun(Run.open(runs_dir / record.run), csv, log, record)


def adopt_submission(
    collected: CollectedRun, runs_dir: Path, data_dir: Path, submissions_dir: Path
) -> Path:
    """Check the kernel's submission and copy it to ``submissions_dir``, if not done before.

    Parameters
    ----------
    collected
        The downloaded run.
    runs_dir, data_dir, submissions_dir
        Folders of the runs, of the competition's files and of the submissions.

    Returns
    -------
    Path
        The submission file in ``submissions_dir``.

    Raises
    ------
    SubmissionError
        The submission does not fit the lookup table.
    """
    record = collected.record
    if record.submission is not None and (submissions_dir / record.submission).exists():
        return submissions_dir / record.submission
    path = pipeline.adopt_submission(collected.csv, collected.run, data_dir, submissions_dir)
    records.write_record(runs_dir, replace(record, submission=path.name))
    return path


def submit_collected(
    competition: Competition,
    collected: CollectedRun,
    path: Path,
    runs_dir: Path,
    message: str,
    on_wait: Callable[[float], None] = lambda waited: None,
) -> SubmissionRecord:
    """Submit the kernel's submission and wait for its score.

    The kernel's version is submitted if the competition accepts code submissions; otherwise the
    file is uploaded. A submission that an interrupted call has made is not repeated.

    Parameters
    ----------
    competition
        The session with Kaggle.
    collected
        The downloaded run.
    path
        The submission file, as :func:`adopt_submission` returned it.
    runs_dir
        Folder of the runs.
    message
        Description of the submission.
    on_wait
        Called with the seconds waited so far.

    Returns
    -------
    SubmissionRecord
        The scored submission.

    Raises
    ------
    CompetitionError
        Kaggle refuses, cannot be reached, or cannot score the submission.
    """
    record = collected.record

    def send() -> int:
        # The file is recorded before it is submitted: without a record, search no submission.
        earlier = (
            _find_submission(competition, record, message)
            if record.submission == path.name
            else None
        )
        return earlier or _send(competition, record, path, message)

    scored = pipeline.upload_submission(competition, path, message, on_wait, send=send)
    records.write_record(runs_dir, replace(record, submission=path.name, state="submitted"))
    return scored


def _move_run(fetched: Path, target: Path, record: KernelRecord, output: Sequence[str]) -> None:
    """Move a downloaded run to ``target``, unless an interrupted call has moved it.

    Raises
    ------
    KernelError
        ``fetched`` is no run, or another run is at ``target``.
    """
    if not is_run(fetched):
        raise KernelError(
            f"kernel {record.kernel} ended without the run {record.run} (its output: "
            f"{', '.join(output[:5]) or 'nothing'}): see "
            f"`fkd-kaggle kernel logs {record.name}`"
        )
    if target.exists():
        if is_same_run(target, fetched):
            return
        raise KernelError(f"{target} exists already: move it away, then run the command again")
    target.parent.mkdir(parents=True, exist_ok=True)
    fetched.replace(target)


def _find_submission(competition: Competition, record: KernelRecord, message: str) -> int | None:
    """Return the number of a submission with ``message`` made after the push, or None."""
    pushed = datetime.fromisoformat(record.pushed)
    for submitted in competition.submissions():
        same = submitted.message == message and submitted.status != "error"
        if same and submitted.submitted is not None and submitted.submitted >= pushed:
            return submitted.ref
    return None


def _send(competition: Competition, record: KernelRecord, path: Path, message: str) -> int:
    """Submit the kernel's version, or upload the file; return the submission's number."""
    try:
        return competition.submit_kernel(record.kernel, record.version, SUBMISSION, message)
    except CompetitionError as error:
        if error.status not in (400, 403, 404, 405, 409, 501):
            raise
    # The competition accepts only uploaded files, or no submission from this kernel.
    return competition.submit(path, message)
