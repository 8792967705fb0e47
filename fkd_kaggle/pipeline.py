"""The steps between Kaggle and the networks: fetched data on disk, a submission file from a run.

What `fetch`, `predict`, `submit`, the rehearsal and the kernel have in common. Talks to Kaggle only
through the ``Competition`` it is given; prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle import archive, ensemble, faces, files, submission
from fkd_kaggle.errors import DataError
from fkd_kaggle.faces import Faces, Lookup
from fkd_kaggle.keypoints import COMPLETE, PARTIAL_SOURCE
from fkd_kaggle.run import Run
from fkd_kaggle.submission import Submission

if TYPE_CHECKING:
    # Not imported at run time: inside a kernel there may be no Kaggle client.
    from fkd_kaggle.competition import Competition, SubmissionRecord
    from fkd_kaggle.kaggle_download import OnProgress


@dataclass(frozen=True)
class DataSummary:
    """What a checked data folder holds."""

    complete: int
    """Training faces of the complete source."""
    partial: int
    test_complete: int
    test_partial: int
    asked: int
    """Values the lookup table asks for."""


def is_fetched(data_dir: Path) -> bool:
    """Say whether all of the competition's files are unpacked in ``data_dir``."""
    return all((data_dir / name).is_file() for name in archive.CONTENTS[:3])


def fetch(
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
    return check(data_dir)


def check(data_dir: Path) -> DataSummary:
    """Read everything in a data folder, which also fills the cache, and say what it holds."""
    training, test, lookup = (
        faces.read_training(data_dir),
        faces.read_test(data_dir),
        faces.read_lookup(data_dir),
    )
    faces.check_lookup(lookup, test.ids)
    own, asked = training.sources, lookup.sources(test.ids)
    return DataSummary(
        int((own == COMPLETE).sum()), int((own == PARTIAL_SOURCE).sum()),
        int((asked == COMPLETE).sum()), int((asked == PARTIAL_SOURCE).sum()),
        len(lookup.row_ids),
    )  # fmt: skip


def write_submission(
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
    test, lookup = read_questions(data_dir)
    predictions = ensemble.predict(run, data_dir, test, lookup.sources(test.ids), on_progress)
    answer = submission.build(predictions, test.ids, lookup)
    return _write(answer, lookup, Run.open(run.path), submissions_dir)


def adopt_submission(csv: Path, run: Run, data_dir: Path, submissions_dir: Path) -> Path:
    """Take a submission that a kernel wrote with ``run`` among ours, once it is checked.

    Raises
    ------
    SubmissionError
        Says which row is wrong.
    """
    lookup = faces.read_lookup(data_dir)
    return _write(submission.read(csv), lookup, run, submissions_dir)


def read_questions(data_dir: Path) -> tuple[Faces, Lookup]:
    """Return the test faces and what is asked of them, once they fit each other."""
    test, lookup = faces.read_test(data_dir), faces.read_lookup(data_dir)
    faces.check_lookup(lookup, test.ids)
    return test, lookup


def check_submission(path: Path, data_dir: Path) -> None:
    """Refuse a submission file that Kaggle would not score.

    Raises
    ------
    SubmissionError
        Says which row is wrong.
    """
    submission.validate(submission.read(path), faces.read_lookup(data_dir))


def upload(
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


def mean_submission(data_dir: Path, target: Path) -> None:
    """Write the submission that answers every question with the training labels' mean.

    The yardstick of a rehearsal: what one scores without looking at a face.
    """
    training = faces.read_training(data_dir)
    lookup = faces.read_lookup(data_dir)
    means = np.nanmean(training.keypoints.reshape(len(training.ids), -1), axis=0)
    if np.isnan(means).any():
        raise DataError(f"{data_dir / 'training.csv'} has a keypoint that no row labels")
    rows = zip(lookup.row_ids.tolist(), means[lookup.features].tolist(), strict=True)
    files.write_text(target, "RowId,Location\n" + "".join(f"{r},{v:.5f}\n" for r, v in rows))


def _write(answer: Submission, lookup: Lookup, run: Run, submissions_dir: Path) -> Path:
    """Write a validated submission with a note of the run it came from."""
    submission.validate(answer, lookup)
    notes = {
        "recipes": run.info["recipes"],
        "scores": asdict(run.scores) if run.scores else None,
        "data": run.info["data"],
    }
    return submission.write(answer, submissions_dir, run.name, datetime.now(UTC), notes)
