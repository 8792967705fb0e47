"""The steps between Kaggle and the networks: fetched data on disk, a submission file from a run.

What `fetch`, `predict`, `submit`, the rehearsal and the kernel have in common. Talks to Kaggle only
through the ``Competition`` it is given; prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fkd_kaggle.data import archive, dataset, submission
from fkd_kaggle.data.dataset import DataSummary, check_data_folder, read_test_and_lookup
from fkd_kaggle.data.faces import Lookup
from fkd_kaggle.data.submission import Submission
from fkd_kaggle.ensemble import prediction
from fkd_kaggle.runs.folder import Run

if TYPE_CHECKING:
    from fkd_kaggle.kaggle_api.competition import Competition, SubmissionRecord
    from fkd_kaggle.kaggle_api.download import OnProgress


def is_fetched(data_dir: Path) -> bool:
    """Say whether all of the competition's files are unpacked in ``data_dir``."""
    return all((data_dir / name).is_file() for name in archive.CONTENTS[:3])


def fetch_data(
    competition: Competition,
    data_dir: Path,
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> DataSummary:
    """Download, unpack and check the competition's files.

    Raises
    ------
    CompetitionError
        Kaggle refuses or cannot be reached.
    DataError
        What came is damaged or not in the competition's format.
    """
    downloaded = competition.download(data_dir, on_progress, force=force)
    archive.unpack(downloaded, data_dir)
    return check_data_folder(data_dir)


def write_run_submission(
    run: Run,
    data_dir: Path,
    submissions_dir: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Predict the test faces with a run and write the validated submission file.

    Raises
    ------
    DataError
        Test set and lookup table are missing or do not fit each other.
    RunError
        The run is of other data or has nothing usable.
    """
    test, lookup = read_test_and_lookup(data_dir)
    predictions = prediction.predict_run(
        run, data_dir, test, lookup.annotators(test.ids), on_progress
    )
    answer = submission.build_submission(predictions, test.ids, lookup)
    return _write(answer, lookup, Run.open(run.path), submissions_dir)


def adopt_submission(csv: Path, run: Run, data_dir: Path, submissions_dir: Path) -> Path:
    """Take a submission that a kernel wrote with ``run`` among ours, once it is checked.

    Raises
    ------
    SubmissionError
        Says which row is wrong.
    """
    lookup = dataset.read_lookup(data_dir)
    return _write(submission.read_submission(csv), lookup, run, submissions_dir)


def check_submission(path: Path, data_dir: Path) -> None:
    """Refuse a submission file that Kaggle would not score.

    Raises
    ------
    SubmissionError
        Says which row is wrong.
    """
    submission.validate_submission(submission.read_submission(path), dataset.read_lookup(data_dir))


def upload_submission(
    competition: Competition,
    path: Path,
    message: str,
    on_wait: Callable[[float], None] = lambda waited: None,
    *,
    send: Callable[[], int] | None = None,
) -> SubmissionRecord:
    """Upload a submission file, wait for its score and note it beside the file.

    ``send``, where given, submits it in another way and returns Kaggle's number for it.
    """
    ref = send() if send is not None else competition.submit(path, message)
    submission.record_score(path, ref=ref, public_score=None, private_score=None)
    record = competition.wait_for_score(ref, on_wait=on_wait)
    submission.record_score(
        path, ref=ref, public_score=record.public_score, private_score=record.private_score
    )
    return record


def _write(answer: Submission, lookup: Lookup, run: Run, submissions_dir: Path) -> Path:
    """Write a validated submission with a note of the run it came from."""
    submission.validate_submission(answer, lookup)
    notes = {
        "recipes": run.info["recipes"],
        "scores": asdict(run.scores) if run.scores else None,
        "data": run.info["data"],
    }
    return submission.write_submission(answer, submissions_dir, run.name, datetime.now(UTC), notes)
