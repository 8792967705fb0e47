"""Predictions of a run's members for given faces, read from the run where they are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RunError
from fkd_kaggle.keypoints import NUM_KEYPOINTS
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.members import is_usable
from fkd_kaggle.runs.predictions import (
    faces_digest,
    infinite_as_missing,
    load_test_predictions,
)
from fkd_kaggle.training.inference import predict_keypoints

if TYPE_CHECKING:
    import keras


def usable_members(run: Run) -> list[Member]:
    """Return the members that have weights, in training order.

    Raises
    ------
    RunError
        No member has weights yet.
    """
    members = [member for member in run.plan.members if is_usable(run, member)]
    if not members:
        raise RunError(
            f"run {run.name} has no trained network yet: "
            f"go on with `fkd-kaggle train-ensemble --resume {run.name}`"
        )
    return members


def recipe_names(members: Sequence[Member]) -> list[str]:
    """Return the names of the members' recipes, each once, in the order of the members."""
    return list(dict.fromkeys(member.recipe.name for member in members))


def predict_with_members(
    run: Run,
    members: Sequence[Member],
    faces: Faces,
    annotators: np.ndarray,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Predict faces with each member.

    Stored predictions are used if they are for the same images and annotators; otherwise the
    member's network is loaded. Members of the same recipe are loaded into the same network, one
    after the other, because building and compiling a network takes longer than predicting with it.

    Parameters
    ----------
    run
        The run.
    members
        M members with weights.
    faces
        N faces; their keypoints are not used.
    annotators
        (N,) uint8, the annotator whose conventions the predictions follow.
    on_progress
        Called with the number of members done and the number of members.

    Returns
    -------
    numpy.ndarray
        (M, N, 15, 2) float32 pixels; NaN for keypoints that a member does not predict, and where
        its network has no finite output.
    """
    result = np.empty((len(members), len(faces.images), NUM_KEYPOINTS, 2), np.float32)
    digest = faces_digest(faces, annotators)
    networks: dict[str, keras.Model] = {}
    for index, member in enumerate(members):
        if on_progress:
            on_progress(index, len(members))
        predictions = load_test_predictions(run, member, digest)
        if predictions is None:
            # Keras starts only when needed: blending stored predictions needs no network.
            backend.start_keras(run.plan.precision)
            network = _load(networks, run, member)
            predictions = predict_keypoints(
                network, member.recipe, faces.images, annotators, crop_search=True
            )
        result[index] = infinite_as_missing(predictions)
    if on_progress:
        on_progress(len(members), len(members))
    return result


def _load(networks: dict[str, keras.Model], run: Run, member: Member) -> keras.Model:
    """Return a network with a member's weights; built only if its recipe has none yet.

    Parameters
    ----------
    networks
        The networks by digest of their recipes; changed.
    run, member
        The member and its run.
    """
    from fkd_kaggle.training.network import build_network, load_weights

    if member.recipe.digest not in networks:
        networks[member.recipe.digest] = build_network(member.recipe)
    network = networks[member.recipe.digest]
    load_weights(network, run.member_folder(member.name))
    return network
