"""The connection to Kaggle for commands: waiting messages, uploads and scores."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import print_line
from fkd_kaggle.errors import CompetitionError

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.kaggle_api.competition import Competition
    from fkd_kaggle.kaggle_api.submissions import SubmissionRecord

OnWait = Callable[[float], None]
"""Called with the seconds that have passed while waiting for a score."""


def connect_competition(console: Console) -> Competition:
    """Return the competition on Kaggle; print a line before each repeated request.

    Raises
    ------
    CompetitionError
        Credentials are missing or invalid, or Kaggle cannot be reached.
    """
    from fkd_kaggle.kaggle_api.competition import Competition
    from fkd_kaggle.kaggle_api.retry import RetryPolicy

    def print_retry(problem: str, seconds: float) -> None:
        print_line(console, f"{problem}: trying again in {seconds:.0f} s")

    return Competition.open(retry_policy=RetryPolicy(on_wait=print_retry))


def upload_and_report(
    console: Console,
    competition: Competition,
    path: Path,
    expected: float | None,
    submit: Callable[[OnWait], SubmissionRecord],
    submissions_dir: Path,
    *,
    yes: bool = False,
) -> None:
    """Submit a file and print its score and the number of submissions left.

    Asks first if the run is known not to be better than a constant predictor, and if a file with
    the same content was submitted before: Kaggle accepts few submissions a day.

    Parameters
    ----------
    console
        Where to print.
    competition
        The competition on Kaggle.
    path
        The submission file.
    expected
        The expected score in pixels; None if it is unknown.
    submit
        Submits the file and waits for its score.
    submissions_dir
        Folder of the files that were submitted before.
    yes
        Whether to submit without asking.

    Raises
    ------
    FkdError
        The user does not confirm, or there is no terminal to ask on.
    CompetitionError
        Kaggle refuses, cannot be reached or cannot score the file.
    """
    from fkd_kaggle import pipeline
    from fkd_kaggle.runs.scores import constant_warning

    scores = pipeline.submission_scores(path)
    if scores is not None and scores.is_constant:
        print_line(console, f"{path.name} is {constant_warning(scores)}")
        options.confirm("Submit it anyway?", yes=yes)
    if not yes:
        earlier = pipeline.find_earlier_submission(competition, path, submissions_dir)
        if earlier is not None:
            print_line(
                console, f"{path.name} has the content of a submission of {_describe(earlier)}"
            )
            options.confirm("Submit the same file again?", yes=False)
    with console.status(f"uploading {path.name}…") as status:
        record = submit(lambda waited: status.update(f"waiting for the score, {waited:.0f} s…"))
    print_line(console, format_score(record, expected))
    # The submission is complete: the command succeeds without this line.
    with suppress(CompetitionError):
        left = competition.submissions_left()
        if left is not None:
            print_line(console, f"submissions left today: {left}")


def format_score(record: SubmissionRecord, expected: float | None) -> str:
    """Return a line with the scores of a submission and the expected score."""
    from fkd_kaggle.formatting import format_pixels

    if record.public_score is None and record.private_score is None:
        line = "accepted, but not scored: this Kaggle has no solution of its test set"
    else:
        line = f"score: {format_pixels(record.public_score)} public"
        if record.private_score is not None:
            line += f", {format_pixels(record.private_score)} private"
    return line if expected is None else f"{line} (expected {format_pixels(expected)})"


def _describe(record: SubmissionRecord) -> str:
    """Return when a submission was made, and its scores."""
    from fkd_kaggle.formatting import format_time

    is_pending = record.status != "complete" and record.public_score is None
    score = "not scored yet" if is_pending else format_score(record, None)
    return f"{format_time(record.submitted)} UTC as {record.file_name}, {score}"
