"""Prediction with a run: its members' predictions, averaged over folds and blended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset, metrics
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
from fkd_kaggle.runs.predictions import blend_again, has_blend, infinite_as_missing, load_blend
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
        (N,) uint8, the annotator whose conventions the predictions follow, from the lookup table:
        0 complete, 1 partial.
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
        The run was created on other data or has no usable member, or ``reblend`` is false and the
        stored blend does not fit the run's networks.
    """
    run.check_data(dataset.fingerprint(data_dir))
    members = usable_members(run)
    if not has_blend(run) or (reblend and not is_blend_current(run)):
        blend_run(run, data_dir)
    blend = load_run_blend(run, members)
    used = _used_members(blend, members)
    predictions = predict_with_members(run, used, faces, annotators, on_progress)
    return blend.apply(infinite_as_missing(predictions), annotators)


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
        The run has no usable member or no blend, or the blend is damaged or does not fit the run's
        networks. The message names the command that blends the run.
    NoUsefulNetworkError
        All members are worse than the mean face.
    """

    def __init__(self, run: Run, *, precision: str | None = None) -> None:
        members = usable_members(run)
        self.run, self.blend = run, load_run_blend(run, members)
        self.members = _used_members(self.blend, members)
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
            Annotator whose conventions the predictions follow, 0 complete or 1 partial: one for all
            faces, or (N,).
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
        return self.blend.apply(infinite_as_missing(predictions), annotators)

    def predict_with_disagreement(
        self, images: np.ndarray, annotator: int = COMPLETE
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the predictions for faces and their flip disagreement, in one forward pass.

        Parameters
        ----------
        images
            (N, 96, 96) uint8.
        annotator
            Annotator whose conventions the predictions follow: 0 complete, 1 partial. Networks that
            are trained for the other annotator only are left out of the disagreement.

        Returns
        -------
        points
            (N, 15, 2) float32 pixels.
        disagreement
            (N,) float64 pixels, root mean square over the networks. Zeros, not NaN as in
            ``disagreement``, if no network of the annotator predicts mirror images: the tracker
            then never takes a face for lost.
        """
        annotators = np.full(len(images), annotator, np.uint8)
        predictions, squares = [], []
        for network, member in zip(self.networks, self.members, strict=True):
            points, found = predict_with_disagreement(network, member.recipe, images, annotators)
            predictions.append(points)
            if found is not None and member.recipe.rows in ("all", ANNOTATORS[annotator]):
                squares.append(np.square(found, dtype=np.float64))
        blended = self.blend.apply(infinite_as_missing(np.stack(predictions)), annotators)
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
            (N,) uint8, annotator of each face: 0 complete, 1 partial. Networks that are trained for
            the other annotator only are left out.
        fold
            Use only the networks that did not see this fold. Default: all networks.

        Returns
        -------
        (N,) float64 pixels, NaN for faces whose annotator has no network that predicts mirror
        images; None if no network predicts mirror images.
        """
        squares = []
        for network, member in zip(self.networks, self.members, strict=True):
            if fold is not None and member.fold != fold:
                continue
            found = flip_disagreement(network, member.recipe, images)
            if found is None:
                continue
            rows = member.recipe.rows
            used = np.array([rows in ("all", ANNOTATORS[code]) for code in annotators], bool)
            squares.append(np.where(used, np.square(found, dtype=np.float64), np.nan))
        return np.sqrt(metrics.masked_means(np.stack(squares), 0)) if squares else None


def load_run_blend(run: Run, members: Sequence[Member]) -> Blend:
    """Return the stored blend of a run, after a check that it fits the run's networks.

    Parameters
    ----------
    run
        A blended run.
    members
        Its usable members; blends of earlier versions use all of them.

    Raises
    ------
    RunError
        The run was not blended, the file is damaged, or its names and arrays do not fit each other
        or the usable members. The message names the command that blends the run.
    """
    recipes, arrays = load_blend(run)
    try:
        blend = _read_blend(recipes, arrays, members)
        blend.check()
        owners = {member.name: member.recipe.name for member in members}
        pairs = zip(blend.members, blend.owners, strict=True)
        if any(owners[name] != owner for name, owner in pairs):
            raise ValueError("a member has another recipe")
        if not set(recipes) <= {line.recipe.name for line in run.plan.ensemble.members}:
            raise ValueError("the run has other recipes")
    except (KeyError, ValueError, IndexError, TypeError) as error:
        reason = RunError(f"{run.path / 'blend.npz'} does not fit the run's networks")
        raise blend_again(run, reason) from error
    return blend


def _read_blend(
    recipes: Sequence[str], arrays: Mapping[str, np.ndarray], members: Sequence[Member]
) -> Blend:
    """Return a blend from what ``load_blend`` returns.

    Parameters
    ----------
    recipes, arrays
        Names of the recipes and the arrays.
    members
        The usable members, for blends of earlier versions, which do not name their members.
    """
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


def _used_members(blend: Blend, members: Sequence[Member]) -> list[Member]:
    """Return the members that a blend uses, in the order of its names."""
    by_name = {member.name: member for member in members}
    return [by_name[name] for name in blend.members]
