"""Stored predictions of members (out_of_fold.npz, test.npz) and of runs, and the stored blend.

Predictions are (N, 15, 2) float32 pixels, NaN for keypoints that a network does not predict.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import metrics
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RunError
from fkd_kaggle.keypoints import ANNOTATORS, NUM_KEYPOINTS
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs import reading
from fkd_kaggle.runs.folder import REFERENCE, Run
from fkd_kaggle.runs.members import member_progress, read_progress, weights_path

_PREDICTIONS: Final = (None, NUM_KEYPOINTS, 2)
"""Shape of predictions."""


def store_out_of_fold(
    run: Run,
    member: Member,
    ids: np.ndarray,
    predictions: np.ndarray,
    flip_disagreement: np.ndarray | None = None,
) -> None:
    """Store a member's predictions for the faces of its held-out fold.

    Parameters
    ----------
    run, member
        The member and its run.
    ids
        (N,) int64, ids of the faces.
    predictions
        (N, 15, 2) float32 pixels.
    flip_disagreement
        (N,) float32 pixels, if known.
    """
    arrays = {"ids": ids, "predictions": predictions}
    if flip_disagreement is not None:
        arrays["flip_disagreement"] = flip_disagreement
    _write_arrays(run.member_folder(member.name) / "out_of_fold.npz", arrays)


def has_out_of_fold(run: Run, member: Member, count: int | None = None) -> bool:
    """Return whether valid out-of-fold predictions of a member are stored.

    Parameters
    ----------
    run, member
        The member and its run.
    count
        Number of training faces; None if it is unknown.
    """
    try:
        rows, _ = load_member_out_of_fold(run, member)
    except RunError:
        return False
    return count is None or not len(rows) or int(rows.max()) < count


def has_current_out_of_fold(run: Run, member: Member, count: int) -> bool:
    """Return whether a member's out-of-fold predictions are stored and from its last weights.

    A member whose training was resumed and interrupted again has newer weights.
    """
    folder = run.member_folder(member.name)
    if not has_out_of_fold(run, member, count):
        return False
    if member_progress(run, member).stopped:
        return True
    weights, stored = weights_path(folder), folder / "out_of_fold.npz"
    return weights.stat().st_mtime_ns <= stored.stat().st_mtime_ns


def delete_outdated_predictions(folder: Path) -> None:
    """Delete the predictions in a member's folder unless its training has ended.

    They are of weights that the training replaces. If it ended, and the new predictions were not
    stored, the member would count as finished.

    Parameters
    ----------
    folder
        The member's folder.
    """
    if not read_progress(folder).stopped:
        for name in ("out_of_fold.npz", "test.npz"):
            (folder / name).unlink(missing_ok=True)


def infinite_as_missing(predictions: np.ndarray) -> np.ndarray:
    """Return predictions of any shape with NaN instead of infinite values.

    A diverged network, or one in float16, can predict infinity for some faces.
    """
    return np.where(np.isfinite(predictions), predictions, np.nan).astype(predictions.dtype)


def load_member_out_of_fold(run: Run, member: Member) -> tuple[np.ndarray, np.ndarray]:
    """Return the (N,) rows of a member's held-out faces and the (N, 15, 2) predictions for them.

    Infinite coordinates, which a diverged network can predict, are NaN.

    Raises
    ------
    RunError
        No valid predictions are stored.
    """
    path = run.member_folder(member.name) / "out_of_fold.npz"
    stored = reading.read_arrays(path, {"ids": (None,), "predictions": _PREDICTIONS})
    ids, predictions = stored["ids"], stored["predictions"]
    if len(ids) != len(predictions) or ids.dtype.kind not in "iu" or ids.min(initial=1) < 1:
        raise RunError(f"{path} is damaged (ids)")
    return ids - 1, infinite_as_missing(predictions)  # training ids are 1-based row numbers


def load_flip_disagreement(run: Run, members: Sequence[Member], count: int) -> np.ndarray:
    """Return the flip disagreement of each training face, a mean over members that held it out.

    Parameters
    ----------
    run
        The run.
    members
        The members to average.
    count
        Number of training faces N.

    Returns
    -------
    numpy.ndarray
        (N,) float64 pixels; NaN where no member stored it.

    Raises
    ------
    RunError
        The predictions of a member are missing or damaged.
    """

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for member in members:
            path = run.member_folder(member.name) / "out_of_fold.npz"
            stored = reading.read_arrays(path, {"ids": (None,)})
            rows, values = stored["ids"] - 1, stored.get("flip_disagreement")
            if values is not None and values.shape == rows.shape and rows.max(initial=0) < count:
                yield rows, values

    return metrics.means_by_row(parts(), (count,))


def load_out_of_fold(run: Run, members: Sequence[Member], recipe: str, count: int) -> np.ndarray:
    """Return a recipe's out-of-fold predictions, averaged over its seeds.

    Parameters
    ----------
    run
        The run.
    members
        Members to average; members of other recipes are left out.
    recipe
        Name of the recipe.
    count
        Number of training faces N.

    Returns
    -------
    numpy.ndarray
        (N, 15, 2) float32 pixels; NaN for faces that no member of the recipe held out, for
        keypoints that the recipe does not predict, and where no seed has a finite prediction.

    Raises
    ------
    RunError
        The predictions of a member are missing, damaged, or for faces of other data.
    """
    return average_out_of_fold(run, [one for one in members if one.recipe.name == recipe], count)


def average_out_of_fold(run: Run, members: Sequence[Member], count: int) -> np.ndarray:
    """Return the mean of the finite out-of-fold predictions of members.

    Parameters
    ----------
    run
        The run.
    members
        Members to average, whatever their recipe and fold.
    count
        Number of training faces N.

    Returns
    -------
    numpy.ndarray
        (N, 15, 2) float32 pixels; NaN where no member has a finite prediction.

    Raises
    ------
    RunError
        The predictions of a member are missing, damaged, or for faces of other data.
    """

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for member in members:
            rows, predictions = load_member_out_of_fold(run, member)
            if len(rows) and int(rows.max()) >= count:
                raise RunError(f"network {member.name} has predictions for faces of other data")
            yield rows, predictions

    return metrics.means_by_row(parts(), (count, NUM_KEYPOINTS, 2)).astype(np.float32)


def store_test_predictions(
    run: Run, member: Member, faces: Faces, annotators: np.ndarray, predictions: np.ndarray
) -> None:
    """Store a member's predictions for the test faces.

    Parameters
    ----------
    run, member
        The member and its run.
    faces
        N test faces.
    annotators
        (N,) uint8, annotator of each face's predictions.
    predictions
        (N, 15, 2) float32 pixels.
    """
    digest = np.array(faces_digest(faces, annotators))
    path = run.member_folder(member.name) / "test.npz"
    _write_arrays(path, {"digest": digest, "predictions": predictions})


def load_test_predictions(run: Run, member: Member, digest: str) -> np.ndarray | None:
    """Return a member's stored predictions; None unless they are for the faces with ``digest``.

    Parameters
    ----------
    run, member
        The member and its run.
    digest
        What ``faces_digest`` returns for the faces.
    """
    path = run.member_folder(member.name) / "test.npz"
    try:
        stored = reading.read_arrays(path, {"predictions": _PREDICTIONS})
    except RunError:
        return None
    return stored["predictions"] if str(stored.get("digest")) == digest else None


def has_test_predictions(run: Run, member: Member) -> bool:
    """Return whether a member's predictions for test faces are stored."""
    return (run.member_folder(member.name) / "test.npz").exists()


def faces_digest(faces: Faces, annotators: np.ndarray) -> str:
    """Return the hex SHA-256 of the images and annotators of faces."""
    return hashlib.sha256(faces.images.tobytes() + annotators.tobytes()).hexdigest()


def store_blended_out_of_fold(
    run: Run, ids: np.ndarray, predictions: np.ndarray, scored: np.ndarray
) -> None:
    """Store the ensemble's out-of-fold predictions.

    Parameters
    ----------
    run
        The run.
    ids
        (N,) int64, ids of the faces.
    predictions
        (N, 15, 2) float32 pixels.
    scored
        (N,) bool, the faces on which the run is scored. The others have the mean face, because
        only excluded members hold them out, or no prediction.
    """
    arrays = {"predictions": predictions, "ids": ids, "scored": scored}
    _write_arrays(run.path / "out_of_fold.npz", arrays)


def has_blended_out_of_fold(run: Run) -> bool:
    """Return whether valid out-of-fold predictions of the ensemble are stored."""
    try:
        load_blended_out_of_fold(run)
    except RunError:
        return False
    return True


def load_blended_out_of_fold(run: Run) -> np.ndarray:
    """Return the ensemble's out-of-fold predictions, (N, 15, 2) float32 pixels, NaN where none.

    Raises
    ------
    RunError
        The run was not blended, or the file is damaged.
    """
    try:
        path = run.path / "out_of_fold.npz"
        return reading.read_arrays(path, {"predictions": _PREDICTIONS})["predictions"]
    except RunError as error:
        raise blend_again(run, error) from error


def load_scored_out_of_fold(run: Run) -> np.ndarray:
    """Return the ensemble's out-of-fold predictions for the faces on which the run is scored.

    Returns
    -------
    numpy.ndarray
        (N, 15, 2) float32 pixels; NaN for faces that no member holds out, or only excluded members.

    Raises
    ------
    RunError
        The run was not blended, or the file is damaged.
    """
    predictions = load_blended_out_of_fold(run)
    path = run.path / "out_of_fold.npz"
    scored = reading.read_arrays(path).get("scored")
    if scored is None:  # a run of an earlier version
        return predictions
    if scored.dtype != bool or scored.shape != predictions.shape[:1]:
        raise blend_again(run, RunError(f"{path} is damaged (scored)"))
    return np.where(scored[:, None, None], predictions, np.nan).astype(predictions.dtype)


def store_reference_predictions(run: Run, earlier: Run) -> None:
    """Copy the out-of-fold predictions of an earlier run, for recipes that leave out outliers.

    Raises
    ------
    RunError
        The earlier run was made on other data, or was not blended.
    """
    earlier.check_data(run.data)
    _write_arrays(run.path / REFERENCE, {"predictions": load_blended_out_of_fold(earlier)})


def load_reference_predictions(run: Run) -> np.ndarray | None:
    """Return (N, 15, 2) float32 pixels that ``store_reference_predictions`` stored, or None.

    Raises
    ------
    RunError
        The file is damaged.
    """
    path = run.path / REFERENCE
    if not path.exists():
        return None
    return reading.read_arrays(path, {"predictions": _PREDICTIONS})["predictions"]


def has_blend(run: Run) -> bool:
    """Return whether a valid blend of the run's recipes is stored."""
    try:
        recipes, arrays = load_blend(run)
    except RunError:
        return False
    weights = arrays["weights"]
    known = {line.recipe.name for line in run.plan.ensemble.members}
    return set(recipes) <= known and bool(np.isfinite(weights).all())


def store_blend(run: Run, recipes: Sequence[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Store a blend.

    Parameters
    ----------
    run
        The run.
    recipes
        Names of the blended recipes, in the order of the weights.
    arrays
        What ``stacking.Stack.arrays`` returns.
    """
    with files.atomic_path(run.path / "blend.npz") as path:
        np.savez(path, recipes=np.array(recipes, dtype=np.str_), **arrays)  # type: ignore[arg-type]


def load_blend(run: Run) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return what ``store_blend`` stored: the recipes' names and the arrays.

    Raises
    ------
    RunError
        The run was not blended, or the file is damaged.
    """
    try:
        arrays = read_blend(run.path / "blend.npz")
    except RunError as error:
        raise blend_again(run, error) from error
    names = arrays.pop("recipes")
    if names.dtype.kind != "U" or names.ndim != 1:
        raise blend_again(run, RunError(f"{run.path / 'blend.npz'} is damaged"))
    return [str(name) for name in names], arrays


def read_blend(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of a blend.npz by name.

    Raises
    ------
    RunError
        The file is missing or damaged.
    """
    arrays = reading.read_arrays(path, {"weights": (len(ANNOTATORS), NUM_KEYPOINTS, None)})
    if "recipes" not in arrays:
        raise RunError(f"{path} is damaged (KeyError)")
    return arrays


def blend_again(run: Run, error: RunError) -> RunError:
    """Return an error with the command that blends a run again.

    Parameters
    ----------
    run
        The run.
    error
        What is wrong with the stored blend or with its predictions.
    """
    return RunError(f"{error}: blend again with `fkd-kaggle train-ensemble --resume {run.name}`")


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays to a compressed npz file."""
    with files.atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
