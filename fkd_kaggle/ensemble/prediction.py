"""Prediction with a run: its members' predictions, averaged over folds and blended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import stacking
from fkd_kaggle.ensemble.blend import Blend
from fkd_kaggle.ensemble.member_predictions import predict_with_members, usable_members
from fkd_kaggle.ensemble.run_blend import blend_run, is_blend_current
from fkd_kaggle.errors import NoUsefulNetworkError, RunError
from fkd_kaggle.keypoints import ANNOTATORS, COMPLETE, NUM_KEYPOINTS
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.predictions import has_blend, infinite_as_missing, load_blend
from fkd_kaggle.training.inference import (
    flip_disagreement,
    predict_keypoints,
    predict_with_disagreement,
)


def predict_run(
    run: Run,
    data_dir: Path,
    faces: Faces,
    annotators: np.ndarray,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    reblend: bool = True,
) -> np.ndarray:
    """Predict faces with all usable members of a run; blend the run first if necessary.

    Parameters
    ----------
    run
        The run.
    data_dir
        Folder of the data set that the run was created on.
    faces
        N faces; their keypoints are not used.
    annotators
        (N,) uint8, the annotator whose conventions the predictions follow, from the lookup table.
    on_progress
        Called with the number of members done and the number of members.
    reblend
        Whether to blend a run again whose blend lacks usable members, which loads their networks.

    Returns
    -------
    numpy.ndarray
        (N, 15, 2) float32 pixels.

    Raises
    ------
    RunError
        The run was created on other data or has no usable member.
    """
    run.check_data(dataset.fingerprint(data_dir))
    members = usable_members(run)
    if not has_blend(run) or (reblend and not is_blend_current(run)):
        blend_run(run, data_dir, status=run.status)
    blend = load_run_blend(run, members)
    used = [member for member in members if member.name in blend.members]
    predictions = predict_with_members(run, used, faces, annotators, on_progress)
    return _apply(run, blend, predictions, annotators)


class Predictor:
    """The networks of a run, loaded once, for faces that belong to no data set.

    Parameters
    ----------
    run
        A blended run.
    precision
        Precision of the networks, as for ``backend.start_keras``. Default: that of the training.

    Raises
    ------
    RunError
        The run has no usable member or was not blended.
    NoUsefulNetworkError
        All members are worse than the mean face.
    """

    def __init__(self, run: Run, *, precision: str | None = None) -> None:
        members = usable_members(run)
        if not has_blend(run):
            raise RunError(
                f"run {run.name} was stopped before it was blended: "
                f"go on with `fkd-kaggle train-ensemble --resume {run.name}`"
            )
        self.run, self.blend = run, load_run_blend(run, members)
        self.members = [member for member in members if member.name in self.blend.members]
        if not self.members:
            raise NoUsefulNetworkError(
                f"run {run.name} has no network that is better than the mean face: train longer"
            )
        backend.start_keras(precision or run.plan.precision)
        from fkd_kaggle.training.network import load_network

        self.networks = [
            load_network(member.recipe, run.member_folder(member.name)) for member in self.members
        ]

    def __call__(
        self,
        images: np.ndarray,
        annotator: int | np.ndarray = COMPLETE,
        *,
        crop_search: bool = False,
    ) -> np.ndarray:
        """Predict faces.

        Parameters
        ----------
        images
            (N, 96, 96) uint8.
        annotator
            Annotator whose conventions the predictions follow: one for all faces, or (N,).
        crop_search
            Whether to search windows of the image where flip disagreement is large, as for
            submissions. The photo pipeline re-crops instead.

        Returns
        -------
        numpy.ndarray
            (N, 15, 2) float32 pixels.
        """
        annotators = np.broadcast_to(np.asarray(annotator, np.uint8), len(images))
        predictions = np.stack(
            [
                predict_keypoints(
                    network, member.recipe, images, annotators, crop_search=crop_search
                )
                for network, member in zip(self.networks, self.members, strict=True)
            ]
        )
        return _apply(self.run, self.blend, predictions, annotators)

    def predict_with_disagreement(
        self, images: np.ndarray, annotator: int = COMPLETE
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the predictions for faces and their flip disagreement, in one forward pass.

        Parameters
        ----------
        images
            (N, 96, 96) uint8.
        annotator
            Annotator whose conventions the predictions follow.

        Returns
        -------
        points
            (N, 15, 2) float32 pixels.
        disagreement
            (N,) float64 pixels, root mean square over the networks; zeros if no network predicts
            mirror images.
        """
        annotators = np.full(len(images), annotator, np.uint8)
        predictions, squares = [], []
        for network, member in zip(self.networks, self.members, strict=True):
            points, found = predict_with_disagreement(network, member.recipe, images, annotators)
            predictions.append(points)
            if found is not None and member.recipe.rows in ("all", ANNOTATORS[annotator]):
                squares.append(np.square(found, dtype=np.float64))
        blended = _apply(self.run, self.blend, np.stack(predictions), annotators)
        return blended, np.sqrt(np.mean(squares, 0)) if squares else np.zeros(len(images))

    def disagreement(
        self, images: np.ndarray, annotators: np.ndarray, *, fold: int | None = None
    ) -> np.ndarray | None:
        """Return the flip disagreement of faces, root mean square over the networks.

        Parameters
        ----------
        images
            (N, 96, 96) uint8.
        annotators
            (N,) uint8, annotator of each face. Networks that are trained for the other annotator
            only are left out.
        fold
            Use only the networks that did not see this fold. Default: all networks.

        Returns
        -------
        (N,) float64 pixels; None if no network predicts mirror images.
        """
        total, count = np.zeros(len(images)), np.zeros(len(images))
        for network, member in zip(self.networks, self.members, strict=True):
            if fold is not None and member.fold != fold:
                continue
            found = flip_disagreement(network, member.recipe, images)
            if found is None:
                continue
            rows = member.recipe.rows
            used = np.array([rows in ("all", ANNOTATORS[code]) for code in annotators], bool)
            total += np.where(used, np.square(found, dtype=np.float64), 0.0)
            count += used
        return np.sqrt(total / np.maximum(count, 1)) if count.any() else None


def load_run_blend(run: Run, members: Sequence[Member]) -> Blend:
    """Return the stored blend of a run.

    Parameters
    ----------
    run
        A blended run.
    members
        Its usable members; blends of earlier versions use all of them.

    Raises
    ------
    RunError
        The run was not blended, or the file is damaged.
    """
    recipes, arrays = load_blend(run)
    try:
        if "members" in arrays:
            return Blend.from_arrays(recipes, arrays)
        known = [member for member in members if member.recipe.name in recipes]
        return Blend(
            members=tuple(member.name for member in known),
            owners=tuple(member.recipe.name for member in known),
            excluded=(),
            recipes=tuple(recipes),
            stack=stacking.Stack.from_arrays(arrays),
            member_weights=None,
            mean_face=np.full((len(ANNOTATORS), NUM_KEYPOINTS, 2), np.nan),
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise _unfit(run) from error


def _apply(run: Run, blend: Blend, predictions: np.ndarray, annotators: np.ndarray) -> np.ndarray:
    """Return (N, 15, 2) blended predictions.

    Raises
    ------
    RunError
        The stored blend does not fit the run's members.
    """
    try:
        return blend.apply(infinite_as_missing(predictions), annotators)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise _unfit(run) from error


def _unfit(run: Run) -> RunError:
    return RunError(
        f"{run.path / 'blend.npz'} does not fit the run's networks: delete it and run the "
        "command again, which blends anew"
    )
