"""How far a member is: the note beside its checkpoint.

Apart from ``training``, because who only asks should not have to wait for TensorFlow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run


def member_progress(run: Run, member: Member) -> Progress:
    """Return how far a member's training is."""
    return read_progress(run.member(member.name))


def is_finished(run: Run, member: Member) -> bool:
    """Say whether a member is trained and its held-out predictions are stored."""
    return (run.member(member.name) / "out_of_fold.npz").exists() and bool(
        member_progress(run, member).stopped
    )


def is_usable(run: Run, member: Member) -> bool:
    """Say whether a member has weights, finished or not."""
    return (run.member(member.name) / "best.weights.h5").exists()


@dataclass(frozen=True)
class Progress:
    """How far a member is; kept beside its checkpoint."""

    epoch: int = 0
    seconds: float = 0.0
    best_rmse: float | None = None
    best_epoch: int = 0
    learning_rate: float = 0.0
    stopped: str = ""
    """Why training ended; empty while it may go on."""


def read_progress(folder: Path) -> Progress:
    """Return how far a member's folder is; nothing yet where there is none."""
    try:
        return Progress(**json.loads((folder / "progress.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Progress()
