"""The run folder: everything one training leaves, enough to resume, to predict and to submit.

    runs/<name>/
      run.json              plan, data fingerprint, versions, status, scores
      recipes/<name>.toml   each recipe as it was trained, ready to be copied and edited
      folds.npy             (N,) int64: the fold in which each training face is held out
      members/<member>/     history.csv, progress.json, best.weights.h5, out_of_fold.npz, test.npz
      blend.npz             weights per recipe, source and keypoint
      report.html …         pictures, made by ``report``

This module lays out and reads the folder; it neither trains nor prints.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import folds
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RunError
from fkd_kaggle.recipes.loading import to_toml
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.runs.scores import Scores
from fkd_kaggle.settings import __version__


def load_folds(run: Run, training_faces: Faces) -> np.ndarray:
    """Return the run's folds, made once and kept."""
    path = run.path / "folds.npy"
    if path.exists():
        return np.load(path)
    plan = run.plan
    held_out = folds.assign_folds(
        training_faces, plan.ensemble.folds, plan.seed, how=plan.ensemble.split,
        held_out=plan.ensemble.held_out,
    )  # fmt: skip
    with files.atomic_path(path) as temporary:
        np.save(temporary, held_out)
    return held_out


@dataclass(frozen=True)
class Run:
    """One run folder. ``info`` is what run.json said when it was opened."""

    path: Path
    info: Mapping[str, Any]

    @classmethod
    def create(cls, runs_dir: Path, name: str | None, plan: Plan, data: str) -> Run:
        """Make a new run folder for ``plan`` on the data set with fingerprint ``data``.

        Raises
        ------
        RunError
            The name is taken or cannot be a folder's name.
        """
        name = name or next_run_name(runs_dir, plan.ensemble.name)
        check_run_name(name)
        path = runs_dir / name
        if (path / "run.json").exists():
            raise RunError(
                f"run {name} exists in {runs_dir}: resume it with --resume {name}, "
                "or choose another name with --run"
            )
        for line in plan.ensemble.members:
            files.write_text(path / "recipes" / f"{line.recipe.name}.toml", to_toml(line.recipe))
        info = {
            "name": name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": __version__,
            "status": "new",
            "data": data,
            "plan": plan.to_dict(),
            "recipes": {line.recipe.name: line.recipe.digest for line in plan.ensemble.members},
        }
        files.write_json(path / "run.json", info)
        return cls(path, info)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open an existing run folder.

        Raises
        ------
        RunError
            It is not a run folder, or its run.json is damaged.
        """
        try:
            info = json.loads((path / "run.json").read_text(encoding="utf-8"))
            Plan.from_dict(info["plan"])
        except FileNotFoundError:
            raise RunError(
                f"{path} is not a run folder (no run.json): `fkd-kaggle runs` lists them"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path / 'run.json'} is damaged ({type(error).__name__})") from error
        return cls(path, info)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def status(self) -> str:
        """Return "new", "training", "interrupted", "time limit", "failures" or "finished"."""
        return str(self.info["status"])

    @property
    def plan(self) -> Plan:
        return Plan.from_dict(self.info["plan"])

    @property
    def scores(self) -> Scores | None:
        """Return the cross-validated scores; None before anything was blended."""
        return Scores(**self.info["scores"]) if self.info.get("scores") else None

    def member(self, name: str) -> Path:
        """Return the folder of a member."""
        return self.path / "members" / name

    def check_data(self, fingerprint: str) -> None:
        """Refuse a data set other than the one the run was made on.

        Raises
        ------
        RunError
            The fingerprints differ.
        """
        if self.info["data"] != fingerprint:
            raise RunError(
                f"run {self.name} was made on another data set "
                f"({str(self.info['data'])[:8]}…, this one is {fingerprint[:8]}…): "
                "point --data-dir at the data it was trained on, or train a new run"
            )

    def update(self, **changes: Any) -> Run:
        """Write changed entries into run.json and return the run as it is now."""
        info = {**self.info, **changes}
        if isinstance(info.get("scores"), Scores):
            info["scores"] = asdict(info["scores"])
        files.write_json(self.path / "run.json", info)
        return Run(self.path, info)


def check_run_name(name: str) -> None:
    """Refuse a name that a folder among the runs cannot or should not have.

    Raises
    ------
    RunError
        Says what it may consist of.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}", name):
        raise RunError(
            f"run name {name!r} cannot name a folder: use letters, digits, '.', '_', '-'"
        )


def list_runs(runs_dir: Path) -> list[Run]:
    """Return the runs in a folder, oldest first; damaged ones are left out."""
    runs = []
    for note in sorted(runs_dir.glob("*/run.json")):
        try:
            runs.append(Run.open(note.parent))
        except RunError:
            continue
    return sorted(runs, key=lambda run: str(run.info["created"]))


def latest_run(runs_dir: Path) -> Run:
    """Return the newest run.

    Raises
    ------
    RunError
        There is none.
    """
    runs = list_runs(runs_dir)
    if not runs:
        raise RunError(f"no run in {runs_dir}: train one with `fkd-kaggle train-ensemble`")
    return runs[-1]


def next_run_name(runs_dir: Path, stem: str, taken: Collection[str] = ()) -> str:
    """Return ``stem-<number>``, the first that neither a run's folder nor ``taken`` has."""
    stem = re.sub(r"[^A-Za-z0-9._+-]", "-", stem)[:40]
    number = 1
    while (runs_dir / f"{stem}-{number}").exists() or f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


def find_run(name: str | None, runs_dir: Path) -> Run:
    """Return a run by name or by path, the newest where there is no name.

    Raises
    ------
    RunError
        There is no such run.
    """
    if name is None:
        return latest_run(runs_dir)
    for path in (runs_dir / name, Path(name)):
        if (path / "run.json").exists():
            return Run.open(path)
    raise RunError(f"no run {name!r} in {runs_dir}: `fkd-kaggle runs` lists them")
