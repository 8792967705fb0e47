"""Run folders: everything that one training leaves, enough to resume it, to predict and to submit.

    runs/<name>/
      run.json              plan, fingerprint of the data, version, status, scores
      recipes/<name>.toml   each recipe as it was trained, ready to be copied and edited
      folds.npy             (N,) int64: the fold in which each training face is held out
      members/<member>/     see ``runs.members`` and ``runs.predictions``
      blend.npz             blend weights, and corrections if any
      out_of_fold.npz       the ensemble's out-of-fold predictions
      report.html …         figures, made by ``report``

This module creates, finds and lists the folders and reads and writes run.json and folds.npy. It
neither trains nor prints.
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

from fkd_kaggle import files, user_code
from fkd_kaggle.data import folds
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RunError
from fkd_kaggle.recipes.loading import to_toml
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.runs.scores import Scores, scores_from_dict
from fkd_kaggle.settings import __version__

RUN_FILE = "run.json"
"""The file that makes a folder a run folder."""


@dataclass(frozen=True)
class Run:
    """One run folder. Values that change during training are read from run.json when needed."""

    path: Path
    plan: Plan
    created: str
    """When the run was created, ISO 8601 in UTC."""
    data: str
    """Fingerprint of training.csv."""
    recipe_digests: Mapping[str, str]
    """Digest of each recipe by its name."""

    @classmethod
    def create(cls, runs_dir: Path, name: str | None, plan: Plan, data: str) -> Run:
        """Create a run folder.

        Parameters
        ----------
        runs_dir
            Folder of the runs.
        name
            Name of the run. Default: the ensemble's name and the first free number.
        plan
            What will be trained.
        data
            Fingerprint of training.csv.

        Raises
        ------
        RunError
            A run of this name exists, or the name is not valid for a folder.
        """
        name = name or next_run_name(runs_dir, plan.ensemble.name)
        check_run_name(name)
        path = runs_dir / name
        if is_run(path):
            raise RunError(
                f"run {name} exists in {runs_dir}: resume it with --resume {name}, "
                "or choose another name with --run"
            )
        recipes = [line.recipe for line in plan.ensemble.members]
        for recipe in recipes:
            files.write_text(path / "recipes" / f"{recipe.name}.toml", to_toml(recipe))
        for file, text in user_code.merge([recipe.code for recipe in recipes], "plan").items():
            files.write_text(path / "recipes" / file, text)
        info = {
            "name": name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": __version__,
            "status": "new",
            "data": data,
            "plan": plan.to_dict(),
            "recipes": {recipe.name: recipe.digest for recipe in recipes},
        }
        files.write_json(path / RUN_FILE, info)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open an existing run folder.

        Raises
        ------
        RunError
            The folder is not a run folder, or its run.json is damaged.
        """
        try:
            info = _read_note(path)
            return cls(
                path,
                Plan.from_dict(info["plan"]),
                str(info["created"]),
                str(info["data"]),
                dict(info["recipes"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error

    @property
    def name(self) -> str:
        """Return the run's name, which is the name of its folder."""
        return self.path.name

    @property
    def status(self) -> str:
        """Read the status from run.json.

        It is "new", "training", "interrupted", "time limit", "failures" or "finished".

        Raises
        ------
        RunError
            run.json is missing or damaged.
        """
        try:
            return str(_read_note(self.path)["status"])
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(self.path, error) from error

    @property
    def scores(self) -> Scores | None:
        """Read the cross-validated scores from run.json; None before the first blend.

        Raises
        ------
        RunError
            run.json is missing or damaged.
        """
        try:
            values = _read_note(self.path).get("scores")
            return scores_from_dict(values) if values else None
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(self.path, error) from error

    def member_folder(self, name: str) -> Path:
        """Return the folder of the member called ``name``."""
        return self.path / "members" / name

    @property
    def tensorboard_folder(self) -> Path:
        """Return the folder of the logs for TensorBoard."""
        return self.path / "tensorboard"

    def check_data(self, fingerprint: str) -> None:
        """Raise an error for a data set other than the one that the run was created on.

        Parameters
        ----------
        fingerprint
            Fingerprint of training.csv.

        Raises
        ------
        RunError
            The fingerprints differ.
        """
        if self.data != fingerprint:
            raise RunError(
                f"run {self.name} was made on another data set "
                f"({self.data[:8]}…, this one is {fingerprint[:8]}…): "
                "point --data-dir at the data it was trained on, or train a new run"
            )

    @property
    def shard(self) -> tuple[int, int] | None:
        """Read which shard the run trains: its number, from 1, and the number of shards.

        None for a run that trains all members.

        Raises
        ------
        RunError
            run.json is missing or damaged.
        """
        try:
            stored = _read_note(self.path).get("shard")
            return (int(stored[0]), int(stored[1])) if stored else None
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise _damaged(self.path, error) from error

    @property
    def failures(self) -> dict[str, str]:
        """Read from run.json which members failed in the last training, and why.

        Raises
        ------
        RunError
            run.json is missing or damaged.
        """
        try:
            return {str(k): str(v) for k, v in _read_note(self.path).get("failures", {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(self.path, error) from error

    def update(
        self,
        *,
        status: str | None = None,
        scores: Scores | None = None,
        failures: Mapping[str, str] | None = None,
        shard: tuple[int, int] | None = None,
    ) -> None:
        """Write a new status, scores, failures or shard into run.json; None keeps the value there.

        Raises
        ------
        RunError
            run.json is missing or damaged.
        """
        try:
            info = _read_note(self.path)
        except ValueError as error:
            raise _damaged(self.path, error) from error
        if status is not None:
            info["status"] = status
        if scores is not None:
            info["scores"] = asdict(scores)
        if failures is not None:
            info["failures"] = dict(failures)
        if shard is not None:
            info["shard"] = list(shard)
        files.write_json(self.path / RUN_FILE, info)


def is_run(path: Path) -> bool:
    """Return whether a folder is a run folder."""
    return (path / RUN_FILE).exists()


def is_same_run(one: Path, other: Path) -> bool:
    """Return whether two folders hold the same run in the same state."""
    if not (is_run(one) and is_run(other)):
        return False
    return (one / RUN_FILE).read_bytes() == (other / RUN_FILE).read_bytes()


def check_run_name(name: str) -> None:
    """Raise an error for a name that is not valid for a run's folder.

    Raises
    ------
    RunError
        The message says which characters are allowed.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}", name):
        raise RunError(
            f"run name {name!r} cannot name a folder: use letters, digits, '.', '_', '-'"
        )


def run_names(runs_dir: Path) -> list[str]:
    """Return the sorted names of the run folders in ``runs_dir`` without opening them."""
    return sorted(note.parent.name for note in runs_dir.glob(f"*/{RUN_FILE}"))


def list_runs(runs_dir: Path) -> list[Run]:
    """Return the runs in a folder, oldest first; damaged runs are left out."""
    runs = []
    for name in run_names(runs_dir):
        try:
            runs.append(Run.open(runs_dir / name))
        except RunError:
            continue
    return sorted(runs, key=lambda run: run.created)


def latest_run(runs_dir: Path) -> Run:
    """Return the newest run in a folder.

    Raises
    ------
    RunError
        The folder has no run.
    """
    runs = list_runs(runs_dir)
    if not runs:
        raise RunError(f"no run in {runs_dir}: train one with `fkd-kaggle train-ensemble`")
    return runs[-1]


def find_run(name: str | None, runs_dir: Path) -> Run:
    """Return a run by its name or path; the newest run if ``name`` is None.

    Raises
    ------
    RunError
        There is no such run.
    """
    if name is None:
        return latest_run(runs_dir)
    for path in (runs_dir / name, Path(name)):
        if is_run(path):
            return Run.open(path)
    raise RunError(f"no run {name!r} in {runs_dir}: `fkd-kaggle runs` lists them")


def next_run_name(runs_dir: Path, stem: str, taken: Collection[str] = ()) -> str:
    """Return ``stem-<number>`` with the smallest number that is free.

    Parameters
    ----------
    runs_dir
        Folder of the runs.
    stem
        First part of the name; characters that are not allowed become hyphens.
    taken
        Names that are not free although they have no folder.
    """
    stem = re.sub(r"[^A-Za-z0-9._+-]", "-", stem)[:40]
    number = 1
    while (runs_dir / f"{stem}-{number}").exists() or f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


def load_folds(run: Run, training: Faces) -> np.ndarray:
    """Return the run's folds; the first call assigns and stores them.

    Parameters
    ----------
    run
        The run.
    training
        All N training faces.

    Returns
    -------
    numpy.ndarray
        (N,) int64, the fold in which each face is held out.
    """
    stored = read_folds(run.path)
    if stored is not None:
        return stored
    ensemble = run.plan.ensemble
    held_out = folds.assign_folds(
        training,
        ensemble.folds,
        run.plan.seed,
        how=ensemble.split,
        held_out=ensemble.held_out,
    )
    write_folds(run.path, held_out)
    return held_out


def read_folds(path: Path) -> np.ndarray | None:
    """Return the (N,) int64 folds stored in a run or comparison folder; None without them."""
    file = path / "folds.npy"
    return np.asarray(np.load(file)) if file.exists() else None


def write_folds(path: Path, held_out: np.ndarray) -> None:
    """Store the (N,) int64 folds in a run or comparison folder."""
    with files.atomic_path(path / "folds.npy") as temporary:
        np.save(temporary, held_out)


def _read_note(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((path / RUN_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RunError(
            f"{path} is not a run folder (no {RUN_FILE}): `fkd-kaggle runs` lists them"
        ) from None
    except OSError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"{path / RUN_FILE} is damaged ({type(error).__name__})")
