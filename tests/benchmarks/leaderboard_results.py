"""Saved results of ``leaderboard.py``: one small JSON file for each finished training.

Reads, writes and averages results. ``leaderboard_table`` makes tables of them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fkd_kaggle import files
from fkd_kaggle.keypoints import NUM_KEYPOINTS
from fkd_kaggle.recipes import loading
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.recipes.schema import Ensemble, Recipe

RESULTS: Final = Path(__file__).parent / "results"
"""Folder of the saved results."""

MINUTES: Final = 20.0
"""Time limit of the main table."""

BEST: Final = 5
"""Number of rows that are trained with ``BEST_SEEDS`` seeds."""

BEST_SEEDS: Final = 3

TIMED: Final = "quick"
"""The ensemble whose time until a score is measured."""

TIMES: Final = (3.0, 5.0, 10.0, 20.0)
"""Its time limits in minutes."""


@dataclass(frozen=True)
class Errors:
    """RMSE in pixels; None without scored coordinates."""

    combined: float | None
    """All coordinates, weighted as the lookup table does."""
    complete: float | None
    """Faces of the complete annotator."""
    partial: float | None
    """Faces of the partial annotator."""


@dataclass(frozen=True)
class Result:
    """One training of one recipe or ensemble."""

    name: str
    """Name for ``load_recipe``, changes included."""
    seed: int
    minutes: float
    """Time limit of the whole training: start, predictions and blend included."""
    schedule: str
    """"equal": the folds and the time limit of the table; "own": the publication's split and epochs
    with a time limit of two hours."""
    digest: str
    """Digest of what was trained (``plan_digest``)."""
    cores: int
    """Processor cores that the training could use."""
    keypoints: int
    """Number of keypoints that are predicted; errors are over these keypoints."""
    out_of_fold: Errors
    """Held-out faces of the folds."""
    held_out: Errors
    """Faces that the practice Kaggle has held out, all rows of its lookup table."""
    public: float | None
    """Public score on the practice Kaggle in pixels; it queries all 15 keypoints."""
    private: float | None
    """Private score on the practice Kaggle in pixels."""
    expected: float | None
    """Expected score in pixels; None if it is unknown."""
    published: dict[str, dict[str, float | None]]
    """The publication's metrics by name: "ours" on out-of-fold faces, "copies", "unseen_copies" and
    "published"."""
    images_per_second: float | None
    """Training images per second of one core, validation included."""
    epochs: dict[str, list[int]]
    """Trained epochs and largest number of epochs by member."""
    parameters: int
    """Summed over the recipes of an ensemble."""
    flops: int
    """Operations of one forward pass for one face, summed over the recipes of an ensemble."""
    seconds: float
    """Duration of the training."""
    cores_used: float
    """Mean number of cores in use during the last part of the training. A value far below
    ``cores`` shows that other programs used the machine."""
    interruptions: int
    """How often the training was interrupted and resumed."""
    ended: str
    """Why the trainings of the members ended."""
    machine: str
    versions: dict[str, str]
    commit: str
    """Commit of the repository, with "+" if files were changed."""
    command: str
    """The command that repeats this training."""
    started: str
    """ISO 8601 in UTC."""
    data: str
    """Fingerprint of training.csv after the fifth was held out."""

    @property
    def ranking(self) -> float | None:
        """Return the out-of-fold estimate that rows are ranked by, in pixels."""
        return self.expected if self.expected is not None else self.out_of_fold.combined


@dataclass(frozen=True)
class Row:
    """The results of one recipe with one time limit, averaged over seeds."""

    results: tuple[Result, ...]
    """At least one, by seed."""

    @property
    def first(self) -> Result:
        """Return the result of the smallest seed."""
        return self.results[0]

    def mean(self, *path: str) -> float | None:
        """Return the mean of a value over seeds; None if a seed lacks it.

        Parameters
        ----------
        path
            Name of a field of ``Result``, and of a field of ``Errors`` if the value is one.
        """
        values = [_get(result, path) for result in self.results]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if len(known) == len(values) else None

    @property
    def spread(self) -> float | None:
        """Return the standard deviation of the held-out RMSE over seeds; None for one seed."""
        known = [one.held_out.combined for one in self.results if one.held_out.combined is not None]
        return statistics.stdev(known) if len(known) > 1 else None

    @property
    def is_whole_face(self) -> bool:
        """Return whether all 15 keypoints are predicted."""
        return self.first.keypoints == NUM_KEYPOINTS


def file_name(name: str, seed: int, minutes: float, schedule: str = "equal") -> str:
    """Return the name of the file of a training's result."""
    time = f"{minutes:g}min" if schedule == "equal" else "own-schedule"
    return f"{_title(name)}-seed{seed}-{time}.json"


def plan_digest(name: str) -> str:
    """Return what identifies the training of a recipe or an ensemble: its recipes and settings."""
    loaded = loading.load_recipe(name)
    if isinstance(loaded, Recipe):
        return loaded.digest
    parts = [f"{one.recipe.digest}*{one.share:g}*{one.seeds}" for one in loaded.members]
    return " ".join([*parts, f"{loaded.blend} {loaded.folds}/{loaded.trained_folds}"])


def write_result(result: Result, folder: Path = RESULTS) -> Path:
    """Save a result in a folder; return its path."""
    path = folder / file_name(result.name, result.seed, result.minutes, result.schedule)
    files.write_json(path, asdict(result))
    return path


def read_results(folder: Path = RESULTS) -> list[Result]:
    """Return all results in a folder, sorted by name, time limit and seed."""
    found = [_read(path) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda one: (one.name, one.schedule, one.minutes, one.seed))


def is_current(result: Result) -> bool:
    """Return whether a result is of the recipe as it is now."""
    return result.digest == plan_digest(result.name)


def rows_of(results: Iterable[Result], schedule: str = "equal") -> list[Row]:
    """Return one row for each recipe and time limit, the best held-out RMSE first."""
    groups: dict[tuple[str, float], list[Result]] = {}
    for one in results:
        if one.schedule == schedule:
            groups.setdefault((one.name, one.minutes), []).append(one)
    rows = [Row(tuple(sorted(group, key=lambda one: one.seed))) for group in groups.values()]
    return sorted(rows, key=_sort_key)


def time_to_score(results: Iterable[Result], score: float) -> Row | None:
    """Return the row of ``TIMED`` with the shortest time limit whose expected score is below one.

    Parameters
    ----------
    results
        The saved results.
    score
        RMSE in pixels, compared with the mean over seeds.

    Returns
    -------
    The row; None if no measured time limit is long enough.
    """
    rows = rows_of(one for one in results if one.name == TIMED and is_current(one))
    for row in sorted(rows, key=lambda row: row.first.minutes):
        expected = row.mean("expected")
        if expected is not None and expected < score:
            return row
    return None


def best_names(results: Sequence[Result], minutes: float = MINUTES, count: int = BEST) -> list[str]:
    """Return the shipped recipes that are best out of fold, by their first seed."""
    shipped = loading.recipe_names()
    rows = [
        row
        for row in rows_of(results)
        if row.is_whole_face and row.first.minutes == minutes and row.first.name in shipped
    ]
    ranked = [row for row in rows if row.first.ranking is not None]
    ranked.sort(key=lambda row: row.first.ranking or 0.0)
    return [row.first.name for row in ranked[:count]]


def rank_correlation(rows: Sequence[Row], what: str) -> float | None:
    """Return Kendall's τ between an out-of-fold estimate and the held-out RMSE of rows.

    Parameters
    ----------
    rows
        Rows that predict the same keypoints.
    what
        "expected" or "out_of_fold".
    """
    from scipy.stats import kendalltau

    path = ("expected",) if what == "expected" else ("out_of_fold", "combined")
    pairs = [(row.mean(*path), row.mean("held_out", "combined")) for row in rows]
    known = [(estimate, held_out) for estimate, held_out in pairs if estimate and held_out]
    if len(known) < 3:
        return None
    return float(kendalltau(*zip(*known, strict=True)).statistic)


def is_ensemble(name: str) -> bool:
    """Return whether a name is that of an ensemble, which is trained on two cores."""
    return isinstance(loading.load_recipe(name), Ensemble)


def has_own_schedule(name: str) -> bool:
    """Return whether a name is that of a recipe with the split of a publication."""
    loaded = loading.load_recipe(name)
    return isinstance(loaded, Recipe) and loaded.split != "grouped"


def command_line(name: str, seeds: int, minutes: float, schedule: str = "equal") -> str:
    """Return the command that trains a row."""
    parts = ["python tests/benchmarks/leaderboard.py", f"--only {name}"]
    parts += [f"--seeds {seeds}"] if seeds > 1 else []
    parts += [f"--minutes {minutes:g}"] if minutes != MINUTES and schedule == "equal" else []
    parts += ["--own-schedule"] if schedule == "own" else []
    return " ".join(parts)


def _title(name: str) -> str:
    return make_plan(TrainingOptions((name,))).ensemble.name


def _read(path: Path) -> Result:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for what in ("out_of_fold", "held_out"):
        values[what] = Errors(**values[what])
    return Result(**values)


def _get(result: Result, path: Sequence[str]) -> float | None:
    value: Any = result
    for name in path:
        value = getattr(value, name)
    return None if value is None else float(value)


def _sort_key(row: Row) -> tuple[bool, float, float]:
    rmse = row.mean("held_out", "combined")
    return (not row.is_whole_face, float("inf") if rmse is None else rmse, row.first.minutes)
