"""Comparison folders: runs of several recipes that were trained with the same settings.

    runs/<name>/
      compare.json              settings, recipes, seeds, status
      folds.npy                 (N,) int64: the fold in which each training face is held out
      <recipe>-seed<number>/    one run for each recipe and seed
      compare.csv               one result for each run
      compare.html …            figures, made by ``report``

This module reads and writes the folder; ``ensemble.comparison`` trains the runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from fkd_kaggle import files
from fkd_kaggle.errors import NoteWarning, RunError
from fkd_kaggle.runs import reading
from fkd_kaggle.runs.folder import Run, list_runs

_NOTE = "compare.json"


@dataclass(frozen=True)
class ComparisonSettings:
    """Settings that all recipes of a comparison share."""

    budget: float | None
    """Seconds of training for each recipe, fold and seed; an ensemble's members share them."""
    epochs: int | None
    """Maximum number of epochs; None for the recipe's own."""
    folds: int
    """Number of folds."""
    held_out: int
    """Number of folds that are held out in turn."""
    precision: str
    data: str
    """Fingerprint of training.csv."""
    workers: int = 1
    """Number of networks trained at the same time, each on an equal part of the devices."""


@dataclass(frozen=True)
class Comparison:
    """A comparison folder. The status is read from compare.json when needed."""

    path: Path
    settings: ComparisonSettings
    names: tuple[str, ...]
    """Recipes and ensembles as the user named them."""
    seeds: int
    """Number of seeds for each recipe."""

    @property
    def name(self) -> str:
        """Return the comparison's name, which is the name of its folder."""
        return self.path.name

    @property
    def status(self) -> str:
        """Read the status: "new", "interrupted", "failures" or "finished".

        Raises
        ------
        RunError
            compare.json is missing or damaged.
        """
        return str(_read_note(self.path)["status"])

    @property
    def runs(self) -> list[Run]:
        """Return the runs that exist, oldest first."""
        return list_runs(self.path)


def open_comparison(path: Path) -> Comparison:
    """Open a comparison folder.

    Raises
    ------
    RunError
        compare.json is missing or damaged.
    """
    note = _read_note(path)
    return Comparison(path, note["settings"], tuple(note["names"]), note["seeds"])


def list_comparisons(runs_dir: Path) -> list[Comparison]:
    """Return the comparisons in a folder, sorted by name; a note names damaged ones."""
    found = []
    for path in reading.list_subfolders(runs_dir):
        if not (path / _NOTE).exists():
            continue
        try:
            found.append(open_comparison(path))
        except RunError as error:
            warnings.warn(f"left out: {error}", NoteWarning, stacklevel=2)
    return found


def check_same_settings(comparison: Comparison, settings: ComparisonSettings) -> None:
    """Raise an error unless a comparison has these settings.

    Raises
    ------
    RunError
        The message names the first setting that differs.
    """
    for field in fields(ComparisonSettings):
        before, now = getattr(comparison.settings, field.name), getattr(settings, field.name)
        if before != now:
            what = "number of workers" if field.name == "workers" else field.name.replace("_", " ")
            raise RunError(
                f"comparison {comparison.name} was made with another {what} "
                f"({before}, not {now}): leave out what differs, or choose another --name"
            )


def write_comparison(comparison: Comparison, status: str) -> None:
    """Write compare.json with a new status."""
    files.write_json(
        comparison.path / _NOTE,
        {
            "settings": asdict(comparison.settings),
            "names": comparison.names,
            "seeds": comparison.seeds,
            "status": status,
        },
    )


def write_results(
    comparison: Comparison, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write compare.csv: ``columns`` and one row for each result."""
    files.write_csv(comparison.path / "compare.csv", columns, rows)


def with_recipes(comparison: Comparison, names: Sequence[str], seeds: int) -> Comparison:
    """Return a comparison with more recipes and at least ``seeds`` seeds; writes nothing."""
    everyone = tuple(dict.fromkeys((*comparison.names, *names)))
    return replace(comparison, names=everyone, seeds=max(seeds, comparison.seeds))


def _read_note(path: Path) -> dict[str, Any]:
    """Return the content of compare.json with ``settings`` as a dataclass."""
    note = reading.read_json_object(path / _NOTE)
    try:
        required = {name: note[name] for name in ("names", "seeds", "status")}
        texts = (*required["names"], required["status"])
        if not all(isinstance(text, str) for text in texts) or int(required["seeds"]) < 1:
            raise TypeError("wrong type")
        return {**required, "settings": ComparisonSettings(**note["settings"])}
    except (ValueError, KeyError, TypeError) as error:
        raise reading.damaged(
            path / _NOTE, error, f"restore it from a copy, or delete {path}"
        ) from error
