"""What commands have in common: the console, lines for people, the door to Kaggle, the score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fkd_kaggle.display.console import print_line

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.kaggle_api.competition import Competition, SubmissionRecord

OnWait = Callable[[float], None]


def connect_competition(console: Console) -> Competition:
    """Open the door to Kaggle; waits for a busy Kaggle are told."""
    from fkd_kaggle.kaggle_api.client import RetryPolicy
    from fkd_kaggle.kaggle_api.competition import Competition

    def waiting(what: str, seconds: float) -> None:
        print_line(console, f"{what}: no luck yet, trying again in {seconds:.0f} s")

    return Competition.open(patience=RetryPolicy(on_wait=waiting))


def upload_and_report(
    console: Console,
    competition: Competition,
    path: Path,
    expected: float | None,
    send: Callable[[OnWait], SubmissionRecord],
) -> None:
    """Submit ``path`` by ``send``, which waits for the score, and print what came of it."""
    with console.status(f"uploading {path.name}…") as status:
        record = send(lambda waited: status.update(f"waiting for the score, {waited:.0f} s…"))
    print_line(console, format_score(record, expected))
    left = competition.submissions_left()
    if left is not None:
        print_line(console, f"submissions left today: {left}")


def format_score(record: SubmissionRecord, expected: float | None) -> str:
    """Return what Kaggle made of a submission, beside what was expected."""
    from fkd_kaggle.formatting import format_pixels

    if record.public_score is None and record.private_score is None:
        line = "taken, but not scored: this Kaggle has no answers to its test set"
    else:
        line = f"score: {format_pixels(record.public_score)} public"
        if record.private_score is not None:
            line += f", {format_pixels(record.private_score)} private"
    return line if expected is None else f"{line} (expected {format_pixels(expected)})"
