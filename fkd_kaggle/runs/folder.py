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

import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from fkd_kaggle import files, user_code
from fkd_kaggle.data import folds
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import NoteWarning, RunError
from fkd_kaggle.formatting import file_stem, one_line
from fkd_kaggle.recipes.loading import to_toml
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.runs import reading
from fkd_kaggle.runs.scores import Scores, scores_from_dict
from fkd_kaggle.settings import __version__

RUN_FILE = "run.json"
"""The file that makes a folder a run folder."""

CORRECTIONS: Final = "corrections.csv"
"""The file of corrections that a run is trained with; see ``runs.corrections``."""

REFERENCE: Final = "reference_predictions.npz"
"""The file of predictions by which outliers are left out; see ``runs.predictions``."""

_KINDS: Final = {RUN_FILE: "run", "compare.json": "comparison", "photo_run.json": "photo run"}
"""Kind of a folder by the file that marks it."""

_MAX_MEMBERS: Final = 100_000

_REMEDY: Final = ": restore the file from a copy, or delete the folder"
"""What to do about a damaged run.json."""


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
    def create(
        cls,
        runs_dir: Path,
        name: str | None,
        plan: Plan,
        data: str,
        *,
        prepare: Callable[[Run], None] | None = None,
    ) -> Run:
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
        prepare
            Writes further files into the folder. It is called before the folder counts as a run, so
            that a run which was interrupted here cannot be resumed without these files.

        Raises
        ------
        RunError
            A run, comparison or photo run of this name exists, or the name is not valid for a
            folder.
        """
        if name:
            _check_free(runs_dir, name)
            path = runs_dir / name
        else:
            path = _claim_folder(runs_dir, plan.ensemble.name)
        recipes = [line.recipe for line in plan.ensemble.members]
        for recipe in recipes:
            files.write_text(path / "recipes" / f"{recipe.name}.toml", to_toml(recipe))
        for file, text in user_code.merge([recipe.code for recipe in recipes], "plan").items():
            files.write_text(path / "recipes" / file, text)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        digests = {recipe.name: recipe.digest for recipe in recipes}
        for file in (CORRECTIONS, REFERENCE):  # of a creation that was interrupted
            (path / file).unlink(missing_ok=True)
        if prepare is not None:
            prepare(cls(path, plan, created, data, digests))
        info = {
            "name": path.name,
            "created": created,
            "version": __version__,
            "status": "new",
            "data": data,
            "plan": plan.to_dict(),
            "recipes": digests,
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
        info = _read_note(path)
        with _damage_as_error(path):
            plan = Plan.from_dict(info["plan"])
            _check_plan(path, plan)
            _scores(info)
            _text(info["status"])
            digests = {_text(name): _text(digest) for name, digest in info["recipes"].items()}
            return cls(path, plan, _text(info["created"]), _text(info["data"]), digests)

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
        with _damage_as_error(self.path):
            return _text(_read_note(self.path)["status"])

    @property
    def scores(self) -> Scores | None:
        """Read the cross-validated scores from run.json; None before the first blend.

        Raises
        ------
        RunError
            run.json is missing or damaged.
        """
        with _damage_as_error(self.path):
            return _scores(_read_note(self.path))

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
                "name another run, or point --data-dir at the data that this run was trained on"
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
        with _damage_as_error(self.path):
            stored = _read_note(self.path).get("shard")
            return (int(stored[0]), int(stored[1])) if stored else None

    @property
    def failures(self) -> dict[str, str]:
        """Read from run.json which members failed in the last training, and why.

        Raises
        ------
        RunError
            run.json is missing or damaged.
        """
        with _damage_as_error(self.path):
            return {str(k): str(v) for k, v in _read_note(self.path).get("failures", {}).items()}

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
        info = _read_note(self.path)
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


def kind_of(path: Path) -> str | None:
    """Return what a folder holds: "run", "comparison" or "photo run"; None for anything else."""
    if path.name.startswith("."):
        return None
    return next((kind for note, kind in _KINDS.items() if (path / note).exists()), None)


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
    if not is_run_name(name):
        raise RunError(
            f"run name {one_line(name, 100)!r} cannot name a folder: use at most 80 letters, "
            "digits, '.', '_', '+', '-', and begin with a letter or a digit"
        )


def is_run_name(name: str) -> bool:
    """Return whether a name is valid for a run's folder."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}", name) is not None


def run_name_stem(text: str) -> str:
    """Return the first part of a run's name, at most 40 characters, from the name of a recipe.

    Characters that are not allowed become plain letters or hyphens, or are left out at the
    beginning.
    """
    return file_stem(text).lstrip("._+-")[:40] or "run"


def run_names(runs_dir: Path) -> list[str]:
    """Return the sorted names of the run folders in ``runs_dir`` without opening them.

    Raises
    ------
    RunError
        ``runs_dir`` is a file or cannot be read.
    """
    return [path.name for path in reading.list_subfolders(runs_dir) if is_run(path)]


def list_runs(runs_dir: Path) -> list[Run]:
    """Return the runs in a folder, oldest first; a note names damaged ones."""
    runs = []
    for name in run_names(runs_dir):
        try:
            runs.append(Run.open(runs_dir / name))
        except RunError as error:
            warnings.warn(f"left out: {error}", NoteWarning, stacklevel=2)
    return sorted(runs, key=lambda run: run.created)


def latest_run(runs_dir: Path) -> Run:
    """Return the newest run with a trained network; the newest run if there is none.

    Raises
    ------
    RunError
        The folder has no run, or its only run is damaged.
    """
    names = run_names(runs_dir)
    if len(names) == 1:
        return Run.open(runs_dir / names[0])
    runs = list_runs(runs_dir)
    if not runs:
        raise RunError(
            f"no run in {runs_dir} (looked in {runs_dir.absolute()}): train one with "
            "`fkd-kaggle train-ensemble`, or let --runs-dir name the folder of your runs"
        )
    usable = [run for run in runs if has_weights(run)]
    return (usable or runs)[-1]


def has_weights(run: Run) -> bool:
    """Return whether any member of a run has weights."""
    return count_weights(run.path) > 0


def count_weights(path: Path) -> int:
    """Return the number of members with weights in a run folder, whose run.json may be damaged."""
    return sum(1 for _ in (path / "members").glob("*/best.weights.h5"))


def find_run(name: str | None, runs_dir: Path) -> Run:
    """Return a run by its name or path; ``latest_run`` if ``name`` is None.

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
    run_names(runs_dir)  # refuses a file instead of a folder
    raise RunError(f"no run {name!r} in {runs_dir}: `fkd-kaggle runs` lists them")


def next_run_name(runs_dir: Path, stem: str, taken: Collection[str] = ()) -> str:
    """Return ``stem-<number>`` with the smallest number that is free.

    Parameters
    ----------
    runs_dir
        Folder of the runs.
    stem
        First part of the name; see ``run_name_stem``.
    taken
        Names that are not free although they have no folder.
    """
    stem = run_name_stem(stem)
    number = 1
    while (runs_dir / f"{stem}-{number}").exists() or f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


def _check_free(runs_dir: Path, name: str) -> None:
    """Raise RunError if a new run cannot have this name."""
    check_run_name(name)
    kind = kind_of(runs_dir / name)
    if kind == "run":
        raise RunError(
            f"run {name} exists in {runs_dir}: resume it with --resume {name}, "
            "or choose another name with --run"
        )
    if kind is not None:
        raise RunError(f"{name} is a {kind} in {runs_dir}: choose another name with --run")


def _claim_folder(runs_dir: Path, stem: str) -> Path:
    """Make the folder ``next_run_name`` and return it; another process gets another folder."""
    while True:
        path = runs_dir / next_run_name(runs_dir, stem)
        with files.write_errors(path):
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                if not path.exists():  # a broken link: no next number would help
                    raise
            else:
                return path


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
    if stored is not None and len(stored) != len(training.images):
        raise RunError(
            f"{run.path / 'folds.npy'} is of {len(stored)} faces, the data set has "
            f"{len(training.images)}: restore the file from a copy, or train a new run"
        )
    if stored is not None:
        return stored
    held_out = assign_plan_folds(run.plan, training)
    write_folds(run.path, held_out)
    return held_out


def assign_plan_folds(plan: Plan, training: Faces) -> np.ndarray:
    """Return (N,) int64, the fold in which each of N training faces is held out.

    Raises
    ------
    DataError
        There are fewer faces, or groups of near-duplicates, than folds.
    """
    ensemble = plan.ensemble
    return folds.assign_folds(
        training, ensemble.folds, plan.seed, how=ensemble.split, held_out=ensemble.held_out
    )


def read_folds(path: Path) -> np.ndarray | None:
    """Return the (N,) int64 folds stored in a run or comparison folder; None without them.

    Raises
    ------
    RunError
        folds.npy is damaged.
    """
    file = path / "folds.npy"
    if not file.exists():
        return None
    try:
        stored = reading.read_array(file, (None,))
        if stored.dtype.kind not in "iu" or not 0 <= stored.max(initial=0) < _MAX_MEMBERS:
            raise ValueError("no folds")
    except (RunError, ValueError) as error:
        raise RunError(
            f"{file} is damaged, and without it no held-out face is known: restore it from a copy, "
            f"or delete {path} and train again"
        ) from error
    return stored.astype(np.int64)


def write_folds(path: Path, held_out: np.ndarray) -> None:
    """Store the (N,) int64 folds in a run or comparison folder."""
    with files.atomic_path(path / "folds.npy") as temporary:
        np.save(temporary, held_out)


def _read_note(path: Path) -> dict[str, Any]:
    """Return the content of run.json."""
    if not is_run(path):
        raise RunError(f"{path} is not a run folder (no {RUN_FILE}): `fkd-kaggle runs` lists them")
    with _damage_as_error(path):
        return reading.read_json_object(path / RUN_FILE)


@contextmanager
def _damage_as_error(path: Path) -> Iterator[None]:
    """Raise RunError for any exception that a damaged run.json causes in the block."""
    try:
        yield
    except RunError as error:
        if error.args and _REMEDY in str(error):
            raise
        raise RunError(f"{error}{_REMEDY}") from error
    except Exception as error:
        raise RunError(f"{reading.damaged(path / RUN_FILE, error)}{_REMEDY}") from error


def _check_plan(path: Path, plan: Plan) -> None:
    """Check names and number of a plan's members before folders are made of them."""
    lines = plan.ensemble.members
    folds = plan.ensemble.trained_folds or plan.ensemble.folds
    counts = (folds, *(line.seeds for line in lines))
    reading.check_types(plan)
    if not lines or min(counts) < 1:
        raise ValueError("no members")
    if folds * sum(line.seeds for line in lines) > _MAX_MEMBERS:
        raise ValueError("too many members")
    for line in lines:
        name = line.recipe.name
        if not name or name != Path(name).name or set(name) & set("/\\\0:") or name[0] == ".":
            raise RunError(
                f"{path / RUN_FILE} names a recipe {one_line(name, 60)!r}, which leads out of the "
                "run's folder: the file was changed"
            )


def _scores(info: Mapping[str, Any]) -> Scores | None:
    """Return the scores in run.json."""
    values = info.get("scores")
    return scores_from_dict(values) if values else None


def _text(value: Any) -> str:
    """Return a value of run.json that must be a text."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
