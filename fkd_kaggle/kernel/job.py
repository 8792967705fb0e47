"""What is trained on Kaggle: the job that a user orders and the task of each of its kernels.

Values that are stored as JSON, in records beside the runs and in the scripts of kernels. Builds and
trains nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from fkd_kaggle.ensemble.shards import select_members
from fkd_kaggle.errors import KernelError
from fkd_kaggle.formatting import format_duration
from fkd_kaggle.kernel.machines import ACCELERATOR
from fkd_kaggle.recipes.plans import Member, Plan

RECIPE: Final = "winning"
"""The ensemble that is trained on Kaggle if the user names none."""

SESSION_LIMIT: Final = 9 * 3600.0
"""Seconds. The API does not tell the limit of a session: the client's source speaks of 12 hours,
Kaggle's pages of 9 hours for TPUs. A session that Kaggle ends leaves no output, so the default is
the shorter time. Option ``--session-limit``."""

LONGEST_SESSION: Final = 12 * 3600.0
"""Seconds. "A Kaggle notebook runs for at most 12 hours" (source of the client 2.2.5)."""

SHORTEST_SESSION: Final = 600.0
"""Seconds. A shorter session leaves no time beside the start of TensorFlow and the report."""


@dataclass(frozen=True)
class KernelJob:
    """A training ordered from Kaggle."""

    plan: Plan
    shards: int = 1
    """Number of kernels that share the members. With two or more, one more kernel blends the
    members they trained."""
    accelerator: str = ACCELERATOR
    title: str | None = None
    """Title of the kernel; None for a title made from the name of the run."""
    session_limit: float = SESSION_LIMIT
    """Seconds after which Kaggle may end a session; the training ends before."""
    notebook: bool = False
    """Whether the kernels are notebooks instead of scripts."""
    corrections: str = ""
    """Text of the corrections.csv that the members are trained with; empty for none."""

    def digest(self, *, practice: bool = False) -> str:
        """Return 16 hexadecimal digits that identify the training.

        Descriptions and measured values of recipes do not affect the digest, so a job read from
        the record of an earlier version has the same digest as the same job ordered now.

        Parameters
        ----------
        practice
            Whether the job is for a practice Kaggle, whose kernels Kaggle does not know.
        """
        ensemble = asdict(self.plan.ensemble)
        for key in ("description", "publication", "reached"):
            ensemble.pop(key, None)
        ensemble["members"] = [
            [line.recipe.name, line.recipe.digest, line.share, line.seeds]
            for line in self.plan.ensemble.members
        ]
        values: list[Any] = [
            ensemble,
            [self.plan.seed, self.plan.precision, self.plan.time_limit],
            [self.shards, self.accelerator, self.title],
            practice,
        ]
        # Added later: the defaults leave the digests of earlier versions unchanged.
        if self.session_limit != SESSION_LIMIT or self.notebook:
            values.append([self.session_limit, self.notebook])
        if self.corrections:
            values.append(self.corrections)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KernelJob:
        """Return the job that ``to_dict`` of this or an earlier version wrote."""
        return cls(**{**values, "plan": Plan.from_dict(values["plan"])})


@dataclass(frozen=True)
class KernelTask:
    """What one kernel of a job does: it trains all members or a shard, or blends the shards."""

    plan: Plan
    run_name: str
    """Name of the run folder that the kernel leaves in its working folder."""
    shard: int | None = None
    """Index of the shard that the kernel trains; None for all members, or for the blend."""
    shards: int = 1
    gather: tuple[str, ...] = ()
    """Kernels ("owner/slug") whose members this kernel blends; empty for a kernel that trains."""
    session_limit: float = SESSION_LIMIT
    """Seconds after the kernel's start by which all output must be written."""
    corrections: str = ""
    """Text of the corrections.csv that the members are trained with; empty for none."""

    @property
    def members(self) -> tuple[Member, ...]:
        """Return the members that the kernel trains or blends, in training order."""
        members = self.plan.members
        if self.shard is None:
            return members
        return select_members(members, self.shard, self.shards)

    @property
    def submits(self) -> bool:
        """Return whether the kernel writes a submission; a shard does not."""
        return self.shard is None

    def to_json(self) -> str:
        """Return the task as indented JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> KernelTask:
        """Return the task that ``to_json`` of this or an earlier version wrote."""
        values: dict[str, Any] = json.loads(text)
        plan = Plan.from_dict(values["plan"])
        return cls(**{**values, "plan": plan, "gather": tuple(values["gather"])})


def training_time(session_limit: float) -> float:
    """Return the seconds of a session in which networks are trained.

    The rest is for the blend, the submission and the report.
    """
    return session_limit - min(300.0, 0.1 * session_limit)


def check_session_limit(seconds: float) -> None:
    """Check the limit of a session.

    Raises
    ------
    KernelError
        The limit is too short for a training, or longer than Kaggle's.
    """
    if not SHORTEST_SESSION <= seconds <= LONGEST_SESSION:
        raise KernelError(
            f"--session-limit {format_duration(seconds)}: a session takes "
            f"{SHORTEST_SESSION / 60:g} min to {LONGEST_SESSION / 3600:g} h"
        )


def shard_tasks(task: KernelTask, shards: int) -> list[KernelTask]:
    """Split a task into tasks that each train a part of its members.

    Parameters
    ----------
    task
        The task of training all members.
    shards
        Number of tasks.

    Raises
    ------
    KernelError
        There are more shards than members, or none.
    """
    count = len(task.plan.members)
    if not 1 <= shards <= count:
        raise KernelError(
            f"{shards} shards for {count} networks: each kernel needs at least one network, "
            f"so ask for 1 to {count} with --shards"
        )
    return [replace(task, shard=shard, shards=shards) for shard in range(shards)]


def blend_task(task: KernelTask, kernels: Sequence[str]) -> KernelTask:
    """Return the task of blending the members that ``kernels`` ("owner/slug" each) trained."""
    return replace(task, shard=None, shards=len(kernels), gather=tuple(kernels))
