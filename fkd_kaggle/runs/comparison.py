"""Recipes side by side: trained at equal budget on the same folds and measured on the same faces.

A comparison is a folder with a run for every recipe and seed inside, so that it can be interrupted,
continued and grown, and each of its runs used like any other. Conducts ``ensemble`` and measures;
what it looks like is ``comparison_page``'s and ``tables``'.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fkd_kaggle import files
from fkd_kaggle.errors import RunError
from fkd_kaggle.runs.folder import Run, list_runs


@dataclass(frozen=True)
class ComparisonSettings:
    """What all recipes of a comparison share."""

    budget: float | None
    """Seconds of training for each recipe, fold and seed; an ensemble's members share them."""
    epochs: int | None
    folds: int
    held_out: int
    """How many of the folds are held out in turn."""
    precision: str
    data: str
    """Fingerprint of training.csv."""
    workers: int = 1
    """Networks trained at the same time, each with that part of the machine."""


@dataclass(frozen=True)
class Comparison:
    """A comparison's folder: ``compare.json``, ``folds.npy`` and the runs."""

    path: Path
    settings: ComparisonSettings
    names: tuple[str, ...]
    """Recipes and ensembles as they were asked for."""
    seeds: int
    status: str = "new"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def runs(self) -> list[Run]:
        """Return the runs that are there."""
        return list_runs(self.path)


def open_comparison(path: Path) -> Comparison:
    """Open a comparison's folder.

    Raises
    ------
    RunError
        Its note is missing or damaged.
    """
    try:
        note = json.loads((path / "compare.json").read_text(encoding="utf-8"))
        settings = ComparisonSettings(**note["settings"])
        return Comparison(path, settings, tuple(note["names"]), note["seeds"], note["status"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / 'compare.json'} is missing or damaged: delete {path}") from error


def check_same_settings(kept: Comparison, settings: ComparisonSettings) -> None:
    for field in fields(ComparisonSettings):
        before, now = getattr(kept.settings, field.name), getattr(settings, field.name)
        if before != now:
            what = "number of workers" if field.name == "workers" else field.name.replace("_", " ")
            raise RunError(
                f"comparison {kept.name} was made with another {what} "
                f"({before}, not {now}): leave out what differs, or choose another --name"
            )


def write_comparison(comparison: Comparison, status: str) -> None:
    files.write_json(
        comparison.path / "compare.json",
        {
            "settings": asdict(comparison.settings), "names": comparison.names,
            "seeds": comparison.seeds, "status": status,
        },
    )  # fmt: skip
