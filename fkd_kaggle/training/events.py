"""Progress events of training: plain values.

``ensemble.fitting`` calls ``on_event`` with them; ``display.training`` shows them. This module
prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fkd_kaggle.runs.scores import Scores


@dataclass(frozen=True)
class EnsembleStarted:
    """Training of a run starts or resumes."""

    run: str
    """Name of the run."""
    members: tuple[str, ...]
    """Names of its members."""
    finished: int
    """Number of members that were already finished."""
    faces: int
    """Number of training faces, held-out faces included."""
    precision: str
    """Dtype policy, with the number of workers and devices where there are several."""
    seconds_limit: float | None
    """Time limit; None for none."""


@dataclass(frozen=True)
class MemberStarted:
    """Training of a member starts or resumes."""

    member: str
    recipe: str
    fold: int
    position: int
    """Position among the members of the ensemble, from 0."""
    parameters: int
    """Number of weights of the network."""
    training_faces: int
    validation_faces: int
    resumed_epoch: int
    """Number of epochs that were trained before; 0 for a fresh start."""
    note: str = ""
    """Origin of the initial weights, for architectures that start with pretrained weights."""
    node: str = ""
    """Machine of a cluster on which it is trained; empty on this machine."""


@dataclass(frozen=True)
class StepEnded:
    """A training step ended; sent at most twice a second."""

    member: str
    epoch: int
    """Current epoch, from 1."""
    step: int
    """Finished steps of the epoch."""
    steps: int
    """Steps of each epoch."""
    loss: float
    images_per_second: float
    seconds_left: float
    """Estimate for this member."""


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of a member ended."""

    member: str
    epoch: int
    """Number of trained epochs, from 1."""
    epochs: int
    """Epochs of the recipe."""
    loss: float
    rmse: float | None
    """Pixels, on the validation faces; None without a validation."""
    best_rmse: float | None
    """Pixels; None before the first validation."""
    learning_rate: float
    images_per_second: float
    seconds: float
    """Duration of the epoch without validation."""
    seconds_left: float
    """Estimate for this member."""


@dataclass(frozen=True)
class MemberEnded:
    """A member is trained and its out-of-fold predictions are stored."""

    member: str
    rmse: float
    """Pixels, on the held-out fold, averaged with mirror images and weighted by query counts."""
    seconds: float
    stopped: str
    """Reason: "finished", "early stopping", "time limit" or "interrupted"."""


@dataclass(frozen=True)
class MemberFailed:
    """A member cannot be trained. The others continue, and the blend leaves this member out."""

    member: str
    reason: str


@dataclass(frozen=True)
class Waiting:
    """Machines or slots are not available; nothing is trained, or only on the others."""

    reason: str
    """What the training waits for, or goes on without."""


@dataclass(frozen=True)
class Stopping:
    """All members in training stop at their next checkpoint."""

    reason: str
    """"interrupted" after Ctrl-C, or "time limit"."""


@dataclass(frozen=True)
class EnsembleEnded:
    """The blend is fitted and the run can be used."""

    scores: Scores
    finished: int
    """Number of finished members."""
    members: int
    """Number of members."""
    seconds: float
    stopped: str
    """Status of the run, see ``runs.folder.Run.status``."""


Event = (
    EnsembleStarted
    | MemberStarted
    | StepEnded
    | EpochEnded
    | MemberEnded
    | MemberFailed
    | Stopping
    | Waiting
    | EnsembleEnded
)

OnEvent = Callable[[Event], None]


def ignore_events(_: Event) -> None:
    """Do nothing; the default ``on_event``."""
