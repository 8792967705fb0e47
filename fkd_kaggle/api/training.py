"""Training from Python, from arrays or from the competition's files."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle import pipeline
from fkd_kaggle.api.faces import FaceSet, as_faces
from fkd_kaggle.api.model import FACES_FOLDER, Model
from fkd_kaggle.data import dataset
from fkd_kaggle.data import folds as fold_assignment
from fkd_kaggle.data.array_folder import write_array_folder
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.display.console import make_console
from fkd_kaggle.display.training import TrainingDisplay
from fkd_kaggle.errors import DataError, NoteWarning, RunError
from fkd_kaggle.nn.backend import use_default_backend
from fkd_kaggle.recipes.durations import parse_duration
from fkd_kaggle.recipes.plans import Plan, TrainingOptions, make_plan
from fkd_kaggle.runs import folder as run_folder
from fkd_kaggle.runs.scores import constant_warning
from fkd_kaggle.training.events import OnEvent, ignore_events

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def train(
    faces: FaceSet | ArrayLike,
    keypoints: ArrayLike | None = None,
    *,
    recipe: str | Path | Sequence[str | Path] = "quick",
    time_limit: float | str | None = None,
    folds: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    precision: str = "auto",
    groups: ArrayLike | None = None,
    accept_implausible: bool = False,
    workers: int | None = None,
    name: str | None = None,
    runs_dir: str | Path = "runs",
    verbose: bool = True,
) -> Model:
    """Train an ensemble on faces and return it.

    The training is stored in a run folder, as by ``fkd-kaggle train-ensemble``. Arrays are stored
    there too, in the folder ``faces``: ``fkd-kaggle train-ensemble --resume NAME --data-dir
    runs/NAME/faces`` continues such a run.

    Parameters
    ----------
    faces
        Faces from ``load_faces``, or (N, 96, 96) or (N, 9216) grey values from 0 to 255.
    keypoints
        (N, 15, 2) or (N, 30) pixels if ``faces`` are images; NaN where unlabelled.
    recipe
        Name of a recipe or an ensemble, path of a .toml file, or several of them.
        ``"heatmap:epochs=20"`` changes single values.
    time_limit
        Total training time: seconds, or text such as ``"20m"``. The networks that fit it on this
        machine are trained. Default: the ensemble's own.
    folds
        Number of folds, each of which is held out once. Default: the ensemble's own.
    epochs, batch_size, seed
        Replace the values of the recipes; the seed is 0 by default.
    precision
        "auto", "float32", "bfloat16" or "float16".
    groups
        (N,) labels; faces with equal labels stay in one fold. Default: near-duplicate images.
    accept_implausible
        Whether to train although some keypoints have no label, or labels are implausible.
    workers
        Number of networks trained at the same time, each in its own process. Default: one for each
        GPU or, without a GPU, for each core. 0 trains in this process.
    name
        Name of the run. Default: the ensemble's name and the first free number.
    runs_dir
        Folder of the runs.
    verbose
        Whether to show the progress.

    Returns
    -------
    Model
        The trained model.

    Raises
    ------
    DataError
        The arrays are not faces, or there are too few faces or groups.
    RecipeError
        A recipe is unknown or invalid.
    RunError
        A run of this name exists, or the time limit is too short for any network.
    TrainingFailedError
        No network could be trained.
    KeyboardInterrupt
        Training was interrupted. Networks that are trained are kept: ``load`` returns them.

    Examples
    --------
    >>> faces = fkd.load_faces("data")
    >>> model = fkd.train(faces, recipe="quick", time_limit="20m")
    >>> model = fkd.train(images, keypoints, recipe="heatmap", epochs=20, folds=5)
    """
    use_default_backend()
    checked = as_faces(faces, keypoints)
    recipes = (recipe,) if isinstance(recipe, str | Path) else tuple(recipe)
    options = TrainingOptions(
        recipes=tuple(map(str, recipes)),
        time_limit=_seconds(time_limit),
        folds=folds,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        precision=precision,
    )
    plan = make_plan(options)
    held_out = None if groups is None else _assign_grouped_folds(checked, groups, plan)
    runs_dir = Path(runs_dir)
    name = name or run_folder.next_run_name(runs_dir, plan.ensemble.name)
    with _stored_faces(checked, runs_dir, name) as data_dir:
        run = pipeline.create_run(
            plan,
            data_dir,
            runs_dir,
            name,
            accept_implausible=accept_implausible,
            held_out=held_out,
        )
    with _progress(verbose) as on_event:
        scores = pipeline.train(run, data_dir, workers=workers, on_event=on_event)
    if run.status == "interrupted":
        raise KeyboardInterrupt(f"interrupted; fkd_kaggle.load({str(run.path)!r}) has the networks")
    if scores.is_constant:
        warnings.warn(f"{constant_warning(scores)}: train longer", NoteWarning, stacklevel=2)
    return Model(run)


@contextmanager
def _stored_faces(faces: FaceSet, runs_dir: Path, name: str) -> Iterator[Path]:
    """Yield the data folder of a new run; store arrays there. Removed if creating the run fails."""
    run_folder.check_run_name(name)
    if faces.folder is not None and _is_stored(faces, faces.folder):
        yield faces.folder
        return
    path = runs_dir / name
    if run_folder.is_run(path):
        raise RunError(f"run {name} exists in {runs_dir}: choose another name")
    folder = path / FACES_FOLDER
    if folder.exists():  # only what is written here may be replaced or removed
        raise RunError(f"{folder} exists: choose another name, or delete it")
    try:
        write_array_folder(folder, Faces(faces.images, faces.keypoints, faces.ids))
        yield folder
    except BaseException:
        if not run_folder.is_run(path):
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                path.rmdir()
        raise


def _is_stored(faces: FaceSet, folder: Path) -> bool:
    """Return whether training.csv holds exactly these faces: the caller may have changed labels."""
    stored = dataset.read_training(folder)
    return np.array_equal(stored.images, faces.images) and np.array_equal(
        stored.keypoints, faces.keypoints, equal_nan=True
    )


@contextmanager
def _progress(verbose: bool) -> Iterator[OnEvent]:
    """Yield what shows the events of a training."""
    if not verbose:
        yield ignore_events
        return
    with TrainingDisplay(make_console()) as display:
        yield display


def _seconds(time_limit: float | str | None) -> float | None:
    """Return a time limit in seconds."""
    if isinstance(time_limit, str):
        return parse_duration(time_limit, "time_limit")
    if time_limit is not None and not time_limit > 0:
        raise DataError(
            f"time_limit must be positive seconds or text such as '20m', not {time_limit}"
        )
    return time_limit


def _assign_grouped_folds(faces: FaceSet, groups: ArrayLike, plan: Plan) -> np.ndarray:
    """Return (N,) int64 folds that do not separate faces with equal labels in ``groups``."""
    try:
        labels = np.asarray(groups)
        numbers = np.unique(labels, return_inverse=True)[1]
    except (TypeError, ValueError):  # lists of different lengths, or numbers and None
        raise DataError("groups must be labels of one type, one for each face") from None
    if labels.shape != (len(faces),):
        raise DataError(f"groups has shape {labels.shape}, but must have ({len(faces)},)")
    if plan.ensemble.split != "grouped":
        raise DataError(
            f"groups needs grouped folds, and {plan.ensemble.name} splits at random: add folds=5"
        )
    return fold_assignment.assign_folds(
        Faces(faces.images, faces.keypoints, faces.ids),
        plan.ensemble.folds,
        plan.seed,
        held_out=plan.ensemble.held_out,
        groups=numbers,
    )
