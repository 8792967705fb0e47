"""What a kernel is told to do: a plan, the share of it that is its own, and its time.

A value that travels as JSON inside the kernel's script; it neither builds nor trains.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from fkd_kaggle.errors import KernelError
from fkd_kaggle.recipes.plans import Member, Plan

SESSION_LIMIT = 9 * 3600.0
"""Seconds. Kaggle ends notebook sessions after 9 to 12 hours, by kind of machine; what it ends
itself leaves no output, so the shortest counts."""


@dataclass(frozen=True)
class KernelTask:
    """Everything a kernel needs to know."""

    plan: Plan
    run_name: str
    """The run folder it leaves in its working folder."""
    shard: int | None = None
    """Which share of the members it trains, from 0; None for all of them."""
    shards: int = 1
    gather: tuple[str, ...] = ()
    """Kernels ("owner/name") whose members it blends; it trains none itself."""
    session_limit: float = SESSION_LIMIT
    """Seconds from its start until which it must have written everything."""

    @property
    def members(self) -> tuple[Member, ...]:
        """Return the members it trains, or, gathering, those it expects; in training order."""
        members = self.plan.members
        if self.shard is None:
            return members
        loads = [0.0] * self.shards
        owner = {}
        # The longest first, each to the shard with the least to do: the shards end together.
        for member in sorted(members, key=lambda one: -one.share):
            owner[member.name] = loads.index(min(loads))
            loads[owner[member.name]] += member.share
        return tuple(member for member in members if owner[member.name] == self.shard)

    @property
    def submits(self) -> bool:
        """Say whether it writes a submission: a shard alone cannot."""
        return self.shard is None

    def to_json(self) -> str:
        """Return the job as indented JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> KernelTask:
        """Rebuild a job from ``to_json``."""
        values: dict[str, Any] = json.loads(text)
        plan = Plan.from_dict(values["plan"])
        return cls(**{**values, "plan": plan, "gather": tuple(values["gather"])})


def shard_tasks(job: KernelTask, shards: int) -> list[KernelTask]:
    """Split a job into ``shards`` that each train a share of its members.

    Raises
    ------
    KernelError
        There are fewer members than shards.
    """
    count = len(job.plan.members)
    if not 1 <= shards <= count:
        raise KernelError(
            f"{shards} shards for {count} members: each kernel needs one to train, "
            f"so ask for 1 to {count} with --shards"
        )
    return [replace(job, shard=shard, shards=shards) for shard in range(shards)]


def blend_task(job: KernelTask, kernels: Sequence[str]) -> KernelTask:
    """Return the job that blends what ``kernels`` ("owner/name" each) have trained."""
    return replace(job, shard=None, shards=len(kernels), gather=tuple(kernels))


RECIPE: Final = "winning"
"""The ensemble that is trained on Kaggle when none is named."""

ACCELERATOR: Final = "NvidiaTeslaT4"
"""Kaggle's name for a machine with two T4s."""


@dataclass(frozen=True)
class KernelJob:
    """What is to be trained on Kaggle."""

    plan: Plan
    shards: int = 1
    """Kernels that share the members; above one, a last kernel blends what they trained."""
    accelerator: str = ACCELERATOR
    title: str | None = None
    """The kernel's; made from the run's name where there is none."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KernelJob:
        """Rebuild an order from ``to_dict``."""
        return cls(**{**values, "plan": Plan.from_dict(values["plan"])})
