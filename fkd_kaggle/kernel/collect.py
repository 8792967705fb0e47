"""What an ended kernel left: brought here, checked, submitted.

Each step is noted before the next: a call that was interrupted is taken up by the next one, and
nothing is fetched or submitted twice.
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
from fkd_kaggle.kaggle_api.competition import Competition, SubmissionRecord
from fkd_kaggle.kernel import records
from fkd_kaggle.kernel.records import KernelRecord
from fkd_kaggle.runs.folder import Run, is_run, is_same_run

SUBMISSION: Final = "submission.csv"
"""What a kernel calls its answer."""


@dataclass(frozen=True)
class CollectedRun:
    """What a kernel trained, here."""

    run: Run
    csv: Path
    """The submission it wrote."""
    log: Path
    record: KernelRecord

    @property
    def expected(self) -> float | None:
        """The run's own estimate of its score."""
        return self.run.scores.expected if self.run.scores else None


def collect_output(competition: Competition, record: KernelRecord, runs_dir: Path) -> CollectedRun:
    """Bring what an ended kernel left: the run to ``runs_dir``, submission and log beside the note.

    What an earlier, interrupted call has fetched is not fetched again.

    Raises
    ------
    KernelError
        It left no run or no submission.
    """
    place = records.record_folder(runs_dir, record)
    csv, log = place / SUBMISSION, place / f"{record.name}.log"
    if record.state not in ("collected", "submitted"):
        fetched = place / f"v{record.version}"
        paths = competition.kernel_output(record.kernel, fetched, keep=True)
        if (fetched / log.name).exists():
            (fetched / log.name).replace(log)
        left = sorted(path.name for path in paths if path.name != log.name)
        _take_run(fetched / record.run, runs_dir / record.run, record, left)
        if not (fetched / SUBMISSION).exists() and not csv.exists():
            raise KernelError(
                f"kernel {record.kernel} ended without a {SUBMISSION}; what it trained is here: "
                f"`fkd-kaggle submit {record.run}` predicts on this machine (its log: {log})"
            )
        if (fetched / SUBMISSION).exists():
            (fetched / SUBMISSION).replace(csv)
        record = records.write_record(runs_dir, replace(record, state="collected"))
        shutil.rmtree(fetched, ignore_errors=True)
    return CollectedRun(Run.open(runs_dir / record.run), csv, log, record)


def adopt_submission(
    collected: CollectedRun, runs_dir: Path, data_dir: Path, submissions_dir: Path
) -> Path:
    """Take the kernel's submission among ours, checked and noted; once."""
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
    """Submit what a kernel wrote and wait for its score.

    As that kernel's version where the competition takes code submissions, else by uploading
    ``path``. What an interrupted call has submitted is not submitted again.
    """
    record = collected.record

    def send() -> int:
        # Only where an earlier call noted the file can it have submitted it.
        earlier = (
            _find_submission(competition, record, message)
            if record.submission == path.name
            else None
        )
        return earlier or _send(competition, record, path, message)

    scored = pipeline.upload_submission(competition, path, message, on_wait, send=send)
    records.write_record(runs_dir, replace(record, submission=path.name, state="submitted"))
    return scored


def _take_run(fetched: Path, target: Path, record: KernelRecord, left: Sequence[str]) -> None:
    """Move a fetched run to its place."""
    if not is_run(fetched):
        raise KernelError(
            f"kernel {record.kernel} ended without the run {record.run} (it left "
            f"{', '.join(left[:5]) or 'nothing'}): see "
            f"`fkd-kaggle kernel logs {record.name}`"
        )
    if target.exists():
        if is_same_run(target, fetched):
            return  # an earlier call was interrupted just after this
        raise KernelError(f"{target} exists already: move it away, then run the command again")
    target.parent.mkdir(parents=True, exist_ok=True)
    fetched.replace(target)


def _find_submission(competition: Competition, record: KernelRecord, message: str) -> int | None:
    """Return Kaggle's number for a submission with ``message`` since the kernel was pushed."""
    pushed = datetime.fromisoformat(record.noted)
    for one in competition.submissions():
        ours = one.message == message and one.status != "error"
        if ours and one.submitted is not None and one.submitted >= pushed:
            return one.ref
    return None


def _send(competition: Competition, record: KernelRecord, path: Path, message: str) -> int:
    try:
        return competition.submit_kernel(record.kernel, record.version, SUBMISSION, message)
    except CompetitionError as error:
        if error.status not in (400, 403, 404, 405, 409, 501):
            raise
    # This competition takes files only, or not from this kernel.
    return competition.submit(path, message)
