"""What a user orders from Kaggle, and the kernels that it takes.

One kernel, or shards and a last one that blends them. Builds their folders; pushes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fkd_kaggle.kernel import build
from fkd_kaggle.kernel.job import Job, gather_job, shard_jobs
from fkd_kaggle.recipes import Plan

RECIPE: Final = "winning"
"""The ensemble that is trained on Kaggle when none is named."""
ACCELERATOR: Final = "NvidiaTeslaT4"
"""Kaggle's name for a machine with two T4s."""


@dataclass(frozen=True)
class Order:
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
    def from_dict(cls, values: Mapping[str, Any]) -> Order:
        """Rebuild an order from ``to_dict``."""
        return cls(**{**values, "plan": Plan.from_dict(values["plan"])})


@dataclass(frozen=True)
class Piece:
    """One kernel to run."""

    job: Job
    slug: str
    title: str


def build_folder(order: Order, folder: Path, owner: str, run_name: str | None = None) -> list[Path]:
    """Write the folders that ``kaggle kernels push`` takes, one for each kernel; push nothing."""
    name = run_name or f"{order.plan.ensemble.name}-1"
    shards, last = pieces(order, name, owner)
    if not shards:
        return [build_piece(last, folder, owner, order.accelerator)]
    return [
        build_piece(piece, folder / piece.slug, owner, order.accelerator)
        for piece in (*shards, last)
    ]


def pieces(order: Order, run_name: str, owner: str) -> tuple[list[Piece], Piece]:
    """Return the shards, none for a single kernel, and the kernel that writes the submission.

    Raises
    ------
    KernelError
        There are more shards than members.
    """
    whole = Job(order.plan, run_name)
    if order.shards == 1:
        return [], _piece(whole, order.title)
    shards = [_piece(job, order.title) for job in shard_jobs(whole, order.shards)]
    kernels = [f"{owner}/{piece.slug}" for piece in shards]
    return shards, _piece(gather_job(whole, kernels), order.title)


def _piece(job: Job, title: str | None) -> Piece:
    if title is None:
        slug = build.slug_for(job.run_name, job.shard)
        return Piece(job, slug, build.title_for(slug))
    if job.shard is not None:
        title = f"{title} shard {job.shard + 1}"
    return Piece(job, re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-"), title)


def build_piece(piece: Piece, folder: Path, owner: str, accelerator: str) -> Path:
    """Write the folder of one kernel and return it."""
    return build.build(
        folder, piece.job, owner=owner, slug=piece.slug, title=piece.title, accelerator=accelerator
    )


def script(folder: Path) -> str:
    """Return the text of the script in a built folder."""
    metadata = json.loads((folder / "kernel-metadata.json").read_text(encoding="utf-8"))
    return (folder / metadata["code_file"]).read_text(encoding="utf-8")
