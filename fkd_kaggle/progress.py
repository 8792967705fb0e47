"""How far a member is: the note beside its checkpoint.

Apart from ``training``, because who only asks should not have to wait for TensorFlow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


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
