"""Photo runs: the folders that ``train-photos`` writes beside the runs of ensembles.

    runs/<name>/
      photo_run.json       point table, points, split, recipe and results
      best.weights.h5      weights of the epoch with the smallest validation loss
      history.csv          losses by epoch
      test.csv, test.png   predictions for the test photos

photo_run.json is written with the first weights, so that the run can be used if the training is
killed. Its status is then "training", and it has no results.

This module reads and writes the folder. ``photos.training`` trains and draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fkd_kaggle import files
from fkd_kaggle.errors import RunError
from fkd_kaggle.recipes.loading import recipe_from_dict
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs import reading
from fkd_kaggle.runs.folder import check_run_name, next_run_name
from fkd_kaggle.settings import __version__

PHOTO_HISTORY = ("epoch", "epochs", "loss", "validation_loss", "validation_mae")
"""Columns of history.csv. Losses in the recipe's unit, the MAE in normalized coordinates."""

TRAINING = "training"
"""Value of "status" in photo_run.json until the training has ended."""

_NOTE = "photo_run.json"


@dataclass(frozen=True)
class PhotoRun:
    """A photo run with the weights of at least one epoch."""

    path: Path
    info: Mapping[str, Any]
    """The content of photo_run.json."""

    @property
    def point_names(self) -> tuple[str, ...]:
        """Return the (K,) names of the points that the network predicts."""
        return tuple(self.info["points"])

    @property
    def flip_order(self) -> tuple[int, ...] | None:
        """Return the (K,) order of the points in a mirrored photo; None without mirroring."""
        return tuple(self.info["flip"]) if self.info["flip"] is not None else None

    @property
    def recipe(self) -> Recipe:
        """Return the recipe that the network was trained with."""
        return recipe_from_dict(self.info["recipe"])

    @property
    def weights(self) -> Path:
        """Return the file of the network's weights."""
        return weights_path(self.path)


def is_photo_run(path: Path) -> bool:
    """Return whether a folder is a photo run with weights."""
    return (path / _NOTE).exists()


def open_photo_run(path: Path) -> PhotoRun:
    """Open a photo run.

    Raises
    ------
    RunError
        The folder is not a photo run, or photo_run.json is damaged.
    """
    if not is_photo_run(path):
        raise RunError(f"{path} is no run of train-photos (no {_NOTE})")
    run = PhotoRun(path, reading.read_json_object(path / _NOTE))
    try:
        names, order = run.point_names, run.flip_order
        _ = run.recipe
        if not names or not all(isinstance(name, str) for name in names):
            raise TypeError("no names")
        if order is not None and sorted(order) != list(range(len(names))):
            raise ValueError("no order")
    except Exception as error:
        raise reading.damaged(path / _NOTE, error, "train the run again") from error
    return run


def new_photo_run_folder(runs_dir: Path, name: str | None, stem: str) -> Path:
    """Return the path of a new photo run; the folder is not made.

    Parameters
    ----------
    runs_dir
        Folder of the runs.
    name
        Name of the run. Default: ``stem`` and the first free number.
    stem
        The recipe's name.

    Raises
    ------
    RunError
        A run of this name exists, or the name is not valid for a folder.
    """
    name = name or next_run_name(runs_dir, stem)
    check_run_name(name)
    path = runs_dir / name
    if path.exists():
        raise RunError(f"{path} is there already: choose another --name")
    return path


def weights_path(path: Path) -> Path:
    """Return the file of the weights in a photo run's folder."""
    return path / "best.weights.h5"


def picture_path(path: Path) -> Path:
    """Return the file of the drawn test photos in a photo run's folder."""
    return path / "test.png"


def write_photo_run(path: Path, info: Mapping[str, Any]) -> PhotoRun:
    """Write photo_run.json, which makes a folder a photo run.

    Parameters
    ----------
    path
        The run's folder.
    info
        Values for JSON: at least "points", "flip" and "recipe", which ``PhotoRun`` reads. Name,
        time and version are added.
    """
    info = {
        "name": path.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        **info,
    }
    files.write_json(path / _NOTE, info)
    return PhotoRun(path, info)


def write_photo_history(path: Path, rows: Iterable[Sequence[float]]) -> None:
    """Write history.csv.

    Parameters
    ----------
    path
        The run's folder.
    rows
        One row per epoch, with the columns ``PHOTO_HISTORY``.
    """
    files.write_csv(path / "history.csv", PHOTO_HISTORY, rows)


def write_test_predictions(
    path: Path, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[float]]]
) -> None:
    """Write test.csv.

    Parameters
    ----------
    path
        The run's folder.
    columns
        Column names: of the photo and of 2·K coordinates.
    rows
        The photo's name and 2·K normalized coordinates of each test photo.
    """
    cells = [(name, *(f"{value:.5f}" for value in coordinates)) for name, coordinates in rows]
    files.write_csv(path / "test.csv", columns, cells)
