"""What training tells whoever watches: plain values, no printing.

``ensemble.train`` calls ``on_event`` with these; ``display`` turns them into a live terminal view
or into plain lines for a kernel's log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from fkd_kaggle.runs.scores import Scores


@dataclass(frozen=True)
class EnsembleStarted:
    """Training begins, or is taken up again where an interrupted run stopped."""

    run: str
    members: tuple[str, ...]
    finished: int
    """Members that an earlier call already finished."""
    faces: int
    precision: str
    seconds_limit: float | None


@dataclass(frozen=True)
class MemberStarted:
    """One recipe begins on one fold."""

    member: str
    recipe: str
    fold: int
    position: int
    """Its place among the ensemble's members, from 0."""
    parameters: int
    training_faces: int
    validation_faces: int
    resumed_epoch: int
    """Epochs an earlier call already trained; 0 for a fresh start."""
    note: str = ""
    """Where its first weights come from, for architectures that begin with trained ones."""


@dataclass(frozen=True)
class StepEnded:
    """A few optimiser steps went by; sent about twice a second, not for every step."""

    member: str
    epoch: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    seconds_left: float
    """Estimate for this member."""


@dataclass(frozen=True)
class EpochEnded:
    """One epoch is over. ``rmse`` is in pixels on validation faces, None when not evaluated."""

    member: str
    epoch: int
    """Epochs trained so far, from 1."""
    epochs: int
    loss: float
    rmse: float | None
    best_rmse: float | None
    learning_rate: float
    images_per_second: float
    seconds: float
    seconds_left: float


@dataclass(frozen=True)
class MemberEnded:
    """A member is trained and its out-of-fold predictions are stored."""

    member: str
    rmse: float
    """Pixels, on its held-out fold, flip-averaged, in the lookup table's proportions."""
    seconds: float
    stopped: str
    """Why it ended: "finished", "early stopping", "time limit" or "interrupted"."""


@dataclass(frozen=True)
class MemberFailed:
    """A member could not be trained; the others go on, and the blend does without it."""

    member: str
    reason: str


@dataclass(frozen=True)
class EnsembleEnded:
    """The blend is fitted and the run is usable."""

    scores: Scores
    finished: int
    members: int
    seconds: float
    stopped: str


Event = (
    EnsembleStarted
    | MemberStarted
    | StepEnded
    | EpochEnded
    | MemberEnded
    | MemberFailed
    | EnsembleEnded
)

OnEvent = Callable[[Event], None]


def ignore_events(_: Event) -> None:
    """Watch nothing."""


def serialize_events(on_event: OnEvent) -> OnEvent:
    """Return a callback that several threads may call."""
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock:
            on_event(event)

    return tell
