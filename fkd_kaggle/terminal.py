"""What commands have in common: the console, lines for people, the door to Kaggle, the score."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.competition import Competition, SubmissionRecord

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

OnWait = Callable[[float], None]


def console() -> Console:
    """Return the console; a log or a pipe has no width to keep to, rich would assume 80 columns."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def say(console: Console, line: str) -> None:
    """Print a line as it is: no colours for numbers, no breaks in paths."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)


def competition(console: Console) -> Competition:
    """Open the door to Kaggle; waits for a busy Kaggle are told."""
    from fkd_kaggle.competition import Competition
    from fkd_kaggle.kaggle_client import Patience

    def waiting(what: str, seconds: float) -> None:
        say(console, f"{what}: no luck yet, trying again in {seconds:.0f} s")

    return Competition.open(patience=Patience(on_wait=waiting))


def upload(
    console: Console,
    competition: Competition,
    path: Path,
    expected: float | None,
    send: Callable[[OnWait], SubmissionRecord],
) -> None:
    """Submit ``path`` by ``send``, which waits for the score, and print what came of it."""
    with console.status(f"uploading {path.name}…") as status:
        record = send(lambda waited: status.update(f"waiting for the score, {waited:.0f} s…"))
    say(console, score_line(record, expected))
    left = competition.submissions_left()
    if left is not None:
        say(console, f"submissions left today: {left}")


def score_line(record: SubmissionRecord, expected: float | None) -> str:
    """Return what Kaggle made of a submission, beside what was expected."""
    from fkd_kaggle.tables import pixels

    if record.public_score is None and record.private_score is None:
        line = "taken, but not scored: this Kaggle has no answers to its test set"
    else:
        line = f"score: {pixels(record.public_score)} public"
        if record.private_score is not None:
            line += f", {pixels(record.private_score)} private"
    return line if expected is None else f"{line} (expected {pixels(expected)})"
